"""A blob of the cache whose bytes went bad, its size the same: dropped, said, made anew in the same build."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, Result, make_source
from tests.rig.layout import read_layout
from tests.rig.python_base import python_base
from tests.rig.registries import Registry
from tests.rig.sources import HELLO

NAME = ("-t", "registry.example/app:v1")
ONE = ("--platform", "linux/amd64")
SAID = "a blob in the cache was damaged and is made anew: sha256:"
SHOP = {
    "requirements.txt": "markupsafe\nclick\n",
    "Procfile": "web: python3 shop.py\n",
    "shop.py": "import markupsafe\n",
}


def flip(path: Path) -> None:
    """One other byte in the middle; the file stays what it is to stat, but for its times."""
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)
    path.chmod(0o444)


def blobs(hostbuild: Hostbuild) -> dict[str, Path]:
    return {path.name: path for path in (hostbuild.cache / "blobs").rglob("*") if path.is_file()}


def layer_blobs(root: Path) -> list[str]:
    layout = root / ".func/builds/last/oci"
    (image,) = read_layout(layout).images.values()
    return [layer["digest"].partition(":")[2] for layer in image.manifest["layers"]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_source(tmp_path / "src", HELLO)


def damage_layers(hostbuild: Hostbuild, root: Path) -> None:
    found = blobs(hostbuild)
    for name in layer_blobs(root):
        flip(found[name])


@pytest.mark.parametrize("kind", ["oci", "docker", "directory"])
def test_one_that_is_read_for_an_output(
    kind: str, hostbuild: Hostbuild, source: Path, tmp_path: Path
) -> None:
    first = hostbuild("build", source, *NAME, *ONE)
    damage_layers(hostbuild, source)
    destination = tmp_path / "out"
    spec = (
        f"type=oci,tar=false,dest={destination}" if kind == "directory" else f"type={kind},dest={destination}"
    )
    second = hostbuild("build", source, *NAME, *ONE, "-o", spec)
    assert second.reference == first.reference
    assert SAID in second.stderr
    layout = read_layout(source / ".func/builds/last/oci")
    assert layout.digest == first.digest
    if kind == "directory":
        assert read_layout(destination).digest == first.digest
    else:
        clean = hostbuild("build", source, *NAME, *ONE, "-o", f"type={kind},dest={tmp_path / 'again'}")
        assert SAID not in clean.stderr
        assert (tmp_path / "again").read_bytes() == destination.read_bytes()


def test_one_that_is_read_for_a_stream(hostbuild: Hostbuild, source: Path) -> None:
    """What was written cannot be taken back, so this run fails; the next is right by itself."""
    hostbuild("build", source, *NAME, *ONE)
    damage_layers(hostbuild, source)
    streamed = subprocess.run(
        hostbuild._argv(("build", source, *NAME, *ONE, "-o", "type=oci,dest=-")),
        cwd=hostbuild.home,
        env=hostbuild.environment(),
        capture_output=True,
    )
    said = streamed.stderr.decode()
    assert streamed.returncode == 1
    assert SAID in said
    assert "build again: it is made anew" in said
    second = hostbuild("build", source, *NAME, *ONE)
    assert "is up to date" in second.stderr
    read_layout(source / ".func/builds/last/oci")


def test_one_that_is_pushed(hostbuild: Hostbuild, source: Path, tmp_path: Path) -> None:
    first = hostbuild("build", source, *NAME, *ONE)
    damage_layers(hostbuild, source)
    (tmp_path / "registry").mkdir()
    with Registry("docker-registry", tmp_path / "registry") as registry:
        name = f"{registry.address}/app:v1"
        pushed = hostbuild("build", source, "-t", name, *ONE, "--push")
        assert SAID in pushed.stderr
        again = hostbuild("build", source, "-t", name, *ONE, "--push")
        assert again.reference == pushed.reference
        assert SAID not in again.stderr
    read_layout(source / ".func/builds/last/oci")
    assert first.code == 0


def test_one_that_another_source_shares(hostbuild: Hostbuild, source: Path, tmp_path: Path) -> None:
    """The layout that was damaged through its link is not touched; the new one is right."""
    other = make_source(tmp_path / "other", HELLO)
    undisturbed = hostbuild(
        "build", other, "-t", "registry.example/b:v1", *ONE, "--cache-dir", str(tmp_path / "own")
    )
    hostbuild("build", source, *NAME, *ONE)
    damage_layers(hostbuild, source)
    out = tmp_path / "out.tar"
    second = hostbuild(
        "build",
        other,
        "-t",
        "registry.example/b:v1",
        *ONE,
        "-o",
        f"type=oci,dest={out}",
        "--build-dir",
        str(tmp_path / "builds"),
    )
    assert SAID in second.stderr
    assert second.digest == undisturbed.digest
    read_layout(tmp_path / "builds/builds/last/oci")


def test_one_that_was_exchanged_is_not_linked(hostbuild: Hostbuild, source: Path, tmp_path: Path) -> None:
    """Nobody reads a layer that goes into a layout by a link; another file in its place is seen though."""
    first = hostbuild("build", source, *NAME, *ONE)
    found = blobs(hostbuild)
    for name in layer_blobs(source):
        data = found[name].read_bytes()
        times = found[name].stat()
        found[name].unlink()
        found[name].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        found[name].chmod(0o444)
        os.utime(found[name], ns=(times.st_atime_ns, times.st_mtime_ns))
    again = hostbuild("build", source, *NAME, *ONE, "--build-dir", str(tmp_path / "builds"))
    assert again.digest == first.digest
    assert SAID in again.stderr
    assert read_layout(tmp_path / "builds/builds/last/oci").digest == first.digest


def python(hostbuild: Hostbuild, root: Path, *more: str) -> Result:
    return hostbuild("build", root, *NAME, *ONE, "--base", python_base().place, *more)


def test_a_wheel(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", SHOP)
    before = python(hostbuild, root)
    for path in blobs(hostbuild).values():
        if path.read_bytes()[:2] == b"PK":
            flip(path)
    forget_layers(hostbuild)
    again = python(hostbuild, root, "--build-dir", str(tmp_path / "builds"))
    assert again.digest == before.digest
    assert SAID in again.stderr


def test_a_layer_of_the_base(hostbuild: Hostbuild, tmp_path: Path) -> None:
    """Its files are read to know the base's Python, and what is known is forgotten here."""
    root = make_source(tmp_path / "src", SHOP)
    before = python(hostbuild, root)
    base = {layer["digest"].partition(":")[2] for layer in base_layers()}
    found = blobs(hostbuild)
    for name in base & set(found):
        flip(found[name])
    for record in (hostbuild.cache / "keys").rglob("*.json"):
        record.unlink()
    again = python(hostbuild, root, "--build-dir", str(tmp_path / "builds"))
    assert again.digest == before.digest
    assert SAID in again.stderr


def base_layers() -> list[dict[str, str]]:
    layout = python_base().layout
    found = []
    for path in (layout / "blobs/sha256").iterdir():
        if path.stat().st_size < 1 << 20:
            try:
                document = json.loads(path.read_bytes())
            except ValueError:
                continue
            found += document.get("layers", [])
    return found


def forget_layers(hostbuild: Hostbuild) -> None:
    """Drop every compressed layer that is no base's: they are made again, out of the wheels."""
    base = {layer["digest"].partition(":")[2] for layer in base_layers()}
    for name, path in blobs(hostbuild).items():
        if path.read_bytes()[:2] == b"\x1f\x8b" and name not in base:
            path.unlink()

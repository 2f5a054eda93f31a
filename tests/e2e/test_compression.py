"""Layers are compressed as it was asked: media types and diff IDs are true, others' tools read them."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rig.builder import Hostbuild, make_source
from tests.rig.layout import blob_path
from tests.rig.oci_tools import run

if sys.version_info >= (3, 14):
    from compression.zstd import decompress as unzstd
else:
    from backports.zstd import decompress as unzstd

PROGRAM = {
    "go.mod": "module example.com/src\n\ngo 1.21\n",
    "main.go": "package main\n\nfunc main() {}\n",
    "data.txt": "a line\n" * 300_000,
}
ARGUMENTS = ("--platform", "linux/amd64", "-t", "registry.example/app:v1", "--ship-source")
PLAIN: dict[str, Callable[[bytes], bytes]] = {"tar": bytes, "tar+gzip": gzip.decompress, "tar+zstd": unzstd}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_source(tmp_path / "src", PROGRAM)


def document(layout: Path, descriptor: dict[str, Any]) -> Any:
    return json.loads(blob_path(layout, descriptor["digest"]).read_bytes())


def judged(layout: Path) -> tuple[set[str], list[str]]:
    """The layers' media types (what is behind the last dot) and diff IDs, found to be true."""
    index = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    manifest = document(layout, document(layout, index)["manifests"][0])
    diff_ids: list[str] = document(layout, manifest["config"])["rootfs"]["diff_ids"]
    types = set()
    for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True):
        kind = layer["mediaType"].removeprefix("application/vnd.oci.image.layer.v1.")
        archive = PLAIN[kind](blob_path(layout, layer["digest"]).read_bytes())
        assert diff_id == "sha256:" + hashlib.sha256(archive).hexdigest()
        types.add(kind)
    return types, diff_ids


def test_the_same_image_in_each_compression(hostbuild: Hostbuild, root: Path, tmp_path: Path) -> None:
    found = {}
    for name, kind in {"gzip": "tar+gzip", "zstd": "tar+zstd", "uncompressed": "tar"}.items():
        archive = tmp_path / f"{name}.tar"
        flags = (*ARGUMENTS, "--compression", name, "-o", f"type=docker,dest={archive}")
        first = hostbuild("build", root, *flags)
        layout = root / ".func/builds/last/oci"
        types, diff_ids = judged(layout)
        assert types == {kind}
        found[first.digest] = diff_ids
        again = hostbuild("build", root, *flags)
        assert again.digest == first.digest
        assert "up to date" in again.stderr
        run("skopeo", "--insecure-policy", "copy", f"docker-archive:{archive}", f"dir:{tmp_path / name}")
        run("skopeo", "--insecure-policy", "copy", f"oci-archive:{archive}", f"dir:{tmp_path / name}-oci")
    assert len(found) == 3
    assert len({tuple(diff_ids) for diff_ids in found.values()}) == 1


def test_an_output_says_it_for_the_build(hostbuild: Hostbuild, root: Path, tmp_path: Path) -> None:
    flag = hostbuild("build", root, *ARGUMENTS, "--compression=zstd", "--compression-level=3")
    spec = f"type=oci,dest={tmp_path / 'x.tar'},compression=zstd,compression-level=3"
    output = hostbuild("build", root, *ARGUMENTS, "-o", spec)
    assert output.digest == flag.digest
    assert "up to date" in output.stderr
    other = hostbuild("build", root, *ARGUMENTS, "--compression=zstd")
    assert other.digest != flag.digest


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--compression=zstd", "--compression-level=23"], "levels are 1 to 22"),
        (["--compression=uncompressed", "--compression-level=1"], "leave the level out"),
        (["--compression=gzip", "-o", "type=oci,dest=x,compression=zstd"], "do not agree"),
    ],
)
def test_what_there_is_not_is_refused_early(
    hostbuild: Hostbuild, root: Path, flags: list[str], text: str
) -> None:
    result = hostbuild("build", root, *ARGUMENTS, *flags, cwd=root)
    result.fails(2, text)
    assert not (root / ".func").exists()

"""Large data apart from small source: the same file tree, and an edit that costs what it weighs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, make_source
from tests.rig.layout import read_layout
from tests.rig.oci_tools import run as run_tool
from tests.rig.sources import HELLO

NAME = ("-t", "registry.example/app:v1")
ONE = (*NAME, "--platform", "linux/amd64", "--ship-source")
MIB = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = make_source(tmp_path / "src", HELLO | {"lib/words.txt": "some", "data/README": "small"})
    for number in range(40):
        path = root / f"data/{number % 5}/{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * (2 * MIB))
    (root / "data/current").symlink_to("0/0.bin")
    (root / "data/empty").mkdir()
    (root / "data/4/39.bin").chmod(0o755)
    return root


def layers(root: Path) -> list[str]:
    (image,) = read_layout(root / ".func/builds/last/oci").images.values()
    return [layer["digest"] for layer in image.manifest["layers"]]


def created_by(root: Path) -> list[str]:
    (image,) = read_layout(root / ".func/builds/last/oci").images.values()
    return [each["created_by"] for each in image.config["history"]]


def unpacked(layout: Path, target: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Mode, owner, and content of each path, as umoci unpacks them."""
    single = target.with_suffix(".single")
    run_tool(
        "skopeo",
        "copy",
        "--insecure-policy",
        "--override-os",
        "linux",
        "--override-arch",
        "amd64",
        f"oci:{layout}",
        f"oci:{single}:app",
    )
    run_tool("umoci", "unpack", "--image", f"{single}:app", str(target))
    found = {}
    root = target / "rootfs"
    for folder, directories, names in os.walk(root):
        for name in (*directories, *names):
            path = Path(folder, name)
            status = path.lstat()
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.fsencode(os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            found[str(path.relative_to(root))] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


def test_the_file_tree_is_that_of_one_layer(hostbuild: Hostbuild, source: Path, tmp_path: Path) -> None:
    split = hostbuild("build", source, *ONE)
    several = len(layers(source))
    tree = unpacked(source / ".func/builds/last/oci", tmp_path / "split")
    whole = hostbuild("build", source, *ONE, "--no-split")
    assert len(layers(source)) < several <= len(layers(source)) + 8
    assert split.digest != whole.digest
    assert unpacked(source / ".func/builds/last/oci", tmp_path / "whole") == tree
    assert tree["func/data/4/39.bin"][0] & 0o777 == 0o755
    assert "func/data/empty" in tree


def test_an_edit_makes_what_it_touches(hostbuild: Hostbuild, source: Path) -> None:
    hostbuild("build", source, *ONE)
    before, told = layers(source), created_by(source)
    assert told.index("hostbuild: source and data") > told.index("hostbuild: data, part 1")
    (source / "lib/words.txt").write_text("other")
    small = hostbuild("build", source, *ONE)
    now = layers(source)
    changed = [text for text, old, new in zip(told, before, now, strict=True) if old != new]
    assert changed == ["hostbuild: source and data"]
    assert "data 1 layer cached" in small.stderr
    assert "data layer written" in small.stderr
    (source / "data/2/17.bin").write_bytes(b"x" * (2 * MIB))
    hostbuild("build", source, *ONE)
    changed = [text for text, old, new in zip(told, now, layers(source), strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0].startswith("hostbuild: data, part ")

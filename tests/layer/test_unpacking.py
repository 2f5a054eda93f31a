from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from hostbuild.errors import InvalidDocumentError
from hostbuild.layer import unpack
from tests.layer.helpers import file, folder, layer, link

Item = tuple[str, bytes, str]


def foreign(path: Path, items: list[Item]) -> Path:
    """A layer as others write them: (name, type, content or target)."""
    with tarfile.open(path, "w:gz") as archive:
        for name, kind, text in items:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
            info.uid, info.gid = os.getuid(), os.getgid()
            if kind == tarfile.REGTYPE:
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
            else:
                info.linkname = text
                archive.addfile(info)
    return path


REG, DIR, SYM, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def tree(root: Path) -> dict[str, str]:
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = "-> " + os.readlink(path)
        else:
            found[name] = "dir" if path.is_dir() else path.read_text()
    return found


def apply(tmp_path: Path, *layers: list[Item]) -> dict[str, str]:
    paths = [foreign(tmp_path / f"layer{number}", items) for number, items in enumerate(layers)]
    unpack(paths, tmp_path / "root")
    return tree(tmp_path / "root")


def test_own_layer_comes_back_with_modes_and_raw_links(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    entries = [
        folder("d", mode=0o555),
        file("d/run", b"#!", mode=0o4755),
        file("d/secret", b"x", mode=0o400),
        link("link", "/nowhere/../x"),
    ]
    blob.write_bytes(layer(entries)[1])
    previous = os.umask(0o077)
    try:
        assert unpack([blob], tmp_path / "new" / "root") == ()
    finally:
        os.umask(previous)
    root = tmp_path / "new" / "root"
    modes = {name: stat.S_IMODE((root / name).lstat().st_mode) for name in ("d", "d/run", "d/secret")}
    assert modes == {"d": 0o555, "d/run": 0o4755, "d/secret": 0o400}
    assert os.readlink(root / "link") == "/nowhere/../x"
    owner = (root / "d/run").stat()
    assert (owner.st_uid == 1000) == (os.geteuid() == 0 or os.getuid() == 1000)
    (root / "d").chmod(0o755)


def test_upper_layer_replaces(tmp_path: Path) -> None:
    lower = [
        ("a", DIR, ""),
        ("a/x", REG, "1"),
        ("b", REG, "1"),
        ("c", SYM, "b"),
        ("k", DIR, ""),
        ("k/x", REG, "1"),
    ]
    upper = [("a", REG, "file"), ("b", DIR, ""), ("c", REG, "2"), ("k", DIR, ""), ("k/y", REG, "2")]
    assert apply(tmp_path, lower, upper) == {
        "a": "file",
        "b": "dir",
        "c": "2",
        "k": "dir",
        "k/x": "1",
        "k/y": "2",
    }


def test_whiteouts_hide_what_lower_layers_have(tmp_path: Path) -> None:
    lower = [
        ("a", REG, "1"),
        ("d", DIR, ""),
        ("d/x", REG, "1"),
        ("e", DIR, ""),
        ("e/x", REG, "1"),
        ("e/y", REG, "1"),
    ]
    upper = [
        (".wh.a", REG, ""),
        (".wh.d", REG, ""),
        ("e/.wh.x", REG, ""),
        (".wh.never", REG, ""),
        ("q/.wh.x", REG, ""),
    ]
    assert apply(tmp_path, lower, upper) == {"e": "dir", "e/y": "1"}


@pytest.mark.parametrize("last", [True, False])
def test_whiteouts_hide_nothing_of_their_own_layer(tmp_path: Path, last: bool) -> None:
    lower = [("d", DIR, ""), ("d/old", REG, "1"), ("d/both", REG, "1"), ("f", REG, "1")]
    whiteouts = [("d/.wh..wh..opq", REG, ""), (".wh.f", REG, "")]
    own = [("d", DIR, ""), ("d/new", REG, "2"), ("d/both", REG, "2"), ("f", REG, "2")]
    upper = own + whiteouts if last else whiteouts + own
    assert apply(tmp_path, lower, upper) == {"d": "dir", "d/new": "2", "d/both": "2", "f": "2"}


def test_whiteout_of_a_link_leaves_its_target(tmp_path: Path) -> None:
    lower = [("d", DIR, ""), ("d/x", REG, "1"), ("l", SYM, "d")]
    assert apply(tmp_path, lower, [(".wh.l", REG, "")]) == {"d": "dir", "d/x": "1"}


def test_directory_links_are_followed_within_the_root(tmp_path: Path) -> None:
    lower = [("usr", DIR, ""), ("usr/lib", DIR, ""), ("lib", SYM, "usr/lib"), ("abs", SYM, "/usr/lib")]
    upper = [("lib/x", REG, "1"), ("abs/y", REG, "2"), ("lib/z/w", REG, "3")]
    found = apply(tmp_path, lower, upper)
    assert found["lib"] == "-> usr/lib"
    assert (found["usr/lib/x"], found["usr/lib/y"], found["usr/lib/z/w"]) == ("1", "2", "3")


@pytest.mark.parametrize("target", ["../outside", "/outside", "../../../../outside", "x/../../outside"])
def test_links_do_not_lead_out(tmp_path: Path, target: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("safe")
    first = [("l", SYM, target), ("l/victim", REG, "bad"), ("l/new", REG, "bad")]
    apply(tmp_path, first, [("l/.wh.victim", REG, ""), ("l/.wh..wh..opq", REG, ""), ("l/h", REG, "bad")])
    assert tree(outside) == {"victim": "safe"}


def test_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("safe")
    target = str(tmp_path / "victim")
    assert apply(tmp_path, [("l", SYM, target)], [("l", REG, "new")])["l"] == "new"
    assert (tmp_path / "victim").read_text() == "safe"


def test_hard_links_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("secret")
    found = apply(tmp_path, [("a", REG, "1"), ("b", HARD, "a"), ("l", SYM, "a"), ("m", HARD, "l")])
    assert found == {"a": "1", "b": "1", "l": "-> a", "m": "-> a"}
    assert (tmp_path / "root/a").stat().st_ino == (tmp_path / "root/b").stat().st_ino
    for target in ("../victim", str(tmp_path / "victim")):
        with pytest.raises(InvalidDocumentError):
            apply(tmp_path, [("x", HARD, target)])


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", ".wh...", ".wh..", ".wh.", "a/.wh...", "../.wh.x", "d/../.wh.x"]
)
def test_names_outside_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_text("safe")
    with pytest.raises(InvalidDocumentError) as caught:
        apply(tmp_path, [("a", REG, "1")], [(name, REG, "bad")])
    assert repr(name) in caught.value.what
    assert (tmp_path / "x").read_text() == "safe"
    assert (tmp_path / "root").is_dir()


def test_link_loops_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocumentError):
        apply(tmp_path, [("a", SYM, "b"), ("b", SYM, "a"), ("a/x", REG, "1")])


def test_root_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocumentError):
        apply(tmp_path, [("./", DIR, ""), (".", REG, "x")])


def test_devices_are_skipped_and_told(tmp_path: Path) -> None:
    items = [("dev", DIR, ""), ("dev/null", tarfile.CHRTYPE, ""), ("pipe", tarfile.FIFOTYPE, "")]
    blob = foreign(tmp_path / "blob", items)
    assert unpack([blob], tmp_path / "root") == ("dev/null",)
    assert stat.S_ISFIFO((tmp_path / "root/pipe").stat().st_mode)
    assert not (tmp_path / "root/dev/null").exists()


def test_damaged_layer_is_named_as_such(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"nothing")
    with pytest.raises(InvalidDocumentError):
        unpack([blob], tmp_path / "root")

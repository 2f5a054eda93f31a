from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostbuild.errors import StoreError
from hostbuild.points import set_hook
from hostbuild.store.syncing import read_small, replace_file, swap_link, write_new_file
from hostbuild.store.trees import remove_tree, tree_size
from tests.store.helpers import start, tree, wait_for_line


def test_a_link_is_made_and_replaced(tmp_path: Path) -> None:
    link = str(tmp_path / "last")
    swap_link(link, "by-hash/one")
    swap_link(link, "by-hash/two")
    assert os.readlink(link) == "by-hash/two"
    assert os.listdir(tmp_path) == ["last"]


def test_a_reader_of_the_link_never_finds_nothing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link = str(tmp_path / "last")
    swap_link(link, "one")
    code = """
import os, sys
print("reading", flush=True)
while not os.path.exists(sys.argv[1] + "/stop"):
    os.stat(sys.argv[1] + "/last/.")
    assert os.readlink(sys.argv[1] + "/last") in {"one", "two"}
"""
    reader = start(code, tmp_path)
    wait_for_line(reader, "reading")
    for number in range(200):
        swap_link(link, ("one", "two")[number % 2])
    (tmp_path / "stop").touch()
    reader.communicate(timeout=30)
    assert reader.returncode == 0


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_no_link_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "last"
    if kind == "file":
        path.write_text("mine")
    else:
        path.mkdir()
    with pytest.raises(StoreError, match="not a symbolic link"):
        swap_link(str(path), "target")
    assert os.listdir(tmp_path) == ["last"]


def test_an_exception_before_the_swap_leaves_the_older_link(tmp_path: Path) -> None:
    link = str(tmp_path / "last")
    swap_link(link, "one")

    def stop(name: str) -> None:
        raise KeyboardInterrupt

    set_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        swap_link(link, "two")
    assert os.readlink(link) == "one"
    assert os.listdir(tmp_path) == ["last"]


def test_small_files(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    assert read_small(path, 10) is None
    write_new_file(path, b"one")
    with pytest.raises(FileExistsError):
        write_new_file(path, b"two")
    replace_file(path, b"three")
    assert read_small(path, 10) == b"three"
    assert read_small(path, 2) == b"th"
    assert read_small(str(tmp_path), 10) is None
    assert read_small(path + "/below", 10) is None
    os.mkfifo(tmp_path / "fifo")
    assert read_small(str(tmp_path / "fifo"), 10) is None
    os.symlink("file", tmp_path / "link")
    with pytest.raises(OSError, match="symbolic links"):
        read_small(str(tmp_path / "link"), 10)
    assert sorted(os.listdir(tmp_path)) == ["fifo", "file", "link"]


def test_a_tree_goes_whatever_its_modes_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x" * 100)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("mine")
    top = tmp_path / "top"
    (top / "mod" / "cache").mkdir(parents=True)
    (top / "mod" / "cache" / "file").write_text("12345")
    os.link(tmp_path / "kept", top / "linked")
    (top / "away").symlink_to(tmp_path / "outside")
    (top / "mod" / "cache").chmod(0o500)
    (top / "mod").chmod(0o000)
    if os.geteuid() == 0:
        assert tree_size(str(top)) == 105
        assert tree_size(str(top), only_own=True) == 5
    assert remove_tree(str(top)) >= 5
    assert tree(tmp_path) == ["kept", "outside", "outside/precious"]
    assert remove_tree(str(top)) == 0

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostbuild.errors import HostbuildError, SourceChangedError, SourceError
from hostbuild.source import FileDigests, SourceTree, load_ignore, scan, show, sort_key, walk

FILES = {
    b"main.go": b"package main\n",
    b"a/b/c": b"deep",
    b"a-b": b"before a/b",
    b"a.b": b"",
    b"run": b"#!/bin/sh\n",
    b"new\nline": b"1",
    b"not \xff utf-8": b"2",
    b"\xc3\xa9t\xc3\xa9/x": b"3",
    b'say "x"': b"4",
}


def make(root: Path) -> None:
    top = os.fsencode(root)
    for name, data in FILES.items():
        path = os.path.join(top, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(data)
    (root / "run").chmod(0o755)
    (root / "empty").mkdir()
    (root / "link").symlink_to("a/b")


def scanned(root: Path | str, digests: FileDigests | None = None) -> SourceTree:
    return scan(str(root), load_ignore(str(root)), digests=digests or FileDigests())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    make(root)
    return root


def test_all_names_with_their_kinds_in_order(root: Path) -> None:
    tree = scanned(root)
    paths = [entry.path for entry in tree.entries]
    assert paths == sorted(paths, key=sort_key)
    assert paths[:5] == ["a", "a-b", "a.b", "a/b", "a/b/c"]
    kinds = {entry.path: entry.kind for entry in tree.entries}
    assert {path for path, kind in kinds.items() if kind == "dir"} == {"a", "a/b", "empty", "été"}
    assert [(entry.path, entry.target) for entry in tree.entries if entry.kind == "link"] == [("link", "a/b")]
    files = {sort_key(entry.path): entry.size for entry in tree.entries if entry.kind == "file"}
    assert files == {name: len(data) for name, data in FILES.items()}
    assert [entry.path for entry in tree.entries if entry.executable] == ["run"]
    assert tree.warnings == ()


def test_times_modes_umask_and_place_do_not_count(root: Path, tmp_path: Path) -> None:
    expected = scanned(root).digest()
    before = os.umask(0o077)
    try:
        other = tmp_path / "some" / "where else"
        make(other)
    finally:
        os.umask(before)
    for path in other.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (other / "main.go").chmod(0o4604)
    (other / "a").chmod(0o2711)
    os.link(other / "main.go", tmp_path / "hard link")
    assert scanned(other).digest() == expected


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C.UTF-8"}],
    ids=["c", "ascii", "utf-8"],
)
def test_the_locale_does_not_count(root: Path, environment: dict[str, str]) -> None:
    code = (
        "import sys; from hostbuild.source import *;"
        "tree = scan(sys.argv[1], load_ignore(sys.argv[1]), digests=FileDigests());"
        "print(tree.digest(), sum(len(e.open().read()) for e in shipped_entries(tree) if e.open))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    digest, size = done.stdout.split()
    assert digest == scanned(root).digest()
    assert int(size) == sum(map(len, FILES.values()))


def edit(root: Path) -> None:
    times = (root / "main.go").stat()
    (root / "main.go").write_bytes(b"package mein\n")
    os.utime(root / "main.go", ns=(times.st_atime_ns, times.st_mtime_ns))


def relink(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("./a/b")


def to_file(root: Path) -> None:
    (root / "empty").rmdir()
    (root / "empty").touch()


def rename(root: Path) -> None:
    (root / "a-b").rename(root / "a-c")


CHANGES = [
    (edit, [("main.go", "changed")]),
    (relink, [("link", "changed")]),
    (to_file, [("empty", "changed")]),
    (rename, [("a-b", "removed"), ("a-c", "added")]),
    (lambda root: (root / "run").chmod(0o644), [("run", "changed")]),
    (lambda root: (root / "empty").rmdir(), [("empty", "removed")]),
    (lambda root: (root / "a" / "new").mkdir(), [("a/new", "added")]),
    (lambda root: (root / "main.go").touch(), []),
    (lambda root: (root / "main.go").chmod(0o600), []),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_what_counts_as_a_change(root: Path, change: object, expected: list[tuple[str, str]]) -> None:
    assert callable(change)
    digests = FileDigests()
    before = scanned(root, digests)
    change(root)
    now = scanned(root, digests)
    assert list(before.compare(now)) == expected
    assert (before.digest() == now.digest()) is (expected == [])
    assert (before.contents() == now.contents()) is (expected == [])


def test_names_cannot_be_made_to_look_like_others(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root, names in ((one, ("a\nb", "c")), (two, ("a", "b\nc"))):
        root.mkdir()
        for name in names:
            (root / name).mkdir()
    assert scanned(one).digest() != scanned(two).digest()


def test_a_root_that_is_a_link_or_relative(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "to-source").symlink_to("source")
    monkeypatch.chdir(root / "a")
    trees = [scanned(tmp_path / "to-source"), scanned(".."), scanned(f"{root}/")]
    assert {tree.root for tree in trees} == {os.path.realpath(root)}
    assert {tree.digest() for tree in trees} == {scanned(root).digest()}


def test_no_directory(root: Path) -> None:
    for path, words in ((root / "missing", "there is no directory"), (root / "run", "is not a directory")):
        with pytest.raises(SourceError, match=words) as caught:
            scanned(path)
        assert str(path) in caught.value.what
        assert caught.value.fix


def test_whether_there_is_anything(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert scanned(tmp_path).is_empty()
    (tmp_path / "a" / "x").touch()
    assert not scanned(tmp_path).is_empty()


def test_sockets_and_pipes_are_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        os.mkfifo("pipe")
        (tmp_path / "file").touch()
        tree = scanned(tmp_path)
    assert [entry.path for entry in tree.entries] == ["file"]
    assert sorted(tree.warnings) == [
        '"pipe" is a named pipe and is not shipped',
        '"sock" is a socket and is not shipped',
    ]


def test_devices_are_refused() -> None:
    with pytest.raises(SourceError, match="is a device"):
        scanned("/dev")


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of a user whom permissions hold, whoever runs the tests."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        make(root)
        was = os.geteuid()
        if was == 0:
            for path in (root, *root.rglob("*")):
                os.chown(path, 65534, 65534, follow_symlinks=False)
            os.seteuid(65534)
        try:
            yield root
        finally:
            os.seteuid(was)


@pytest.mark.parametrize("name", ["main.go", "a"])
def test_what_cannot_be_read_is_named(unprivileged: Path, name: str) -> None:
    (unprivileged / name).chmod(0)
    try:
        with pytest.raises(SourceError, match="Permission denied") as caught:
            scanned(unprivileged)
        assert name in caught.value.what
        assert "chmod" in caught.value.fix
        (unprivileged / ".funcignore").write_text(name)
        assert name not in {entry.path for entry in scanned(unprivileged).entries}
    finally:
        (unprivileged / name).chmod(0o755)


def test_a_file_that_vanishes_during_the_walk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = walk._judge_links

    def remove(state: walk._Walk) -> None:
        judge(state)
        (root / "main.go").unlink()

    monkeypatch.setattr(walk, "_judge_links", remove)
    with pytest.raises(SourceChangedError, match=r"main\.go"):
        scanned(root)


def test_deeper_than_python_recurses(tmp_path: Path) -> None:
    directories = [os.path.join(tmp_path, *["d"] * depth) for depth in range(1, 1501)]
    for directory in directories:
        os.mkdir(directory)
    try:
        assert len(scanned(tmp_path).entries) == 1500
    finally:
        for directory in reversed(directories):
            os.rmdir(directory)


def test_five_thousand_files(tmp_path: Path) -> None:
    for directory in range(50):
        (tmp_path / f"d{directory}").mkdir()
        for number in range(100):
            (tmp_path / f"d{directory}" / f"f{number}").write_text(f"{directory} {number}")
    digests = FileDigests()
    tree = scanned(tmp_path, digests)
    assert len(tree.entries) == 5050
    assert scanned(tmp_path, digests).entries == tree.entries
    (tmp_path / "d7" / "f7").write_text("other")
    assert tree.compare(scanned(tmp_path, digests)) == (("d7/f7", "changed"),)


def test_names_in_messages_stay_on_one_line() -> None:
    assert show("a b") == '"a b"'
    assert show(b"a\nb\xff") == r"'a\nb\udcff'"
    assert show('a"b') == "'a\"b'"
    assert issubclass(SourceError, HostbuildError)

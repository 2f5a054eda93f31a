from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from hostbuild.errors import InvalidValueError, LinkEscapesError, SourceChangedError, SourceError
from hostbuild.model import Entry
from hostbuild.source import FileDigests, copy_entries, load_ignore, scan, shipped_entries, sort_key


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "static" / "css").mkdir(parents=True)
    (root / "static" / "index.html").write_text("index")
    (root / "static" / "css" / "x.css").write_text("css")
    (root / "static" / "run.sh").write_text("run")
    (root / "static" / "run.sh").chmod(0o700)
    (root / "static" / "home").symlink_to("index.html")
    (root / "static" / ".env").write_text("named expressly")
    (root / "static" / ".git").mkdir()
    (root / "static" / "empty").mkdir()
    (root / "a.txt").write_text("a")
    (root / "linked").symlink_to("static")
    return root


def outline(entries: list[Entry] | tuple[Entry, ...]) -> list[tuple[str, str, int]]:
    return [(entry.path, entry.kind, entry.mode) for entry in entries]


def data(entry: Entry) -> bytes:
    assert entry.open is not None
    with entry.open() as stream:
        return stream.read()


def ship(root: Path, prefix: str = "func") -> list[Entry]:
    return list(shipped_entries(scan(str(root), load_ignore(str(root)), digests=FileDigests()), prefix))


def test_a_tree_becomes_the_entries_of_a_layer(root: Path) -> None:
    entries = ship(root)
    assert outline(entries) == [
        ("func", "dir", 0o755),
        ("func/a.txt", "file", 0o644),
        ("func/linked", "link", 0o777),
        ("func/static", "dir", 0o755),
        ("func/static/css", "dir", 0o755),
        ("func/static/css/x.css", "file", 0o644),
        ("func/static/empty", "dir", 0o755),
        ("func/static/home", "link", 0o777),
        ("func/static/index.html", "file", 0o644),
        ("func/static/run.sh", "file", 0o755),
    ]
    assert {(entry.uid, entry.gid) for entry in entries} == {(1000, 1000)}
    for entry in entries:
        if entry.kind == "file":
            assert hashlib.sha256(data(entry)).hexdigest() == entry.digest
            assert len(data(entry)) == entry.size
    assert entries[2].target == "static"
    assert entries[1].origin == "a.txt"


def test_without_a_prefix_the_root_itself_is_no_entry(root: Path) -> None:
    assert outline(ship(root, ""))[0] == ("a.txt", "file", 0o644)


@pytest.mark.parametrize("replace", ["remove", "link", "pipe"])
def test_an_opener_opens_the_file_that_it_was(root: Path, replace: str) -> None:
    entry = ship(root)[1]
    (root / "a.txt").unlink()
    if replace == "link":
        (root / "a.txt").symlink_to("static/index.html")
    elif replace == "pipe":
        os.mkfifo(root / "a.txt")
    assert entry.open is not None
    if replace == "pipe":
        with entry.open() as stream:  # no waiting for a writer; the layer refuses what it reads
            assert stream.read() == b""
        return
    with pytest.raises(SourceChangedError, match=r"a\.txt"):
        entry.open()


def copied(root: Path, spec: str) -> tuple[Entry, ...]:
    return copy_entries(spec, str(root), FileDigests())


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("a.txt:/etc/app/a.conf", "etc/app/a.conf"),
        ("a.txt:/etc/app/", "etc/app/a.txt"),
        ("a.txt:/", "a.txt"),
        ("./static/../a.txt://etc/./x", "etc/x"),
        ("linked/index.html:/srv/", "srv/index.html"),
        ("static/home:/srv/", "srv/home"),
    ],
)
def test_a_file(root: Path, spec: str, path: str) -> None:
    (entry,) = copied(root, spec)
    assert (entry.path, entry.kind, entry.mode) == (path, "file", 0o644)
    assert data(entry) in {b"a", b"index"}


def test_a_colon_in_a_name(root: Path) -> None:
    (root / "a:b").write_text("x")
    (entry,) = copied(root, "a:b:/c:d")
    assert entry.path == "c:d"


@pytest.mark.parametrize("spec", ["static:/srv/www", "static/:/srv/www/", "linked:/srv/www/."])
def test_a_directory_with_all_that_is_in_it_but_git(root: Path, spec: str) -> None:
    entries = copied(root, spec)
    assert [entry.path for entry in entries] == [
        "srv/www",
        "srv/www/.env",
        "srv/www/css",
        "srv/www/css/x.css",
        "srv/www/empty",
        "srv/www/home",
        "srv/www/index.html",
        "srv/www/run.sh",
    ]
    assert [entry.path for entry in entries] == sorted((entry.path for entry in entries), key=sort_key)


def test_a_directory_into_the_root(root: Path) -> None:
    assert copied(root, "static/css:/")[0].path == "x.css"


@pytest.mark.parametrize(
    "spec", ["", "a.txt", "a.txt:", "a.txt:etc", ":/etc", "/etc/passwd:/x", "a.txt:/a/../b"]
)
def test_what_is_no_pair(root: Path, spec: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        copied(root, spec)
    assert caught.value.why
    assert caught.value.fix
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("spec", ["missing:/x", "a.txt/x:/x", "static/dangling:/x"])
def test_what_is_not_there(root: Path, spec: str) -> None:
    (root / "static" / "dangling").symlink_to("nothing")
    with pytest.raises(SourceError, match="does not exist") as caught:
        copied(root, spec)
    assert spec.partition(":")[0] in caught.value.what


def test_what_leaves_the_root(root: Path) -> None:
    (root.parent / "outside").write_text("x")
    (root / "out").symlink_to("../outside")
    (root / "static" / "up").symlink_to("../a.txt")
    for spec in ("../outside:/x", "out:/x", "static/../../outside:/x"):
        with pytest.raises(LinkEscapesError, match="leaves the source directory"):
            copied(root, spec)
    # Inside the source, and yet outside of what is copied: it would lead elsewhere in the image.
    with pytest.raises(LinkEscapesError, match=r"up"):
        copied(root, "static:/srv")


def test_what_is_neither_file_nor_directory(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(SourceError, match="neither"):
        copied(root, "pipe:/x")

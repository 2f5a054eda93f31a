"""What a tool made of files that were edited meanwhile is told from what it made of them as they were."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hostbuild.errors import SourceChangedError
from hostbuild.source import is_unchanged
from hostbuild.source.digests import RACY_NS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "src"
    (root / "pkg").mkdir(parents=True)
    (root / "main.go").write_text("main")
    (root / "pkg/a.go").write_text("a")
    (root / "README").write_text("no input")
    return root


def look(root: Path) -> tuple[list[tuple[str, str]], int]:
    """What is there, and when that was looked at: long enough after it was written to be told apart."""
    files = [
        (name, hashlib.sha256((root / name).read_bytes()).hexdigest()) for name in ("main.go", "pkg/a.go")
    ]
    later(max(path.lstat().st_ctime_ns for path in (root, *root.rglob("*"))))
    return [*files, ("go.work", "")], time.time_ns()


def later(moment: int) -> None:
    """Wait until files that are written now are seen to be newer."""
    while time.time_ns() < moment + 2 * RACY_NS:
        time.sleep(0.001)


def edit_and_keep_times(root: Path) -> None:
    before = (root / "main.go").stat()
    (root / "main.go").write_text("niam")
    os.utime(root / "main.go", ns=(before.st_atime_ns, before.st_mtime_ns))


def become_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def exchange(root: Path) -> None:
    (root / "pkg").rename(root.parent / "old")
    (root / "new").mkdir()
    (root / "new/a.go").write_text("a")
    (root / "new/b.go").write_text("b")
    (root / "new").rename(root / "pkg")


EDITS: dict[str, Callable[[Path], object]] = {
    "edited": lambda root: (root / "pkg/a.go").write_text("b"),
    "edited, the times kept": edit_and_keep_times,
    "removed": lambda root: (root / "main.go").unlink(),
    "a directory": lambda root: become_directory(root / "main.go"),
    "come where nothing was": lambda root: (root / "go.work").write_text(""),
    "an edit that was undone": lambda root: [
        (root / "main.go").write_text(text) for text in ("other", "main")
    ],
}
ADDED: dict[str, Callable[[Path], object]] = {
    "added beside": lambda root: (root / "other.go").write_text(""),
    "added below": lambda root: (root / "pkg/b.go").write_text(""),
    "renamed into place": lambda root: (root / "README").rename(root / "readme.go"),
    "a directory exchanged": exchange,
}


@pytest.mark.parametrize("change", EDITS)
def test_an_edit_is_an_error_that_names_the_file(change: str, root: Path) -> None:
    files, since = look(root)
    assert is_unchanged(str(root), files, since)
    later(since)
    EDITS[change](root)
    with pytest.raises(SourceChangedError, match=r"(main|a)\.go|go\.work"):
        is_unchanged(str(root), files, since)


@pytest.mark.parametrize("change", ADDED)
def test_what_came_is_seen(change: str, root: Path) -> None:
    files, since = look(root)
    ADDED[change](root)
    try:
        unchanged = is_unchanged(str(root), files, since)
    except SourceChangedError:
        # On a busy machine the exchange takes longer than what cannot be told apart: then it is an edit.
        assert change == "a directory exchanged"
    else:
        assert not unchanged


def test_what_was_written_as_one_looked_cannot_be_told(root: Path) -> None:
    files, _ = look(root)
    assert not is_unchanged(str(root), files, (root / "main.go").stat().st_ctime_ns + 1)


def test_what_builds_make_is_no_change(root: Path) -> None:
    files, since = look(root)
    (root / ".func/builds").mkdir(parents=True)
    assert is_unchanged(str(root), files, since)

"""Which files are a project's source, and the copy that its build gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostbuild.errors import DependenciesError, SourceChangedError
from hostbuild.languages.python.sources import copy_source, source_files
from tests.languages.python.made import sha256, write


def names(root: Path) -> list[str]:
    return [path for path, _ in source_files(str(root), lambda path: "")]


def test_files_and_digests_are_sorted(tmp_path: Path) -> None:
    write(tmp_path, {"b.py": "b", "a/z.py": "z", "a.py": "a"})
    found = source_files(str(tmp_path), lambda path: sha256(Path(path)))
    assert found == tuple((name, sha256(tmp_path / name)) for name in ("a.py", "a/z.py", "b.py"))


def test_a_package_that_is_called_as_tools_call_their_output(tmp_path: Path) -> None:
    write(tmp_path, {"build/__init__.py": "", "build/env.py": "", "dist/x.whl": "", "src/dist/y.py": ""})
    assert names(tmp_path) == ["build/__init__.py", "build/env.py", "src/dist/y.py"]


def test_links_are_what_they_lead_to(tmp_path: Path) -> None:
    root = write(tmp_path / "repo" / "pkgs" / "one", {"pkg/__init__.py": ""})
    write(tmp_path, {"repo/README.md": "r", "repo/shared/x.py": "x", "data/huge.bin": "h"})
    (tmp_path / "repo" / ".git").mkdir()
    (root / "README.md").symlink_to("../../README.md")
    (root / "pkg" / "shared").symlink_to("../../../shared")
    (root / "pkg" / "again").symlink_to(".")
    (root / "data").symlink_to(tmp_path / "data")
    (root / "gone").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    assert names(root) == ["README.md", "pkg/__init__.py", "pkg/shared/x.py"]
    into = tmp_path / "copy"
    into.mkdir()
    copy = Path(copy_source(str(root), str(into)))
    assert copy.name == "one"
    assert (copy / "README.md").read_text() == "r"
    assert not (copy / "pkg" / "shared").is_symlink()


def test_the_ignore_file_of_the_repository_above(tmp_path: Path) -> None:
    root = write(tmp_path / "repo" / "pkgs" / "one", {"a.py": ""})
    write(tmp_path, {".gitignore": "not in the repository", "repo/.gitignore": "*.log"})
    assert names(root) == ["a.py"]
    (tmp_path / "repo" / ".git").mkdir()
    assert names(root) == ["../../.gitignore", "a.py"]
    into = tmp_path / "copy"
    into.mkdir()
    copy = Path(copy_source(str(root), str(into)))
    assert sorted(each.name for each in copy.iterdir()) == ["a.py"]
    assert (copy.parent / ".gitignore").read_text() == "*.log"
    assert (copy.parent / ".git").is_dir()
    write(root, {".gitignore": "*.txt"})
    assert names(root) == [".gitignore", "a.py"]


def test_modes_do_not_depend_on_who_copies(tmp_path: Path) -> None:
    root = write(tmp_path / "p", {"a.py": "", "run.sh": ""})
    (root / "run.sh").chmod(0o700)
    (root / "a.py").chmod(0o600)
    before = os.umask(0o077)
    try:
        (tmp_path / "copy").mkdir()
        copy = Path(copy_source(str(root), str(tmp_path / "copy")))
    finally:
        os.umask(before)
    modes = {each.name: each.stat().st_mode & 0o777 for each in copy.iterdir()}
    assert modes == {"a.py": 0o644, "run.sh": 0o755}


def test_what_cannot_be_read_or_named(tmp_path: Path) -> None:
    with pytest.raises(DependenciesError, match="cannot read 'gone'"):
        names(tmp_path / "gone")
    write(tmp_path / "p", {"a.py": ""})
    with open(os.fsencode(tmp_path / "p") + b"/\xff.py", "wb"):
        pass
    with pytest.raises(DependenciesError, match="is not UTF-8"):
        names(tmp_path / "p")


def test_too_many_files_are_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostbuild.languages.python.sources._MOST", 2)
    write(tmp_path, {"a.py": "", "b.py": ""})
    assert names(tmp_path) == ["a.py", "b.py"]
    write(tmp_path, {"c.py": ""})
    with pytest.raises(DependenciesError, match="more than 2 files"):
        names(tmp_path)


def test_a_copy_of_something_else_than_was_looked_at(tmp_path: Path) -> None:
    root = write(tmp_path / "p", {"a.py": "1"})
    files = source_files(str(root), lambda path: sha256(Path(path)))
    write(root, {"a.py": "2"})
    (tmp_path / "copy").mkdir()
    with pytest.raises(SourceChangedError, match=r"'a\.py' was changed"):
        copy_source(str(root), str(tmp_path / "copy"), files=files)

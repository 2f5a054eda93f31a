from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hostbuild.errors import IgnoreFileError, LinkEscapesError
from hostbuild.source import EVERYTHING, FileDigests, load_ignore, scan


def make(root: Path, *names: str, **contents: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents.get(name, name))


def shipped(root: Path, *, gitignore: bool = False, never: tuple[str, ...] = ()) -> list[str]:
    tree = scan(str(root), load_ignore(str(root), gitignore, never=never), digests=FileDigests())
    return [entry.path for entry in tree.entries if entry.kind != "dir"]


def test_what_a_tool_leaves_ships_only_where_the_ignore_file_says_so(tmp_path: Path) -> None:
    make(
        tmp_path, "a.py", "a.pyc", "x/b.pyc", "x/__pycache__/b.pyc", "keep.pyc", "notes.txt", "x/z.egg-info/P"
    )
    (tmp_path / ".dockerignore").write_text("notes.txt\n*.pyc\n!keep.pyc\n")
    rules = load_ignore(str(tmp_path), leavings=("__pycache__", "*.pyc", "*.egg-info"))
    tree = scan(str(tmp_path), rules, digests=FileDigests())
    assert [entry.path for entry in tree.entries if entry.kind != "dir"] == ["a.py", "keep.pyc"]
    assert shipped(tmp_path) == [
        "a.py",
        "keep.pyc",
        "x/__pycache__/b.pyc",
        "x/b.pyc",
        "x/z.egg-info/P",
    ]


def test_a_directory_is_known_by_what_it_holds(tmp_path: Path) -> None:
    make(tmp_path, "env/pyvenv.cfg", "env/lib/x.py", "app/x.py")
    (tmp_path / "env" / "python").symlink_to("/usr/bin/python3")
    rules = load_ignore(str(tmp_path), leavings=("*/pyvenv.cfg",))
    tree = scan(str(tmp_path), rules, digests=FileDigests())
    assert [entry.path for entry in tree.entries] == ["app", "app/x.py"]
    with pytest.raises(LinkEscapesError):
        scan(str(tmp_path), load_ignore(str(tmp_path)), digests=FileDigests())


BUILT_IN = (
    ".env",
    "x/.env",
    ".venv/bin/python",
    "venv/x",
    "__pycache__/a.pyc",
    "x/__pycache__/b",
    "node_modules/m/index.js",
    "x/stray.pyc",
    ".mypy_cache/x",
    ".pytest_cache/x",
    ".ruff_cache/x",
    ".tox/x",
    ".cache/x",
    ".DS_Store",
)
ALWAYS = (
    *(".git/config", "x/.git", "x/y/.git/config", ".func/builds/x", "x/.func/builds/x"),
    *(".hostbuild.lock.hostbuild-0123456789abcdef", "x/.a.tar.hostbuild-0123456789abcdef/content"),
)


def test_the_built_in_list(tmp_path: Path) -> None:
    make(tmp_path, *BUILT_IN, *ALWAYS, "main.go", ".envrc", "x/venv.go", "environment/.environment")
    assert shipped(tmp_path) == [".envrc", "environment/.environment", "main.go", "x/venv.go"]


@pytest.mark.parametrize("name", [".funcignore", ".dockerignore"])
def test_an_ignore_file_replaces_the_built_in_list_but_not_git_and_func(tmp_path: Path, name: str) -> None:
    make(tmp_path, *BUILT_IN, *ALWAYS, "main.go")
    (tmp_path / name).write_text("main.go\n!.git\n!.func\n!**/.git\n!x/.func\n")
    assert shipped(tmp_path) == sorted(BUILT_IN)


def test_funcignore_beats_dockerignore(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    (tmp_path / ".funcignore").write_text("a")
    (tmp_path / ".dockerignore").write_text("b\n[")
    assert shipped(tmp_path) == ["b"]
    assert load_ignore(str(tmp_path)).source == ".funcignore"
    (tmp_path / ".funcignore").unlink()
    (tmp_path / ".dockerignore").write_text("b\n")
    assert shipped(tmp_path) == ["a"]
    assert load_ignore(str(tmp_path)).source == ".dockerignore"


def test_the_ignore_files_of_the_root_do_not_ship_and_others_do(tmp_path: Path) -> None:
    names = (".funcignore", ".gitignore", ".dockerignore")
    make(tmp_path, *(f"x/{name}" for name in names))
    for name in names:
        (tmp_path / name).write_text("!.funcignore\n!.gitignore\n!.dockerignore\n")
    assert shipped(tmp_path) == ["x/.dockerignore", "x/.funcignore", "x/.gitignore"]


def test_upstreams_promises(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt", "x/a.tmp", "a.tmp", "dist/x", "docs/x", "x/docs", "kept", "x/keep.tmp")
    (tmp_path / ".funcignore").write_text("notes.txt\n*.tmp\ndist/\n/docs\n#kept\n!keep.tmp\n")
    assert shipped(tmp_path) == ["kept", "x/docs", "x/keep.tmp"]


def test_gitignore_counts_only_when_asked(tmp_path: Path) -> None:
    make(tmp_path, "a", "b", "x/a", "x/c", ".env")
    (tmp_path / ".gitignore").write_text("a\n!.env\n")
    (tmp_path / "x" / ".gitignore").write_text("c\n!a\n")
    assert shipped(tmp_path) == ["a", "b", "x/.gitignore", "x/a", "x/c"]
    assert shipped(tmp_path, gitignore=True) == ["b", "x/.gitignore", "x/a"]


def test_the_ignore_file_has_the_last_word_over_gitignore(tmp_path: Path) -> None:
    make(tmp_path, "dist/x", "other", "more")
    (tmp_path / ".gitignore").write_text("dist/\nother\n")
    (tmp_path / ".funcignore").write_text("!dist\nmore\n")
    assert shipped(tmp_path, gitignore=True) == ["dist/x"]
    (tmp_path / ".funcignore").unlink()
    (tmp_path / ".dockerignore").write_text("*\n!dist\n")
    assert shipped(tmp_path, gitignore=True) == ["dist/x"]


def test_only_what_is_below_the_root_counts(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("a\n")
    (tmp_path / ".git" / "info").mkdir(exist_ok=True)
    (tmp_path / ".git" / "info" / "exclude").write_text("b\n")
    make(tmp_path / "service", "a", "b")
    assert shipped(tmp_path / "service", gitignore=True) == ["a", "b"]


def test_a_gitignore_that_is_no_file_is_none(tmp_path: Path) -> None:
    make(tmp_path, "a", "rules", "x/.gitignore/y")
    (tmp_path / "rules").write_text("a\n")
    (tmp_path / ".gitignore").symlink_to("rules")
    assert shipped(tmp_path, gitignore=True) == ["a", "rules", "x/.gitignore/y"]


def test_the_places_that_a_build_writes_to(tmp_path: Path) -> None:
    make(tmp_path, "out/index.json", "x/out", "build/.func-elsewhere/x", "build/y")
    assert shipped(tmp_path, never=("out/", "build/.func-elsewhere")) == ["build/y", "x/out"]


def test_everything_is_everything_but_git_and_func(tmp_path: Path) -> None:
    make(tmp_path, *BUILT_IN, *ALWAYS, ".gitignore", ".funcignore")
    tree = scan(str(tmp_path), EVERYTHING, digests=FileDigests())
    files = [entry.path for entry in tree.entries if entry.kind == "file"]
    assert files == sorted((*BUILT_IN, ".gitignore", ".funcignore"))


def test_an_ignore_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / ".funcignore"
    path.mkdir()
    with pytest.raises(IgnoreFileError, match="not a regular file"):
        load_ignore(str(tmp_path))
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(IgnoreFileError, match="not a regular file"):
        load_ignore(str(tmp_path))
    path.unlink()
    path.symlink_to("nothing")
    with pytest.raises(IgnoreFileError, match="link to nothing"):
        load_ignore(str(tmp_path))
    path.unlink()
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(IgnoreFileError, match="more than"):
        load_ignore(str(tmp_path))


def test_nothing_is_imported_that_the_built_in_list_does_not_need(tmp_path: Path) -> None:
    code = (
        "import sys; from hostbuild.source import *;"
        f"scan({str(tmp_path)!r}, load_ignore({str(tmp_path)!r}), digests=FileDigests());"
        "print([name for name in sys.modules if name.startswith(('pathspec', 'concurrent', 'logging',"
        " 'hostbuild.source.gitignore', 'hostbuild.source.dockerignore'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

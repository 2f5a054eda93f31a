"""A project's directory as its build sees it: its files, their digests, and a copy to write in.

What a build makes, and what belongs to other tools, is no source: repositories, virtual environments, caches,
what earlier builds left. A link is what it leads to, as in the wheel; a directory that is linked and lies
outside of the repository (or of the project, where there is none) is left out, as a mounted data set is.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from hostbuild.errors import DependenciesError, SourceChangedError

#: Left out at any depth.
_NAMES = frozenset(
    {
        ".DS_Store",
        ".bzr",
        ".cache",
        ".eggs",
        ".env",
        ".func",
        ".git",
        ".hg",
        ".hypothesis",
        ".idea",
        ".mypy_cache",
        ".nox",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".tox",
        ".venv",
        ".vscode",
        "__pycache__",
    }
)
_COMPILED = (".pyc", ".pyo")
#: Left out at the top only: deeper they may be packages, or data of one.
_AT_THE_TOP = frozenset({"build", "dist", "node_modules"})

_GITIGNORE = ".gitignore"
_MOST = 200_000
_PIECE = 1 << 20


class SourceFile(NamedTuple):
    """A file that a build could read: its path relative to the project, "/" between the parts, and where it
    lies.
    """

    relative: str
    path: str


def source_files(path: str, digest_file: Callable[[str], str]) -> tuple[tuple[str, str], ...]:
    """All files that a build of the directory `path` could read, sorted: relative path and SHA-256 (hex).

    They are the key of its wheel. One of them may lie above: the .gitignore of the repository, by which some
    build backends choose. `digest_file` gives the SHA-256 of the file at an absolute path.

    Raises DependenciesError for what cannot be read or named, and what `digest_file` raises.
    """
    return tuple((each.relative, digest_file(each.path)) for each in find_files(path))


def find_files(path: str) -> list[SourceFile]:
    """The files that `source_files` speaks of, in the same order. Raises DependenciesError."""
    root = os.path.abspath(path)
    repository = _repository(root)
    found: list[SourceFile] = []
    for each in _walk(root, "", (), repository or root):
        found.append(each)
        if len(found) > _MOST:
            raise DependenciesError(
                f"the project in {os.path.basename(root)!r} has more than {_MOST} files",
                why="all of them are its source: its build could read them",
                fix="move data and tools out of its directory",
            )
    above = _ignore_file_above(root, repository)
    if above:
        found.append(SourceFile(os.path.relpath(above, root).replace(os.sep, "/"), above))
    return sorted(found)


def copy_source(path: str, into: str, *, files: Sequence[tuple[str, str]] | None = None) -> str:
    """A copy of the directory's files, in the empty directory `into`; gives the path of the copy.

    The copy does not lie at the top of `into`: a .gitignore of the repository above lies there. Modes are
    0644 or 0755, whoever copies. `files`, where given, is what `source_files` said: the copy must be that.

    Raises DependenciesError for what cannot be read, SourceChangedError where a file is another one now.
    """
    # Build backends look for a .gitignore upward, to the repository's top: this is as far as they come.
    os.mkdir(os.path.join(into, ".git"))
    # Some take the directory's name for the package's.
    copy = os.path.join(into, os.path.basename(os.path.abspath(path)) or "source")
    os.mkdir(copy)
    expected = None if files is None else dict(files)
    seen = set()
    for each in find_files(path):
        outside = each.relative.startswith("../")
        target = os.path.join(into, _GITIGNORE) if outside else os.path.join(copy, each.relative)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        digest = _copy_file(each, target)
        seen.add(each.relative)
        if expected is not None and expected.get(each.relative) != digest:
            raise _changed(each.relative)
    if expected is not None and (gone := sorted(expected.keys() - seen)):
        raise _changed(gone[0])
    return copy


def _changed(relative: str) -> SourceChangedError:
    return SourceChangedError(
        f"{relative!r} was changed while its project was being built", fix="build again"
    )


def _copy_file(file: SourceFile, target: str) -> str:
    digest = hashlib.sha256()
    try:
        with open(file.path, "rb") as source:
            executable = os.fstat(source.fileno()).st_mode & 0o100
            with open(target, "wb") as stream:
                while piece := source.read(_PIECE):
                    digest.update(piece)
                    stream.write(piece)
    except FileNotFoundError:
        raise _changed(file.relative) from None
    except OSError as error:
        raise DependenciesError(f"cannot copy {file.relative!r}", why=error.strerror or str(error)) from None
    os.chmod(target, 0o755 if executable else 0o644)
    return digest.hexdigest()


def _walk(folder: str, prefix: str, above: tuple[str, ...], boundary: str) -> Iterator[SourceFile]:
    real = os.path.realpath(folder)
    if real in above:
        return  # a link that leads in a circle
    above = (*above, real)
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda each: each.name)
    except OSError as error:
        label = prefix.rstrip("/") or os.path.basename(folder)
        raise DependenciesError(f"cannot read {label!r}", why=error.strerror or str(error)) from None
    for entry in entries:
        if entry.name in _NAMES or entry.name.endswith(_COMPILED):
            continue
        kind = _kind(entry)
        if kind == "file":
            yield SourceFile(_checked(prefix + entry.name), entry.path)
        elif kind == "directory" and _is_source(entry, prefix, boundary):
            yield from _walk(entry.path, f"{prefix}{entry.name}/", above, boundary)


def _kind(entry: os.DirEntry[str]) -> str:
    """What an entry is, or leads to: "file", "directory", or "" for anything else and for nothing."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return ""
    if stat.S_ISREG(mode):
        return "file"
    return "directory" if stat.S_ISDIR(mode) else ""


def _is_source(entry: os.DirEntry[str], prefix: str, boundary: str) -> bool:
    if entry.name.endswith(".egg-info") or os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
        return False
    if not prefix and entry.name in _AT_THE_TOP:
        return os.path.isfile(os.path.join(entry.path, "__init__.py"))
    if entry.is_symlink():
        real, top = os.path.realpath(entry.path), os.path.realpath(boundary)
        return real.startswith(top.rstrip("/") + "/")
    return True


def _checked(relative: str) -> str:
    try:
        relative.encode()
    except UnicodeEncodeError:
        raise DependenciesError(
            f"the name of the file {os.fsencode(relative)!r} is not UTF-8", fix="rename it"
        ) from None
    return relative


def _repository(root: str) -> str:
    """The directory at or above `root` that holds a git repository, or ""."""
    current = root
    while True:
        if os.path.lexists(os.path.join(current, ".git")):
            return current
        above = os.path.dirname(current)
        if above == current:
            return ""
        current = above


def _ignore_file_above(root: str, repository: str) -> str:
    """The nearest .gitignore above the project, in its repository, where it has none of its own; or ""."""
    current = root
    while repository and current != repository:
        if os.path.isfile(os.path.join(current, _GITIGNORE)):
            break
        current = os.path.dirname(current)
    found = os.path.join(current, _GITIGNORE)
    return found if repository and current != root and os.path.isfile(found) else ""

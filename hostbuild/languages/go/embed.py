"""Which files a `//go:embed` pattern names (package embed, and what the go command makes of it).

A pattern is a glob of path.Match below the package's directory. A directory stands for all files below
it except names that begin with `.` or `_` (with the prefix `all:` those too); other modules, links and
names that cannot be in a module are left out. A pattern that the go command refuses gives nothing: it
will say why.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from stat import S_ISDIR, S_ISREG

Matcher = Callable[[str], re.Match[str] | None]

_META = frozenset("*?[\\")
_CLASS = r"\[(\^?)((?:(?:\\.|[^\]\\-])(?:-(?:\\.|[^\]\\-]))?)+)\]"
_VERSION_CONTROL = frozenset((".bzr", ".hg", ".git", ".svn"))
_WINDOWS_NAMES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10)))
)
_ALLOWED = frozenset("!#$%&()+,-.=@[]^_{}~ ")


def resolve(directory: str, pattern: str) -> list[str]:
    """The absolute paths of the files that `pattern` embeds into the package in `directory`, sorted."""
    glob = pattern.removeprefix("all:")
    parts = glob.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return []
    try:
        matched = list(_glob(directory, parts))
        files: set[str] = set()
        for path in matched:
            files.update(_files_of(directory, path, everything=glob != pattern))
    except _RefusedError:
        return []
    return sorted(files)


class _RefusedError(Exception):
    """The go command refuses the pattern."""


def _glob(directory: str, parts: list[str]) -> Iterator[str]:
    part, rest = parts[0], parts[1:]
    if not _META.isdisjoint(part):
        matches = _translate(part)
        try:
            names = sorted(name for name in os.listdir(directory) if matches(name))
        except (FileNotFoundError, NotADirectoryError):
            return
    else:
        names = [part]
    for name in names:
        path = f"{directory}/{name}"
        if rest:
            yield from _glob(path, rest)
        elif os.path.lexists(path):
            yield path


@lru_cache(maxsize=512)
def _translate(part: str) -> Matcher:
    """path.Match's pattern as a function on names. Raises _RefusedError for bad syntax."""
    out: list[str] = []
    pos = 0
    while pos < len(part):
        char = part[pos]
        if char == "*":
            out.append(".*")
        elif char == "?":
            out.append(".")
        elif char == "\\":
            pos += 1
            if pos == len(part):
                raise _RefusedError
            out.append(re.escape(part[pos]))
        elif char == "[":
            found = re.compile(_CLASS).match(part, pos)
            if found is None:
                raise _RefusedError
            out.append(_character_class(found))
            pos = found.end() - 1
        else:
            out.append(re.escape(char))
        pos += 1
    return re.compile("".join(out), re.DOTALL).fullmatch


def _character_class(found: re.Match[str]) -> str:
    ranges: list[str] = []
    for low, high in re.findall(r"(\\.|[^\\-])(?:-(\\.|[^\\-]))?", found[2]):
        first, last = low[-1], (high or low)[-1]
        if first <= last:
            ranges.append(f"{re.escape(first)}-{re.escape(last)}")
    if not ranges:
        return "." if found[1] else "(?!)"
    return f"[{found[1]}{''.join(ranges)}]"


def _files_of(package: str, path: str, *, everything: bool) -> Iterator[str]:
    """The files that one match stands for."""
    mode = os.lstat(path).st_mode
    _check_way(package, path)
    if S_ISREG(mode):
        yield path
    elif S_ISDIR(mode):
        found = list(_walk(path, everything=everything))
        if not found:
            raise _RefusedError
        yield from found
    elif os.path.isfile(path):
        yield path  # a link: refused unless GODEBUG=embedfollowsymlinks=1, then an input
    else:
        raise _RefusedError


def _check_way(package: str, path: str) -> None:
    """No name from the package's directory to `path` may be a bad one, another module, or a link."""
    way = path
    while len(way) > len(package):
        name = os.path.basename(way)
        if is_bad_name(name) or os.path.exists(f"{way}/go.mod"):
            raise _RefusedError
        if way != path and not S_ISDIR(os.lstat(way).st_mode):
            raise _RefusedError
        way = os.path.dirname(way)


def _walk(directory: str, *, everything: bool) -> Iterator[str]:
    with os.scandir(directory) as scan:
        entries = list(scan)
    for entry in entries:
        hidden = entry.name.startswith((".", "_"))
        if hidden and (not everything or is_bad_name(entry.name)):
            continue
        is_directory = entry.is_dir(follow_symlinks=False)
        if is_bad_name(entry.name):
            if is_directory:
                continue
            raise _RefusedError
        if is_directory:
            if not os.path.exists(f"{entry.path}/go.mod"):
                yield from _walk(entry.path, everything=everything)
        elif entry.is_file(follow_symlinks=False):
            yield entry.path


def is_bad_name(name: str) -> bool:
    """Whether a file of this name cannot be part of a module (golang.org/x/mod/module, CheckFilePath)."""
    if name in _VERSION_CONTROL or name.endswith("."):
        return True
    if not all(char in _ALLOWED or (char.isalnum() if char.isascii() else char.isalpha()) for char in name):
        return True
    return name.partition(".")[0].lower() in _WINDOWS_NAMES

"""Which names of a source directory do not ship: what one ignore file says, or else a built-in list.

`.funcignore` (as gitignore), else `.dockerignore` (as Docker), else the built-in list. `.gitignore` files
count only when asked, and then for what the former says nothing about. `.git` and `.func` never ship.
Nothing outside the directory counts: no .gitignore above it, no exclude file of the repository or the
user, because the same source must be the same image on any machine.
"""

from __future__ import annotations

import os
import re
import stat as modes
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hostbuild.errors import IgnoreFileError
from hostbuild.records import record
from hostbuild.source.names import encode, show

if TYPE_CHECKING:
    from hostbuild.source.gitignore import GitPatterns

FUNCIGNORE = b".funcignore"
DOCKERIGNORE = b".dockerignore"
GITIGNORE = b".gitignore"

#: Left out at any depth, whatever the ignore file says: the repository, and what hostbuild itself makes.
NEVER = frozenset({b".git", b".func"})
#: So too what a killed hostbuild left beside a file that it was writing (`hostbuild.store.beside`).
_UNFINISHED = re.compile(rb"\..+\.hostbuild-[0-9a-f]{16}\Z", re.DOTALL)

#: Left out at the root: they steer the build and are no part of it.
IGNORE_FILES = frozenset({FUNCIGNORE, DOCKERIGNORE, GITIGNORE})

#: Left out at any depth where the directory has no ignore file of its own.
BUILT_IN_NAMES = frozenset(
    {
        b".DS_Store",
        b".cache",
        b".env",
        b".mypy_cache",
        b".nox",
        b".pytest_cache",
        b".ruff_cache",
        b".tox",
        b".venv",
        b"__pycache__",
        b"node_modules",
        b"venv",
    }
)
BUILT_IN_SUFFIXES = (b".pyc", b".pyo")

#: An ignore file beyond this many bytes is a mistake.
MAX_BYTES = 4 << 20

#: What patterns know of a directory and hand on to what is in it.
Matched = tuple[bool, ...]


class Patterns(Protocol):
    """One set of patterns, asked from the root down."""

    def top(self) -> Matched:
        """What is known at the root."""

    def decide(
        self, path: bytes, name: bytes, *, is_dir: bool, parent: Matched
    ) -> tuple[bool | None, Matched]:
        """True: left out; False: expressly not; None: nothing is said. And what is known inside."""

    def may_except_below(self, path: bytes) -> bool:
        """Whether anything could ship below this directory, which is left out."""

    def plain(self) -> Plain | None:
        """What a file's name has at least that is spoken of; None where that hangs on more than the name."""


class Plain(NamedTuple):
    """What a name must have for rules to speak of it: one of the names, a suffix, or a match."""

    names: frozenset[bytes] = frozenset()
    suffixes: tuple[bytes, ...] = ()
    match: Callable[[bytes], object] | None = None


class BuiltInList:
    """The names and suffixes of the built-in list, or no names at all."""

    def __init__(
        self, names: frozenset[bytes] = BUILT_IN_NAMES, suffixes: tuple[bytes, ...] = BUILT_IN_SUFFIXES
    ) -> None:
        self._names = names
        self._suffixes = suffixes

    def top(self) -> Matched:
        """Nothing is to be known."""
        return ()

    def decide(
        self,
        path: bytes,
        name: bytes,
        *,
        is_dir: bool,
        parent: Matched,
    ) -> tuple[bool | None, Matched]:
        """By the name alone."""
        del path, is_dir
        return (True if name in self._names or name.endswith(self._suffixes) else None), parent

    def may_except_below(self, path: bytes) -> bool:
        """Never."""
        del path
        return False

    def plain(self) -> Plain:
        """All that it knows."""
        return Plain(self._names, self._suffixes)


NO_NAMES = BuiltInList(frozenset(), ())


class Level(NamedTuple):
    """What the rules know in one directory.

    Each .gitignore down to it comes with the length of its own directory's path and slash.
    """

    matched: Matched = ()
    gitignores: tuple[tuple[GitPatterns, int], ...] = ()


@record
class IgnoreRules:
    """The rules of one directory. `source` is what messages call them.

    `patterns` decide; where they say nothing and `gitignore` is set, .gitignore files do, the deepest
    first. What neither speaks of is left out where `leavings` name it, and a directory that holds a file of
    one of the names in `marks`. `hidden` are names that do not ship
    from the root, `never` paths below it that do not ship.
    """

    source: str
    patterns: Patterns
    gitignore: bool = False
    hidden: frozenset[bytes] = IGNORE_FILES
    never: frozenset[bytes] = frozenset()
    leavings: BuiltInList = NO_NAMES
    marks: tuple[bytes, ...] = ()

    def enter(self, level: Level, directory: bytes, path: bytes) -> Level:
        """What is known inside of `path`, which lies at `directory` and has a .gitignore."""
        if not self.gitignore:
            return level
        data = _read(directory + b"/" + GITIGNORE, show(path + b"/" + GITIGNORE if path else GITIGNORE))
        if data is None:
            return level
        from hostbuild.source.gitignore import GitPatterns

        found = (GitPatterns(data), len(path) + 1 if path else 0)
        return Level(level.matched, (*level.gitignores, found))

    def is_left(self, directory: bytes) -> bool:
        """Whether the directory, an absolute path, is one of those that tools leave."""
        return any(os.path.lexists(directory + b"/" + mark) for mark in self.marks)

    def plain(self) -> Plain | None:
        """What a file's name has at least, or a dot at its front, where patterns or leavings speak of it.

        None where they look at more than the name. The root, `never` and .gitignore files are another matter.
        """
        own, more = self.patterns.plain(), self.leavings.plain()
        if own is None:
            return None
        return Plain(own.names | more.names, own.suffixes + more.suffixes, own.match)

    def decide(self, level: Level, path: bytes, name: bytes, *, is_dir: bool) -> tuple[bool, Level | None]:
        """Whether `path`, whose directory `level` describes, is left out.

        The second value is what is known inside, or None where nothing in it can ship.
        """
        if (
            name in NEVER
            or (name[:1] == b"." and _UNFINISHED.match(name))
            or path in self.never
            or (name in self.hidden and path == name)
        ):
            return True, None
        decision, matched = self.patterns.decide(path, name, is_dir=is_dir, parent=level.matched)
        if decision is None:
            for patterns, start in reversed(level.gitignores):
                verdict = patterns.verdict(path[start:], name, is_dir=is_dir)
                if verdict is not None:
                    # Below what git ignores nothing can be brought back.
                    return verdict, None if verdict else Level(matched, level.gitignores)
            decision, _ = self.leavings.decide(path, name, is_dir=is_dir, parent=())
            if decision:
                return True, None
        if decision and not (is_dir and self.patterns.may_except_below(path)):
            return True, None
        return bool(decision), level if matched == level.matched else Level(matched, level.gitignores)


#: For what was named expressly: everything ships but `.git` and `.func`.
EVERYTHING = IgnoreRules("nothing", NO_NAMES, hidden=frozenset())


def load_ignore(
    root: str, use_gitignore: bool = False, *, never: Iterable[str] = (), leavings: Iterable[str] = ()
) -> IgnoreRules:
    """The rules of the directory `root`.

    `never` are paths relative to it that must not ship, as the places that a build writes to; `leavings`
    names, suffixes as `*.pyc`, and directories by what they hold as `*/pyvenv.cfg`, that ship only where the
    ignore file says so.

    Raises IgnoreFileError where the ignore file cannot be read or understood.
    """
    directory = os.fsencode(root)
    paths = frozenset(encode(path.strip("/")) for path in never)
    source, patterns = _own_patterns(directory)
    marks = tuple(encode(name[2:]) for name in leavings if name.startswith("*/"))
    names = [encode(name) for name in leavings if not name.startswith("*/")]
    left = BuiltInList(
        frozenset(name for name in names if not name.startswith(b"*")),
        tuple(name[1:] for name in names if name.startswith(b"*")),
    )
    return IgnoreRules(source, patterns, gitignore=use_gitignore, never=paths, leavings=left, marks=marks)


def _own_patterns(directory: bytes) -> tuple[str, Patterns]:
    data = _read(directory + b"/" + FUNCIGNORE, FUNCIGNORE.decode())
    if data is not None:
        from hostbuild.source.gitignore import GitPatterns

        return FUNCIGNORE.decode(), GitPatterns(data)
    data = _read(directory + b"/" + DOCKERIGNORE, DOCKERIGNORE.decode())
    if data is not None:
        from hostbuild.source.dockerignore import DockerPatterns

        return DOCKERIGNORE.decode(), DockerPatterns(data)
    return "the built-in list", BuiltInList()


def _read(path: bytes, name: str) -> bytes | None:
    """The file's content, None where there is no such file. Raises IgnoreFileError."""
    try:
        # Asked before it is opened: a pipe of this name would hold the build.
        status = os.stat(path)
        if not modes.S_ISREG(status.st_mode):
            raise IgnoreFileError(f"{name} cannot be read", why="it is not a regular file")
        if status.st_size > MAX_BYTES:
            raise IgnoreFileError(f"{name} cannot be used", why=f"it has more than {MAX_BYTES} bytes")
        with open(path, "rb") as stream:
            return stream.read(MAX_BYTES)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise IgnoreFileError(f"{name} cannot be read", why="it is a link to nothing") from None
        return None
    except NotADirectoryError:
        return None  # the walk will say so
    except OSError as error:
        why = error.strerror or str(error)
        raise IgnoreFileError(f"{name} cannot be read", why=why, fix="make it readable") from error

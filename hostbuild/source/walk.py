"""The walk: a directory becomes a tree of names, kinds and contents.

Every name is met once, in no particular order, and the result is sorted. A directory that is left out is
not walked, unless an exception of .dockerignore could bring something in it back.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator

from hostbuild.errors import SourceChangedError, SourceError
from hostbuild.source.digests import FileDigests, unreadable
from hostbuild.source.ignore import GITIGNORE, IgnoreRules, Level
from hostbuild.source.index import signature_of
from hostbuild.source.links import Known, LinkResolver
from hostbuild.source.names import show
from hostbuild.source.tree import DIRECTORY, FILE, LINK, Found, SourceTree

_DOT = b"."[0]


class _Walk:
    """One walk's state: what ships, the directories that ship only if something in them does, warnings."""

    def __init__(self, root: bytes, rules: IgnoreRules) -> None:
        self.root = root.rstrip(b"/")
        self.rules = rules
        self.plain = rules.plain()
        self.above_never = {path.rpartition(b"/")[0] for path in rules.never}
        self.found: list[Found] = []
        self.tentative: set[bytes] = set()
        self.warnings: list[str] = []

    def run(self) -> None:
        """Meet every name. Raises SourceError."""
        pending: list[tuple[bytes, Level]] = [(b"", Level(self.rules.patterns.top()))]
        while pending:
            path, level = pending.pop()
            pending += self._directory(path, level)

    def parents(self) -> Iterator[Found]:
        """The tentative directories above what was found."""
        left = set(self.tentative)
        for path, _ in self.found if left else ():
            above = path.rpartition(b"/")[0]
            while above in left:
                left.remove(above)
                yield above, DIRECTORY
                above = above.rpartition(b"/")[0]

    def _directory(self, path: bytes, level: Level) -> Iterator[tuple[bytes, Level]]:
        where = self.root + b"/" + path if path else self.root or b"/"
        try:
            with os.scandir(where) as entries:
                names = list(entries)
        except OSError as error:
            raise unreadable(path or where, error) from error
        if self.rules.gitignore and any(
            entry.name == GITIGNORE and entry.is_file(follow_symlinks=False) for entry in names
        ):
            level = self.rules.enter(level, where, path)
        special = not path or level.gitignores or path in self.above_never
        plain = None if special else self.plain
        for entry in names:
            name = entry.name
            inside = path + b"/" + name if path else name
            # Nearly all names are files of which no rule says anything.
            if (
                plain is None
                or name[0] == _DOT
                or name in plain.names
                or name.endswith(plain.suffixes)
                or (plain.match is not None and plain.match(name))
                or entry.is_dir(follow_symlinks=False)
            ):
                yield from self._judged(inside, entry, level)
            else:
                self._leaf(inside, entry)

    def _judged(self, path: bytes, entry: os.DirEntry[bytes], level: Level) -> Iterator[tuple[bytes, Level]]:
        """Gives the directory itself where it is one and something in it may ship."""
        is_dir = entry.is_dir(follow_symlinks=False)
        ignored, below = self.rules.decide(level, path, entry.name, is_dir=is_dir)
        if not is_dir:
            if not ignored:
                self._leaf(path, entry)
            return
        if self.rules.is_left(entry.path):
            return
        if below is not None:
            yield path, below
        if not ignored:
            self.found.append((path, DIRECTORY))
        elif below is not None:
            self.tentative.add(path)

    def _leaf(self, path: bytes, entry: os.DirEntry[bytes]) -> None:
        try:
            if entry.is_file(follow_symlinks=False):
                self.found.append((path, FILE + signature_of(entry.stat(follow_symlinks=False))))
            elif entry.is_symlink():
                self.found.append((path, LINK + os.readlink(entry.path)))
            else:
                self._special(path, entry.stat(follow_symlinks=False).st_mode)
        except OSError as error:
            raise unreadable(path, error) from error

    def _special(self, path: bytes, mode: int) -> None:
        if modes.S_ISSOCK(mode) or modes.S_ISFIFO(mode):
            word = "a socket" if modes.S_ISSOCK(mode) else "a named pipe"
            self.warnings.append(f"{show(path)} is {word} and is not shipped")
            return
        if modes.S_ISBLK(mode) or modes.S_ISCHR(mode):
            raise SourceError(
                f"{show(path)} is a device",
                why="an image of an application holds no devices",
                fix="remove it, or leave it out with a line in .funcignore",
            )
        raise SourceChangedError(
            f"{show(path)} became something else while it was looked at",
            fix="run the build again when nothing writes to the source",
        )


def survey(root: str, rules: IgnoreRules, *, digests: FileDigests) -> SourceTree:
    """What ships from the directory `root`, which may be a link itself; no file is read yet.

    Links are judged by where they lead and kept raw; sockets and named pipes are left out with a warning.
    Raises SourceError (no such directory, a device, something that cannot be read), LinkEscapesError,
    IgnoreFileError (a nested .gitignore) and SourceChangedError.
    """
    top = _resolved(root)
    walk = _Walk(top, rules)
    walk.run()
    walk.found += list(walk.parents())
    walk.found.sort()
    _judge_links(walk)
    return SourceTree(os.fsdecode(top), walk.found, tuple(walk.warnings), digests)


def scan(root: str, rules: IgnoreRules, *, digests: FileDigests) -> SourceTree:
    """As `survey`, with every file read, or known."""
    tree = survey(root, rules, digests=digests)
    # One file after the other: threads were measured and gave nothing, because most files are small and
    # what is done between their system calls is done by one thread at a time.
    _ = tree.entries
    return tree


def _resolved(root: str) -> bytes:
    quoted = show(root)
    try:
        top = os.path.realpath(os.fsencode(root), strict=True)
    except FileNotFoundError:
        raise SourceError(f"there is no directory {quoted}", fix="check the path") from None
    except NotADirectoryError:
        raise SourceError(f"{quoted} is not a directory", fix="name the directory of the source") from None
    except OSError as error:
        raise SourceError(f"{quoted} cannot be read", why=error.strerror or str(error)) from error
    if not os.path.isdir(top):
        raise SourceError(f"{quoted} is not a directory", fix="name the directory of the source")
    return top


def _judge_links(walk: _Walk) -> None:
    links = [(path, mark[1:]) for path, mark in walk.found if mark[:1] == LINK]
    if not links:
        return
    shipped = dict(walk.found)
    resolver = LinkResolver(walk.root, lambda path: _known(shipped.get(path)))
    for path, target in links:
        resolution = resolver.judge(path, target)
        words = f"the link {show(path)} to {show(target)}"
        if resolution.state == "loop":
            walk.warnings.append(f"{words} goes round in circles; it is shipped as it is")
        elif resolution.state == "missing":
            walk.warnings.append(f"{words} leads to nothing; it is shipped as it is")
        elif resolution.path and resolution.path not in shipped:
            walk.warnings.append(f"{words} leads to something that is not shipped; it will lead to nothing")


def _known(mark: bytes | None) -> Known | None:
    if mark is None:
        return None
    if mark[:1] == LINK:
        return Known("link", mark[1:])
    return Known("dir" if mark == DIRECTORY else "file")

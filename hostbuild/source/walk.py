"""The walk: a directory becomes a tree of names, kinds and contents.

Every name is met once, in no particular order, and the result is sorted. A directory that is left out is
not walked, unless an exception of .dockerignore could bring something in it back.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator
from typing import NamedTuple

from hostbuild.errors import SourceChangedError, SourceError
from hostbuild.model import EntryKind
from hostbuild.source.digests import FileDigests, unreadable
from hostbuild.source.ignore import GITIGNORE, IgnoreRules, Level
from hostbuild.source.links import Known, LinkResolver
from hostbuild.source.names import decode, show
from hostbuild.source.tree import SourceEntry, SourceTree

_OWNER_EXECUTE = 0o100


class _Found(NamedTuple):
    """One name: `status` for files, `target` for links."""

    path: bytes
    kind: EntryKind
    status: os.stat_result | None = None
    target: bytes = b""


class _Walk:
    """One walk's state: what ships, the directories that ship only if something in them does, warnings."""

    def __init__(self, root: bytes, rules: IgnoreRules) -> None:
        self.root = root.rstrip(b"/")
        self.rules = rules
        self.found: list[_Found] = []
        self.tentative: set[bytes] = set()
        self.warnings: list[str] = []

    def run(self) -> None:
        """Meet every name. Raises SourceError."""
        pending: list[tuple[bytes, Level]] = [(b"", Level(self.rules.patterns.top()))]
        while pending:
            path, level = pending.pop()
            pending += self._directory(path, level)

    def parents(self) -> Iterator[_Found]:
        """The tentative directories above what was found."""
        left = set(self.tentative)
        for found in self.found if left else ():
            above = found.path.rpartition(b"/")[0]
            while above in left:
                left.remove(above)
                yield _Found(above, "dir")
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
        for entry in names:
            name = entry.name
            inside = path + b"/" + name if path else name
            is_dir = entry.is_dir(follow_symlinks=False)
            ignored, below = self.rules.decide(level, inside, name, is_dir=is_dir)
            if is_dir:
                if self.rules.is_left(entry.path):
                    continue
                if below is not None:
                    yield inside, below
                if not ignored:
                    self.found.append(_Found(inside, "dir"))
                elif below is not None:
                    self.tentative.add(inside)
            elif not ignored:
                self._leaf(inside, entry)

    def _leaf(self, path: bytes, entry: os.DirEntry[bytes]) -> None:
        try:
            if entry.is_symlink():
                self.found.append(_Found(path, "link", target=os.readlink(entry.path)))
            elif entry.is_file(follow_symlinks=False):
                self.found.append(_Found(path, "file", entry.stat(follow_symlinks=False)))
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


def scan(root: str, rules: IgnoreRules, *, digests: FileDigests) -> SourceTree:
    """What ships from the directory `root`, which may be a link itself.

    Links are judged by where they lead and kept raw; sockets and named pipes are left out with a warning.
    Raises SourceError (no such directory, a device, something that cannot be read), LinkEscapesError,
    IgnoreFileError (a nested .gitignore) and SourceChangedError.
    """
    top = _resolved(root)
    walk = _Walk(top, rules)
    walk.run()
    walk.found += list(walk.parents())
    walk.found.sort(key=lambda found: found.path)
    _judge_links(walk)
    # One file after the other: threads were measured and gave nothing, because most files are small and
    # what is done between their system calls is done by one thread at a time.
    entries = tuple(_entry(walk.root, found, digests) for found in walk.found)
    return SourceTree(os.fsdecode(top), entries, tuple(walk.warnings))


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
    links = [found for found in walk.found if found.kind == "link"]
    if not links:
        return
    shipped = {found.path: Known(found.kind, found.target) for found in walk.found}
    resolver = LinkResolver(walk.root, dict(shipped))
    for link in links:
        resolution = resolver.judge(link.path, link.target)
        words = f"the link {show(link.path)} to {show(link.target)}"
        if resolution.state == "loop":
            walk.warnings.append(f"{words} goes round in circles; it is shipped as it is")
        elif resolution.state == "missing":
            walk.warnings.append(f"{words} leads to nothing; it is shipped as it is")
        elif resolution.path and resolution.path not in shipped:
            walk.warnings.append(f"{words} leads to something that is not shipped; it will lead to nothing")


def _entry(root: bytes, found: _Found, digests: FileDigests) -> SourceEntry:
    path = decode(found.path)
    if found.status is None:
        return SourceEntry(path, found.kind, target=decode(found.target))
    digest, signature = digests.read(root + b"/" + found.path, found.status)
    executable = bool(signature[5] & _OWNER_EXECUTE)
    return SourceEntry(path, "file", executable, signature[0], digest, "", signature)

"""What was found in a source directory: values, their index by content, and the entries they become."""

from __future__ import annotations

import hashlib
import io
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import BinaryIO, Literal, NamedTuple

from hostbuild.model import USER_GID, USER_UID, Entry, EntryKind
from hostbuild.source.digests import FileDigests, open_regular
from hostbuild.source.index import size_and_mode
from hostbuild.source.names import decode, encode

#: Part of every index: trees that were described by other rules have other indexes.
SCHEMA = b"hostbuild.source/1"

FILE_MODE = 0o644
EXECUTABLE_MODE = 0o755
DIRECTORY_MODE = 0o755
LINK_MODE = 0o777

Change = Literal["changed", "added", "removed"]


#: A name that a walk met: its path, and `FILE` and its signature, `DIRECTORY`, or `LINK` and its target.
Found = tuple[bytes, bytes]
FILE, DIRECTORY, LINK = b"f", b"d", b"l"


class SourceEntry(NamedTuple):
    """One name that ships.

    `path` is relative to the tree's root, with `/`, bytes that are not UTF-8 surrogate-escaped.
    `executable` is a file's owner execute bit; other mode bits are not part of the source. `digest` is a
    file's SHA-256 in hex, `target` a link's raw text.
    """

    path: str
    kind: EntryKind
    executable: bool = False
    size: int = 0
    digest: str = ""
    target: str = ""

    @property
    def content(self) -> tuple[str, bool, str]:
        """What two entries of one path must have in common to be the same."""
        return (self.kind, self.executable, self.target if self.kind == "link" else self.digest)


class SourceTree:
    """The names that ship, sorted by `sort_key`, below the absolute, resolved directory `root`.

    `found` is what a walk met; what files hold is read, or known, when `entries` are first asked for.
    """

    def __init__(
        self, root: str, found: Sequence[Found], warnings: tuple[str, ...], digests: FileDigests
    ) -> None:
        self.root = root
        self.warnings = warnings
        self._below = os.fsencode(root).rstrip(b"/") + b"/"
        self._found = found
        self._digests = digests
        self._is_settled = True

    @cached_property
    def entries(self) -> tuple[SourceEntry, ...]:
        """All names. Raises SourceError and SourceChangedError for a file that cannot be read."""
        return tuple([self._entry(each) for each in self._found])

    def is_settled(self) -> bool:
        """Whether, as its entries were read, the same fingerprint means the same content from now on."""
        return "entries" in vars(self) and self._is_settled

    def is_empty(self) -> bool:
        """Whether there is no file and no link, empty directories aside."""
        return all(mark == DIRECTORY for _, mark in self._found)

    def fingerprint(self) -> str:
        """The SHA-256 (hex) of all names, kinds, and what tells that files are unchanged; nothing is read."""
        names = b"\0".join([path for path, _ in self._found])  # a zero byte cannot be in a path
        digest = hashlib.sha256(b"%d %d\n" % (len(self._found), len(names)))
        digest.update(names)
        # A file's mark has a fixed length, a directory's is one byte, and a link's ends here.
        digest.update(b"".join([mark + b"\0" if mark[:1] == LINK else mark for _, mark in self._found]))
        return digest.hexdigest()

    def digest_of(self, path: str) -> str:
        """The SHA-256 (hex) of this file, "" where there is none. Raises what `entries` raises."""
        name = encode(path)
        place = bisect_left(self._found, (name, b""))
        if place == len(self._found) or self._found[place][0] != name:
            return ""
        return self._entry(self._found[place]).digest

    def _entry(self, found: Found) -> SourceEntry:
        path, mark = found
        if mark == DIRECTORY:
            return SourceEntry(decode(path), "dir")
        if mark[:1] == LINK:
            return SourceEntry(decode(path), "link", target=decode(mark[1:]))
        signature = mark[1:]
        digest, now, settled = self._digests.read(self._below + path, signature)
        if not settled or now != signature:
            self._is_settled = False
        size, mode = size_and_mode(now)
        return SourceEntry(decode(path), "file", bool(mode & 0o100), size, digest)

    def digest(self) -> str:
        """The SHA-256 (hex) of all paths and contents: not of times, places, owners or locale."""
        parts = [SCHEMA]
        for entry in self.entries:
            path = encode(entry.path)
            value = encode(entry.target if entry.kind == "link" else entry.digest)
            flag = b"x" if entry.executable else b"-"
            # Lengths keep any name, also one that holds a newline, from looking like something else.
            parts.append(
                b"%b%b %d %b %d %b" % (entry.kind.encode(), flag, len(path), path, len(value), value)
            )
        return hashlib.sha256(b"\n".join(parts)).hexdigest()

    def contents(self) -> Mapping[str, str]:
        """What each path holds, as one short text, for keys of a build and the reason of the next one."""
        return {entry.path: _described(entry) for entry in self.entries}

    def compare(self, other: SourceTree) -> tuple[tuple[str, Change], ...]:
        """How `other`, a later scan, differs from this tree: paths and what happened to them, sorted."""
        before = {entry.path: entry.content for entry in self.entries}
        now = {entry.path: entry.content for entry in other.entries}
        changes: dict[str, Change] = {}
        for path, content in before.items():
            if path not in now:
                changes[path] = "removed"
            elif now[path] != content:
                changes[path] = "changed"
        for path in now:
            if path not in before:
                changes[path] = "added"
        return tuple(sorted(changes.items(), key=lambda change: encode(change[0])))


def shipped_entries(
    tree: SourceTree, prefix: str = "func", uid: int = USER_UID, gid: int = USER_GID
) -> Iterator[Entry]:
    """The entries of a layer that holds the tree at `prefix`, which comes first; "" is the image's root.

    Sorted by `sort_key`. Modes are 0644 or 0755, 0755 for directories, 0777 for links. Openers raise
    SourceError or SourceChangedError where the file cannot be opened as what it was.
    """
    root = os.fsencode(tree.root).rstrip(b"/") + b"/"
    if prefix:
        yield Entry(prefix, "dir", DIRECTORY_MODE, uid, gid, origin=tree.root)
    for entry in tree.entries:
        path = f"{prefix}/{entry.path}" if prefix else entry.path
        if entry.kind == "file":
            yield file_entry(path, root, entry, uid, gid, origin=entry.path)
        elif entry.kind == "link":
            yield Entry(path, "link", LINK_MODE, uid, gid, target=entry.target, origin=entry.path)
        else:
            yield Entry(path, "dir", DIRECTORY_MODE, uid, gid, origin=entry.path)


def file_entry(path: str, root: bytes, entry: SourceEntry, uid: int, gid: int, *, origin: str) -> Entry:
    """A layer's entry for the file that was found to be `entry`; its path begins with `root` as it is."""
    return Entry(
        path,
        "file",
        EXECUTABLE_MODE if entry.executable else FILE_MODE,
        uid,
        gid,
        size=entry.size,
        open=_Opener(root, entry.path),
        digest=entry.digest,
        origin=origin,
    )


class _Opener:
    """Opens one of many files; small, because there is one for each."""

    __slots__ = ("_path", "_root")

    def __init__(self, root: bytes, path: str) -> None:
        self._root = root
        self._path = path

    def __call__(self) -> BinaryIO:
        # Unbuffered: whoever reads it takes much at once.
        return io.FileIO(open_regular(self._root + encode(self._path)), "rb")


def _described(entry: SourceEntry) -> str:
    if entry.kind == "link":
        return f"link {entry.target}"
    if entry.kind == "dir":
        return "dir"
    return f"{entry.digest} x" if entry.executable else entry.digest

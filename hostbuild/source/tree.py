"""What was found in a source directory: values, their index by content, and the entries they become."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Literal, NamedTuple

from hostbuild.model import USER_GID, USER_UID, Entry, EntryKind
from hostbuild.source.digests import Signature, open_regular
from hostbuild.source.names import encode

#: Part of every index: trees that were described by other rules have other indexes.
SCHEMA = b"hostbuild.source/1"

FILE_MODE = 0o644
EXECUTABLE_MODE = 0o755
DIRECTORY_MODE = 0o755
LINK_MODE = 0o777

Change = Literal["changed", "added", "removed"]


class SourceEntry(NamedTuple):
    """One name that ships.

    `path` is relative to the tree's root, with `/`, bytes that are not UTF-8 surrogate-escaped.
    `executable` is a file's owner execute bit; other mode bits are not part of the source. `digest` is a
    file's SHA-256 in hex, `target` a link's raw text. `stat` is a file's metadata when it was read (see
    `Signature`), else empty; it is no part of the content.
    """

    path: str
    kind: EntryKind
    executable: bool = False
    size: int = 0
    digest: str = ""
    target: str = ""
    stat: Signature | tuple[()] = ()

    @property
    def content(self) -> tuple[str, bool, str]:
        """What two entries of one path must have in common to be the same."""
        return (self.kind, self.executable, self.target if self.kind == "link" else self.digest)


@dataclass(frozen=True)
class SourceTree:
    """The names that ship, sorted by `sort_key`, below the absolute, resolved directory `root`."""

    root: str
    entries: tuple[SourceEntry, ...]
    warnings: tuple[str, ...] = ()

    def is_empty(self) -> bool:
        """Whether there is no file and no link, empty directories aside."""
        return all(entry.kind == "dir" for entry in self.entries)

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
    root = os.fsencode(tree.root)
    if prefix:
        yield Entry(prefix, "dir", DIRECTORY_MODE, uid, gid, origin=tree.root)
    for entry in tree.entries:
        path = f"{prefix}/{entry.path}" if prefix else entry.path
        if entry.kind == "file":
            where = root.rstrip(b"/") + b"/" + encode(entry.path)
            yield file_entry(path, where, entry, uid, gid, origin=entry.path)
        elif entry.kind == "link":
            yield Entry(path, "link", LINK_MODE, uid, gid, target=entry.target, origin=entry.path)
        else:
            yield Entry(path, "dir", DIRECTORY_MODE, uid, gid, origin=entry.path)


def file_entry(path: str, where: bytes, entry: SourceEntry, uid: int, gid: int, *, origin: str) -> Entry:
    """A layer's entry for the file at `where`, which was found to be `entry`."""
    return Entry(
        path,
        "file",
        EXECUTABLE_MODE if entry.executable else FILE_MODE,
        uid,
        gid,
        size=entry.size,
        open=partial(_open, where),
        digest=entry.digest,
        origin=origin,
    )


def _open(where: bytes) -> BinaryIO:
    return io.FileIO(open_regular(where), "rb")  # unbuffered: whoever reads it takes much at once


def _described(entry: SourceEntry) -> str:
    if entry.kind == "link":
        return f"link {entry.target}"
    if entry.kind == "dir":
        return "dir"
    return f"{entry.digest} x" if entry.executable else entry.digest

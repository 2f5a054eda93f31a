"""The stat index: what files were when they were read, kept from run to run, so that they are not read again.

One block of bytes: a line that tells the version, the number of files, their paths, and a record of a fixed
size for each, sorted by path. It is a memory and never the truth: one that cannot be read is none. Paths
below the root are kept relative to it, so that a source that was moved as a whole is known where it is now.

It stays a block while it is used: what is asked for is found by halving, and no value is made for the rest.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

#: Size, mtime_ns, ctime_ns, inode, device, mode: what must stay for a file to be taken for unchanged.
Signature = bytes

_SIGNATURE = struct.Struct("<3q3Q")
_SIZE_AND_MODE = struct.Struct("<q32xQ")
_pack = _SIGNATURE.pack
_SIGNED = (1 << 63) - 1
#: Bytes of a record: SHA-256, then the signature.
DIGEST_SIZE = 32
_RECORD = DIGEST_SIZE + _SIGNATURE.size

_VERSION = b"hostbuild files 2\n"
_HEAD = struct.Struct("<QQ")


class Facts(NamedTuple):
    """What a signature tells of a file."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    mode: int


def signature_of(status: os.stat_result) -> Signature:
    """What must stay the same for a file to be taken for unchanged."""
    try:
        return _pack(
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
            status.st_dev,
            status.st_mode,
        )
    except struct.error:  # a time after the year 2262
        return _pack(
            status.st_size,
            status.st_mtime_ns & _SIGNED,
            status.st_ctime_ns & _SIGNED,
            status.st_ino & _SIGNED,
            status.st_dev & _SIGNED,
            status.st_mode,
        )


def facts_of(signature: Signature) -> Facts:
    """What the signature holds."""
    return Facts(*_SIGNATURE.unpack(signature))


def size_and_mode(signature: Signature) -> tuple[int, int]:
    """Two of what the signature holds: for each file of many."""
    size, mode = _SIZE_AND_MODE.unpack(signature)
    return size, mode


class StatIndex:
    """Records by absolute path; those below `root` are known wherever it lies.

    `names` are sorted, and relative where they do not begin with "/"; `records` has one for each.
    """

    def __init__(self, root: bytes, names: Sequence[bytes] = (), records: bytes = b"") -> None:
        self._below = root.rstrip(b"/") + b"/"
        self._names = names
        self._records = records
        self._next = 0
        self._asked = bytearray(len(names))

    def __len__(self) -> int:
        return len(self._names)

    def find(self, path: bytes) -> bytes:
        """The record of the file: its SHA-256 (`DIGEST_SIZE` bytes) and its signature; empty: none."""
        name = path.removeprefix(self._below)
        names = self._names
        place = self._next  # who asks for many asks in their order
        if place >= len(names) or names[place] != name:
            place = bisect_left(names, name)
            if place == len(names) or names[place] != name:
                return b""
        self._next = place + 1
        self._asked[place] = 1
        return self._records[place * _RECORD : (place + 1) * _RECORD]

    def asked(self) -> int:
        """How many of its files were asked for."""
        return self._asked.count(1)

    def merged(self, news: Mapping[bytes, bytes], *, drop: bool) -> StatIndex:
        """The index with other records for some absolute paths, an empty one for none at all.

        With `drop`, what nobody asked for is left out.
        """
        records = self._records
        found = {
            name: records[place * _RECORD : (place + 1) * _RECORD]
            for place, name in enumerate(self._names)
            if not drop or self._asked[place]
        }
        found.update((self._name(path), record) for path, record in news.items())
        names = sorted([name for name, record in found.items() if record])
        return StatIndex(self._below, names, b"".join([found[name] for name in names]))

    def encode(self) -> bytes:
        """The block that `decode_index` reads."""
        names = b"\0".join(self._names)  # a zero byte cannot be in a path
        return b"".join((_VERSION, _HEAD.pack(len(self._names), len(names)), names, self._records))

    def _name(self, path: bytes) -> bytes:
        return path.removeprefix(self._below)


def decode_index(data: bytes, root: bytes) -> StatIndex:
    """What was encoded, for the source that now lies at `root`; empty for any other bytes."""
    start = len(_VERSION) + _HEAD.size
    if not data.startswith(_VERSION) or len(data) < start:
        return StatIndex(root)
    count, length = _HEAD.unpack_from(data, len(_VERSION))
    if count == 0 or len(data) != start + length + count * _RECORD:
        return StatIndex(root)
    names = data[start : start + length].split(b"\0")
    if len(names) != count:
        return StatIndex(root)
    return StatIndex(root, names, data[start + length :])

"""SHA-256 of files, each read once for as long as it stays what it was.

A file is taken for unchanged when its size, times, inode and mode are. That can be told only if it was
last changed a good while before it was read: a file system's clock ticks in milliseconds, and a second
write within the tick leaves the same times (git calls such an entry racily clean).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat as modes
import time
from collections.abc import Mapping
from typing import NamedTuple

from hostbuild.errors import SourceChangedError, SourceError
from hostbuild.source.names import decode, encode, show

#: size, mtime_ns, ctime_ns, inode, device, mode
Signature = tuple[int, int, int, int, int, int]

#: Times so close to the reading do not tell that nothing was written since. The coarsest clock of the
#: usual file systems ticks every 10 ms.
RACY_NS = 20_000_000

#: How often a file that changes while it is read is read again.
ATTEMPTS = 4

_PIECE = 1 << 20

# What a path gives that is no longer the file that it was.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESTALE})


class FileContent(NamedTuple):
    """A file's SHA-256 in hex, and what its metadata was while it was read."""

    digest: str
    signature: Signature


class _Memory(NamedTuple):
    content: FileContent
    settled: bool


def signature_of(status: os.stat_result) -> Signature:
    """What must stay the same for a file to be taken for unchanged."""
    return (
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_dev,
        status.st_mode,
    )


class FileDigests:
    """Digests of files, remembered by path. May be used by several threads at once.

    `memo` is what `export` of an earlier one gave.
    """

    def __init__(self, memo: Mapping[str, tuple[str, Signature]] | None = None) -> None:
        self._memory: dict[bytes, _Memory] = {
            encode(path): _Memory(FileContent(digest, signature), settled=True)
            for path, (digest, signature) in (memo or {}).items()
        }

    def export(self) -> dict[str, tuple[str, Signature]]:
        """What can be trusted later: path to digest and signature, plain values that become JSON."""
        return {
            decode(path): (memory.content.digest, memory.content.signature)
            for path, memory in self._memory.items()
            if memory.settled
        }

    def of(self, path: str, stat: os.stat_result | None = None) -> str:
        """The SHA-256 (hex) of the file at `path`, a link followed.

        `stat` is its status where the caller has it already. Raises SourceError where it cannot be read
        or is no regular file, SourceChangedError where it changes all the time.
        """
        return self.read(os.fsencode(path), stat, follow=True).digest

    def read(self, path: bytes, stat: os.stat_result | None = None, *, follow: bool = False) -> FileContent:
        """As `of`, with the metadata that belongs to that content; a link is refused unless `follow`."""
        memory = self._memory.get(path)
        if memory is not None and memory.settled:
            if stat is None:
                try:
                    stat = os.stat(path, follow_symlinks=follow)
                except OSError as error:
                    raise unreadable(path, error, seen=not follow) from error
            if memory.content.signature == signature_of(stat):
                return memory.content
        memory = self._memory[path] = _read_settled(path, follow=follow)
        return memory.content


def open_regular(path: bytes, *, follow: bool = False) -> int:
    """A descriptor of the regular file at `path`, open for reading; the last name may not be a link.

    Raises SourceChangedError where it is no longer a file, SourceError where it cannot be read.
    """
    # O_NONBLOCK: a pipe that has taken the file's place must not hold the build.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        return os.open(path, flags)
    except OSError as error:
        raise unreadable(path, error, seen=not follow) from error


def unreadable(path: bytes, error: OSError, *, seen: bool = True) -> SourceError:
    """The error for a path that the system would not read, with what to do about it.

    What was `seen` and is gone has changed under the build.
    """
    why = error.strerror or str(error)
    if seen and error.errno in _GONE:
        return SourceChangedError(
            f"{show(path)} is not the file that it was a moment ago",
            why=why,
            fix="run the build again when nothing writes to the source",
        )
    return SourceError(
        f"{show(path)} cannot be read",
        why=why,
        fix="make it readable (chmod u+rX), or leave it out with a line in .funcignore",
    )


def _read_settled(path: bytes, *, follow: bool) -> _Memory:
    for _ in range(ATTEMPTS):
        begin = time.time_ns()
        descriptor = open_regular(path, follow=follow)
        try:
            before = os.fstat(descriptor)
            if not modes.S_ISREG(before.st_mode):
                raise SourceError(f"{show(path)} is not a regular file")
            digest, size = _digest(descriptor, before.st_size)
            after = os.fstat(descriptor)
        except OSError as error:
            raise unreadable(path, error) from error
        finally:
            os.close(descriptor)
        signature = signature_of(after)
        if size == after.st_size and signature == signature_of(before):
            settled = max(after.st_mtime_ns, after.st_ctime_ns) < begin - RACY_NS
            return _Memory(FileContent(digest, signature), settled)
    raise SourceChangedError(
        f"{show(path)} changes while it is being read",
        why=f"it was read {ATTEMPTS} times and was never the same before and after",
        fix="run the build again when nothing writes to it, or leave it out with a line in .funcignore",
    )


def _digest(descriptor: int, expected: int) -> tuple[str, int]:
    """The SHA-256 and the number of the bytes that are left to read."""
    if expected < _PIECE:
        # Nearly all files are small: one call reads them, and asks for one byte more than there should be.
        data = os.read(descriptor, expected + 1)
        if len(data) == expected:
            return hashlib.sha256(data).hexdigest(), expected
        hasher = hashlib.sha256(data)
        size = len(data)
    else:
        hasher = hashlib.sha256()
        size = 0
    while data := os.read(descriptor, _PIECE):
        hasher.update(data)
        size += len(data)
    return hasher.hexdigest(), size

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
from collections.abc import Callable
from typing import NamedTuple

from hostbuild.errors import SourceChangedError, SourceError, remedy
from hostbuild.source.index import DIGEST_SIZE, Signature, StatIndex, facts_of, signature_of
from hostbuild.source.names import show

#: Times so close to the reading do not tell that nothing was written since. The coarsest clock of the
#: usual file systems ticks every 10 ms.
RACY_NS = 20_000_000

#: The same for file systems that keep whole seconds (FAT: two of them), told by the times themselves.
COARSE_NS = 3_000_000_000
_SECOND = 1_000_000_000

#: How often a file that changes while it is read is read again.
ATTEMPTS = 4

_PIECE = 1 << 20
#: In place of a SHA-256: the file was met with that metadata.
_SEEN = bytes(DIGEST_SIZE)

# What a path gives that is no longer the file that it was.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESTALE})


class FileContent(NamedTuple):
    """A file's SHA-256 in hex, and what its metadata was while it was read.

    `settled`: as long as the metadata stays, so does the content.
    """

    digest: str
    signature: Signature
    settled: bool


class FileDigests:
    """Digests of files, remembered by path. May be used by several threads at once.

    `load` gives what `export` of an earlier one gave, when the first file is asked for. `has_news` tells
    whether a file was read that it did not know, and that can be remembered. Set `is_partial` where much
    that is still there is not asked for. `same_clock` tells of a path and its device whether this machine's
    clock gives the file's times. Where it does not, a clock that is behind would make a file look long at
    rest: it is trusted when it was read twice, by two runs that found the same metadata.
    """

    def __init__(
        self,
        load: Callable[[], StatIndex] | None = None,
        *,
        same_clock: Callable[[bytes, int], bool] | None = None,
    ) -> None:
        self._load = load
        self._same_clock = same_clock
        self._index: StatIndex | None = None
        self._news: dict[bytes, bytes] = {}
        self.has_news = False
        self.is_partial = False

    def export(self) -> StatIndex:
        """What can be trusted later.

        What this one was not asked for is kept too, for other builds of the same source, until there is twice
        as much of it: files that are gone must not stay for ever.
        """
        index = self._known()
        asked = index.asked()
        drop = not self.is_partial and len(index) > 3 * (asked + len(self._news)) + 1000
        return index.merged(self._news, drop=drop)

    def of(self, path: str, stat: os.stat_result | None = None) -> str:
        """The SHA-256 (hex) of the file at `path`, a link followed.

        `stat` is its status where the caller has it already. Raises SourceError where it cannot be read
        or is no regular file, SourceChangedError where it changes all the time.
        """
        signature = signature_of(stat) if stat is not None else None
        return self.read(os.fsencode(path), signature, follow=True).digest

    def read(self, path: bytes, signature: Signature | None = None, *, follow: bool = False) -> FileContent:
        """As `of`, with the metadata that belongs to that content; a link is refused unless `follow`.

        `signature` is what the caller has found it to be.
        """
        record = self._record(path)
        if record:
            if signature is None:
                try:
                    signature = signature_of(os.stat(path, follow_symlinks=follow))
                except OSError as error:
                    raise unreadable(path, error, seen=not follow) from error
            digest = record[:DIGEST_SIZE]
            if digest != _SEEN and record[DIGEST_SIZE:] == signature:
                return FileContent(digest.hex(), signature, True)
        content = _read_settled(path, follow=follow)
        if content.settled and not self._is_sure(path, content.signature):
            content = content._replace(settled=False)
            self._news[path] = _SEEN + content.signature
            self.has_news = True
        elif content.settled:
            self._news[path] = bytes.fromhex(content.digest) + content.signature
            self.has_news = True
        elif record:
            self._news[path] = b""
        return content

    def _is_sure(self, path: bytes, signature: Signature) -> bool:
        """Whether the times are this machine's, or an earlier run has found the same."""
        if self._same_clock is None or self._same_clock(path, facts_of(signature).device):
            return True
        return self._known().find(path)[DIGEST_SIZE:] == signature

    def _record(self, path: bytes) -> bytes:
        record = self._news.get(path) if self._news else None
        if record is not None:
            return record
        index = self._index
        return (index if index is not None else self._known()).find(path)

    def _known(self) -> StatIndex:
        if self._index is None:
            self._index = self._load() if self._load is not None else StatIndex(b"/")
        return self._index


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
        fix=remedy(error, "make it readable (chmod u+rX), or leave it out with a line in .funcignore"),
    )


def _read_settled(path: bytes, *, follow: bool) -> FileContent:
    """What the file holds."""
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
            settled = is_settled(after.st_mtime_ns, after.st_ctime_ns, begin)
            return FileContent(digest, signature, settled)
    raise SourceChangedError(
        f"{show(path)} changes while it is being read",
        why=f"it was read {ATTEMPTS} times and was never the same before and after",
        fix="run the build again when nothing writes to it, or leave it out with a line in .funcignore",
    )


def is_settled(mtime_ns: int, ctime_ns: int, begin: int) -> bool:
    """Whether what is written after `begin` shows in the times of a file; all in ns since the epoch."""
    racy = COARSE_NS if ctime_ns % _SECOND == 0 else RACY_NS
    return max(mtime_ns, ctime_ns) < begin - racy


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

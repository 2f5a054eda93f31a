"""Verifying: every blob of the cache is read and compared with its name; repair drops what is damaged.

Safe while builds run: what is dropped is dropped under the lock of prunes, and only if it is still the file
that was read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.crew import Crew
from hostbuild.oci.digest import Digest
from hostbuild.points import reach
from hostbuild.store.claims import remove_same
from hostbuild.store.failures import Explaining, explain_os_error
from hostbuild.store.inventory import BlobEntry, named_blobs, walk_blobs, walk_records
from hostbuild.store.trees import remove_tree

if TYPE_CHECKING:
    from hostbuild.store.cache import Cache

#: What says something of this process or machine and nothing of the blob: no reason to drop it.
_NOT_THE_BLOBS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})
#: Bytes that each thread holds.
_PIECE = 1 << 20


class Damage(NamedTuple):
    """One damaged thing: where, what is wrong, its bytes, further hard links (layouts with the same bytes),
    and whether it was dropped. `digest` is None for what is no blob at all.
    """

    path: str
    why: str
    size: int
    links: int
    dropped: bool
    digest: Digest | None


class VerifyReport(NamedTuple):
    """How many blobs and bytes were read, what is damaged, how many records name blobs that are absent, and
    how many that named a dropped one were dropped.
    """

    blobs: int
    size: int
    damaged: tuple[Damage, ...]
    absent: int
    records_dropped: int

    @property
    def is_good(self) -> bool:
        """Whether nothing damaged is in the cache now."""
        return all(each.dropped for each in self.damaged)


def verify(cache: Cache, *, threads: int = 1, repair: bool = False) -> VerifyReport:
    """Read all blobs on `threads`; with `repair` drop what is damaged, and the records that name it.

    Raises `StoreError`.
    """
    work = _Verify(cache, repair=repair)
    stop = threading.Event()
    Crew(threads, stop, lambda: None).run([lambda: work.run(stop)] * max(1, threads))
    dropped = {each.digest for each in work.damaged if each.dropped and each.digest}
    absent = records_dropped = 0
    for _, _, key in walk_records(cache.keys.directory):
        named = named_blobs(cache.keys.get(key, touch=False))
        if any(digest in dropped for digest, _ in named):
            cache.keys.discard(key)
            records_dropped += 1
        elif any(not os.path.lexists(cache.blobs.path(digest)) for digest, _ in named):
            absent += 1
    return VerifyReport(work.blobs, work.size, tuple(sorted(work.damaged)), absent, records_dropped)


class _Verify:
    """Threads that take blobs from one walk."""

    def __init__(self, cache: Cache, *, repair: bool) -> None:
        self._cache = cache
        self._repair = repair
        self._guard = threading.Lock()
        self.damaged: list[Damage] = []
        self.blobs = 0
        self.size = 0
        self._walk: Iterator[BlobEntry] = walk_blobs(cache.blobs.directory, self._stray)

    def run(self, stop: threading.Event) -> None:
        """Read blobs until there are no more. Raises `StoreError`."""
        buffer = memoryview(bytearray(_PIECE))
        while not stop.is_set():
            with self._guard:
                entry = next(self._walk, None)
            if entry is None:
                return
            self._check(Digest(entry[3], entry[4]), buffer, stop)

    def _check(self, digest: Digest, buffer: memoryview, stop: threading.Event) -> None:
        path = self._cache.blobs.path(digest)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return  # a prune was faster
        except OSError as error:
            self._unreadable(path, digest, error)
            return
        try:
            size, found = _read(descriptor, digest.algorithm, buffer, stop)
            if stop.is_set():
                return
            with self._guard:
                self.blobs += 1
                self.size += size
            if found != digest.hex:
                self._drop(descriptor, path, digest)
        except OSError as error:
            self._unreadable(path, digest, error)
        finally:
            os.close(descriptor)

    def _drop(self, descriptor: int, path: str, digest: Digest) -> None:
        found = os.fstat(descriptor)
        why = "its bytes are not what its name says" if found.st_size else "it is empty"
        dropped = False
        if self._repair:
            with Explaining("drop a damaged blob", os.path.dirname(path)):
                reach("repair-before-discard")
                dropped = remove_same(self._cache.claims.sweep_lock, path, descriptor)
            if not dropped:
                return  # a build or another repair was faster, and has put a good one there, or none
        self.damaged.append(Damage(path, why, found.st_size, found.st_nlink - 1, dropped, digest))

    def _unreadable(self, path: str, digest: Digest, error: OSError) -> None:
        if error.errno in _NOT_THE_BLOBS:
            raise explain_os_error(error, "read a blob", os.path.dirname(path)) from error
        self._odd(path, f"it cannot be read ({error.strerror})", digest)

    def _stray(self, path: str, why: str) -> None:
        self._odd(path, why, None)

    def _odd(self, path: str, why: str, digest: Digest | None) -> None:
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return
        if self._repair:
            with Explaining("drop what is damaged", os.path.dirname(path)):
                remove_tree(path)
        links = found.st_nlink - 1 if stat.S_ISREG(found.st_mode) else 0
        self.damaged.append(Damage(path, why, found.st_size, links, self._repair, digest))


def _read(descriptor: int, algorithm: str, buffer: memoryview, stop: threading.Event) -> tuple[int, str]:
    """The size and the digest (hex) of an open file's bytes, if `stop` does not end it. Raises `OSError`."""
    hasher = hashlib.new(algorithm)
    size = 0
    while not stop.is_set() and (count := os.readv(descriptor, [buffer])):
        hasher.update(buffer[:count])
        size += count
    return size, hasher.hexdigest()

"""Cuts the archive into pieces of a fixed size, hashes and compresses them, and writes them in order.

With one thread all is done in the caller's. With more, as many threads compress, one hashes the archive, and
the caller reads files, hashes what is compressed, and writes. A bounded number of pieces waits, so memory
does not grow with the layer.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from concurrent.futures import Future

Write = Callable[[bytes], object]
Compress = Callable[[bytes], bytes]


class Members:
    """The archive's bytes go in by `put`; compressed members come out at `write`, in the caller's thread.

    `archive` and `compressed` are the SHA-256 of both sides, `archive_size` and `compressed_size` their
    bytes; they are final after `finish`.
    """

    def __init__(self, write: Write, compress: Compress, member_size: int) -> None:
        self.archive = hashlib.sha256()
        self.compressed = hashlib.sha256()
        self.archive_size = 0
        self.compressed_size = 0
        self._write = write
        self._compress = compress
        self._member_size = member_size
        self._parts: list[bytes] = []
        self._fill = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to release here; threads in the subclass."""

    def room(self) -> int:
        """How many bytes complete the piece that is being filled; at least one."""
        return self._member_size - self._fill

    def put(self, data: bytes) -> None:
        """Takes the archive's next bytes."""
        fill = self._fill + len(data)
        if fill < self._member_size:
            self._parts.append(data)
            self._fill = fill
        else:
            self._cut(data)

    def finish(self) -> None:
        """Writes what is left; an archive is never empty, so there is at least one member."""
        if self._parts:
            self._flush()

    def _cut(self, data: bytes) -> None:
        start = 0
        while len(data) - start >= (room := self.room()):
            self._parts.append(data[start : start + room])
            start += room
            self._fill = self._member_size
            self._flush()
        if start < len(data):
            self._parts.append(data[start:])
            self._fill = len(data) - start

    def _flush(self) -> None:
        # Joining a single piece, as long files give them, does not copy it.
        piece = b"".join(self._parts)
        self._parts.clear()
        self._fill = 0
        self.archive_size += len(piece)
        self._take(piece)

    def _take(self, piece: bytes) -> None:
        self.archive.update(piece)
        self._give(self._compress(piece))

    def _give(self, member: bytes) -> None:
        self.compressed.update(member)
        self.compressed_size += len(member)
        self._write(member)


class ParallelMembers(Members):
    """The same bytes, by several threads. Use it as a context manager: it ends its threads."""

    def __init__(self, write: Write, compress: Compress, member_size: int, threads: int) -> None:
        super().__init__(write, compress, member_size)
        from concurrent.futures import ThreadPoolExecutor

        self._compressors = ThreadPoolExecutor(threads, "layer-compress")
        # One thread, so the pieces are hashed in their order. It frees the caller, which is the
        # bottleneck from about three processors on, and costs nothing on two.
        self._hasher = ThreadPoolExecutor(1, "layer-hash")
        self._waiting: deque[tuple[Future[bytes], Future[None]]] = deque()
        self._limit = threads + 2

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._compressors.shutdown(cancel_futures=True)
        self._hasher.shutdown(cancel_futures=True)

    def finish(self) -> None:
        """Writes what is left, and what the threads still have."""
        super().finish()
        while self._waiting:
            self._give_first()

    def _take(self, piece: bytes) -> None:
        self._waiting.append(
            (self._compressors.submit(self._compress, piece), self._hasher.submit(self.archive.update, piece))
        )
        if len(self._waiting) > self._limit:
            self._give_first()

    def _give_first(self) -> None:
        member, hashed = self._waiting.popleft()
        self._give(member.result())
        hashed.result()

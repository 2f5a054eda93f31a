"""Hashes and compresses the pieces of an archive, and writes what comes out in their order.

With one thread all is done in the caller's. With more, as many threads compress and compare the files with
their digests, one hashes the archive, and the caller reads files, hashes what is compressed, and writes. A
bounded number of pieces waits, so memory does not grow with the layer.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hostbuild.layer.pieces import Piece, Pieces

if TYPE_CHECKING:
    from concurrent.futures import Future

    from hostbuild.layer.compressors import Compress

Write = Callable[[bytes], object]


class Members(Pieces):
    """The archive's bytes go in; compressed members come out at `write`, in the caller's thread.

    With `compress` None they come out as they are. `archive` and `compressed` are the SHA-256 of both sides
    (`compressed` is None where nobody needs it), `archive_size` and `compressed_size` their bytes; they are
    final after `finish`.
    """

    def __init__(
        self, write: Write, compress: Compress | None, member_size: int, *, hashed: bool = True
    ) -> None:
        super().__init__(member_size)
        self.archive = hashlib.sha256()
        self.compressed = hashlib.sha256() if hashed and compress else None
        self.archive_size = 0
        self.compressed_size = 0
        self._write = write
        self._compress = compress

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to release here; threads in the subclass."""

    def take(self, piece: Piece) -> Piece | None:
        """Has the piece, which can be filled again."""
        self._hash(piece)
        self._give(self._member(piece))
        return piece

    def _hash(self, piece: Piece) -> None:
        self.archive_size += piece.size
        self.archive.update(piece.view[: piece.size])

    def _member(self, piece: Piece) -> bytes:
        piece.verify()
        whole = piece.view[: piece.size]
        return bytes(whole) if self._compress is None else self._compress(whole)

    def _give(self, member: bytes) -> None:
        if self.compressed is not None:
            self.compressed.update(member)
        self.compressed_size += len(member)
        self._write(member)


class ParallelMembers(Members):
    """The same bytes, by several threads. Use it as a context manager: it ends its threads."""

    def __init__(
        self,
        write: Write,
        compress: Compress | None,
        member_size: int,
        threads: int,
        *,
        hashed: bool = True,
    ) -> None:
        super().__init__(write, compress, member_size, hashed=hashed)
        from concurrent.futures import ThreadPoolExecutor

        self._compressors = ThreadPoolExecutor(threads, "layer-compress")
        # One thread, so the pieces are hashed in their order. It frees the caller, which is the
        # bottleneck from about three processors on, and costs nothing on two.
        self._hasher = ThreadPoolExecutor(1, "layer-hash")
        self._waiting: deque[tuple[Piece, Future[bytes], Future[None]]] = deque()
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

    def take(self, piece: Piece) -> Piece | None:
        """Has the piece; gives one back that was written."""
        hashed = self._hasher.submit(self._hash, piece)
        self._waiting.append((piece, self._compressors.submit(self._member, piece), hashed))
        return self._give_first() if len(self._waiting) > self._limit else None

    def _give_first(self) -> Piece:
        piece, member, hashed = self._waiting.popleft()
        self._give(member.result())
        hashed.result()
        return piece

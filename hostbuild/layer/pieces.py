"""Collects an archive's bytes in pieces of a fixed size, in buffers that are used again and again.

Files are read to where they lie in the archive: nothing is copied or joined, and memory does not grow.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

from hostbuild.errors import SourceChangedError
from hostbuild.model import Entry


class Piece:
    """A part of the archive: the first `size` bytes of `view`. `checks` are the files that lie in it whole,
    with begin and end, whose digests are still to be compared.

    The buffer is one byte longer than any piece: who reads a file asks for a byte more than there should be.
    """

    __slots__ = ("checks", "size", "view")

    def __init__(self, size: int) -> None:
        self.view = memoryview(bytearray(size + 1))
        self.size = 0
        self.checks: list[tuple[int, int, Entry]] = []

    def verify(self) -> None:
        """Raises SourceChangedError for a file whose SHA-256 is not what its entry says."""
        view = self.view
        for start, end, entry in self.checks:
            if hashlib.sha256(view[start:end]).hexdigest() != entry.digest:
                raise other_content(entry)


class Pieces(ABC):
    """Takes an archive's bytes in their order; each piece that is full goes to `take`, at the end the last.

    Either `put` copies bytes, or somebody reads them into `view` at `fill`, up to `room` bytes, and says so
    with `filled`.
    """

    def __init__(self, piece_size: int) -> None:
        self.piece_size = piece_size
        self._begin()

    @abstractmethod
    def take(self, piece: Piece) -> Piece | None:
        """Has the piece; gives one back that nobody uses any more, if there is one."""

    def _begin(self, free: Piece | None = None) -> None:
        self.piece = free or Piece(self.piece_size)
        self.piece.checks = []
        self.view = self.piece.view
        self.fill = 0

    @property
    def room(self) -> int:
        """How many bytes complete the piece that is being filled; at least one."""
        return self.piece_size - self.fill

    def put(self, data: bytes) -> None:
        """Takes the archive's next bytes."""
        fill = self.fill
        end = fill + len(data)
        if end < self.piece_size:
            self.view[fill:end] = data
            self.fill = end
            return
        rest = memoryview(data)
        while len(rest) >= (room := self.piece_size - self.fill):
            self.view[self.fill : self.piece_size] = rest[:room]
            rest = rest[room:]
            self.filled(room)
        self.view[: len(rest)] = rest
        self.fill = len(rest)

    def filled(self, count: int) -> None:
        """So many bytes were read to where `fill` was; at most `room`."""
        self.fill += count
        if self.fill == self.piece_size:
            self.flush()

    def flush(self) -> None:
        """Hands over what there is."""
        piece = self.piece
        piece.size = self.fill
        self._begin(self.take(piece))

    def finish(self) -> None:
        """Hands over what is left."""
        if self.fill:
            self.flush()


def other_content(entry: Entry) -> SourceChangedError:
    """The error for a file whose bytes are not those that the build began with."""
    return changed(entry, "its content is not what it was when the build began")


def changed(entry: Entry, why: str) -> SourceChangedError:
    """The error for a file that is not what its entry says."""
    return SourceChangedError(
        f"{entry.origin or entry.path!r} was changed while it was being built",
        why=why,
        fix="build again when nothing writes to it",
    )

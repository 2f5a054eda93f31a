"""What is sent: bodies that can be opened again, because a request may be tried or redirected again."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO, NamedTuple, Protocol, cast, runtime_checkable

from hostbuild.errors import CorruptBlobError

#: Bytes handed to the socket at a time. http.client's 8 KiB and urllib3's 16 KiB cost a system call each.
PIECE = 1024 * 1024


class Body(Protocol):
    """Bytes of a known size that can be read again from any offset."""

    @property
    def size(self) -> int:
        """How many bytes there are in all."""

    def open(self, offset: int) -> BinaryIO:
        """The bytes from `offset` on; the caller closes it. May raise whatever getting them may raise."""


class FileRange(NamedTuple):
    """Bytes of a plain file: its descriptor, and where they are."""

    descriptor: int
    offset: int
    size: int


@runtime_checkable
class FileStream(Protocol):
    """A stream whose bytes lie in a plain file as they are, so that the system can send them by itself."""

    def file_range(self) -> tuple[int, int, int] | None:
        """The file's descriptor, the offset of the next byte, and how many there are; None where they have
        to be read after all.
        """

    def skip(self, count: int) -> None:
        """As if `count` bytes had been read. Raises what reading them would have raised."""


def file_range(stream: BinaryIO | io.RawIOBase) -> FileRange | None:
    """Where the rest of `stream` lies, None where that cannot be told; asked before anything is read."""
    if isinstance(stream, FileStream):
        where = stream.file_range()
        return where and FileRange(*where)
    if isinstance(stream, io.BufferedReader):
        return file_range(stream.raw)
    if not isinstance(stream, io.FileIO):
        return None
    found = os.fstat(stream.fileno())
    if not stat.S_ISREG(found.st_mode):
        return None
    offset = stream.tell()
    return FileRange(stream.fileno(), offset, max(found.st_size - offset, 0))


def skip(stream: BinaryIO | io.RawIOBase, count: int) -> None:
    """Go on by `count` bytes in a stream that has a file range."""
    if isinstance(stream, FileStream):
        stream.skip(count)
    elif isinstance(stream, io.BufferedReader):
        skip(stream.raw, count)
    else:
        stream.seek(count, os.SEEK_CUR)


class FilePiece:
    """A piece that a connection may send from its file; `sent` is how much of it was sent so."""

    def __init__(self, where: FileRange) -> None:
        self.where = where
        self.sent = 0


class BytesBody:
    """A body in memory."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data = data

    def open(self, offset: int) -> BinaryIO:
        """The bytes from `offset` on."""
        return io.BytesIO(self._data[offset:] if offset else self._data)


class FileBody:
    """A file of `size` bytes: its path, or a function that opens it at an offset."""

    def __init__(self, source: str | os.PathLike[str] | Callable[[int], BinaryIO], size: int) -> None:
        self.size = size
        self._source = source

    def open(self, offset: int) -> BinaryIO:
        """The file's bytes from `offset` on. Raises OSError, or what the function raises."""
        if callable(self._source):
            return self._source(offset)
        stream = io.FileIO(self._source, "rb")
        if offset:
            stream.seek(offset)
        return cast("BinaryIO", stream)


class BodyFailedError(Exception):
    """A body could not be read: its own trouble (`cause`), not the network's."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Sending:
    """One pass over a body, in large pieces; what the pieces are made of is valid until the next one.

    Of a body that is a file's, `FilePiece`s are given first, until one was not sent: by TLS, at the end of a
    file that became shorter, where the system cannot. Whatever is wrong shows when the rest is read.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._pieces = self._read()
        #: Whether the body itself could not be read.
        self.failed = False

    def __iter__(self) -> Iterator[memoryview | FilePiece]:
        return self._pieces

    def close(self) -> None:
        """Close the body, wherever the reading stands."""
        self._pieces.close()

    def _read(self) -> Generator[memoryview | FilePiece, None, None]:
        left = self._body.size
        try:
            with self._body.open(0) as stream:
                while left:
                    # A file that grew has more than is due: reading it tells.
                    if (where := file_range(stream)) is None or not 0 < where.size <= left:
                        break
                    piece = FilePiece(where._replace(size=min(where.size, PIECE)))
                    yield piece
                    if not piece.sent:
                        break
                    left -= piece.sent
                    skip(stream, piece.sent)
                buffer = memoryview(bytearray(min(PIECE, left + 1)))
                while left:
                    # One byte more than is due is asked for, so that a body that grew is not cut silently.
                    count = _read_into(stream, buffer[: left + 1])
                    _check(count, left, self._body.size)
                    left -= count
                    yield buffer[:count]
        except Exception as error:
            self.failed = True
            raise BodyFailedError(error) from error


def _read_into(stream: BinaryIO, buffer: memoryview) -> int:
    if isinstance(stream, io.RawIOBase | io.BufferedIOBase):
        return stream.readinto(buffer) or 0
    data = stream.read(len(buffer))
    buffer[: len(data)] = data
    return len(data)


def _check(count: int, left: int, size: int) -> None:
    if 0 < count <= left:
        return
    found = "more" if count else str(size - left)
    raise CorruptBlobError(
        f"what was to be sent has {found} bytes instead of {size}",
        why="it was changed meanwhile, or the cache is damaged",
        fix="run the command again",
    )

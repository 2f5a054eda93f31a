"""What is sent: bodies that can be opened again, because a request may be tried or redirected again."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO, Protocol, cast

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
    """One pass over a body, in large pieces; what the pieces are made of is valid until the next one."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._pieces = self._read()
        #: Whether the body itself could not be read.
        self.failed = False

    def __iter__(self) -> Iterator[memoryview]:
        return self._pieces

    def close(self) -> None:
        """Close the body, wherever the reading stands."""
        self._pieces.close()

    def _read(self) -> Generator[memoryview, None, None]:
        buffer = memoryview(bytearray(min(PIECE, self._body.size + 1)))
        left = self._body.size
        try:
            with self._body.open(0) as stream:
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

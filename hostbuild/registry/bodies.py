"""A part of a blob as a request's body: bounded, exact in length, and its own faults told from the
network's.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

from hostbuild.errors import CorruptBlobError, StoreError
from hostbuild.http.bodies import FileRange, file_range, skip
from hostbuild.oci.descriptor import Descriptor
from hostbuild.points import reach

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: Gives a blob's bytes from an offset on.
Opener = Callable[[int], BinaryIO]


class PartBody:
    """`size` bytes of a blob from `start` on; opened anew whenever they are sent again
    (`hostbuild.http.Body`).
    """

    def __init__(self, descriptor: Descriptor, opener: Opener, start: int, size: int) -> None:
        self.size = size
        self._descriptor = descriptor
        self._opener = opener
        self._start = start

    def open(self, offset: int) -> BinaryIO:
        """The bytes of the part from `offset` on. An OSError becomes a StoreError."""
        try:
            stream = self._opener(self._start + offset)
        except OSError as error:
            raise _unreadable(self._descriptor, error) from error
        return cast("BinaryIO", _Part(self._descriptor, stream, self.size - offset))


class _Part(io.RawIOBase):
    """Exactly `size` bytes of a stream. One that ends early is an error here: a peer would wait for the
    rest.
    """

    def __init__(self, descriptor: Descriptor, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._stream = stream
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer, or what the part has left of it; 0 at the end."""
        view = memoryview(buffer).cast("B")[: self._left]
        if not len(view):
            return 0
        try:
            count = _read_into(self._stream, view)
        except OSError as error:
            raise _unreadable(self._descriptor, error) from error
        if not count:
            raise CorruptBlobError(
                f"blob {self._descriptor.digest} is not what was expected",
                why=f"it ends {self._left} bytes before the {self._descriptor.size} that it should have",
                fix="build again",
                digest=str(self._descriptor.digest),
            )
        self._gone(count)
        return count

    def file_range(self) -> FileRange | None:
        """Where it lies in a file (`hostbuild.http.bodies.FileStream`)."""
        where = file_range(self._stream)
        return where and where._replace(size=min(where.size, self._left))

    def skip(self, count: int) -> None:
        """Go on by what was sent from the file."""
        skip(self._stream, count)
        self._gone(count)

    def _gone(self, count: int) -> None:
        self._left -= count
        reach("upload-body-partly-sent")

    def close(self) -> None:
        """Close the blob's stream as well."""
        if not self.closed:
            self._stream.close()
        super().close()


def _read_into(stream: BinaryIO, view: memoryview) -> int:
    if isinstance(stream, io.RawIOBase | io.BufferedIOBase):
        return stream.readinto(view) or 0
    data = stream.read(len(view))
    view[: len(data)] = data
    return len(data)


def _unreadable(descriptor: Descriptor, error: OSError) -> StoreError:
    return StoreError(
        f"blob {descriptor.digest} cannot be read",
        why=error.strerror or str(error),
        fix="build again, or look after the disk that holds it",
    )

"""Parts of plain files as streams that several threads can read at once."""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from hostbuild.errors import LocalImageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def open_plain(path: str) -> int:
    """A descriptor of the plain file `path`, links followed. Raises LocalImageError for anything else."""
    try:
        # A pipe without a writer would make open(2) wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise unreadable(path, error) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    raise LocalImageError(
        f"{path!r} cannot be read",
        why="it is a directory"
        if stat.S_ISDIR(mode)
        else "it is not a plain file, which can be read in any order",
        fix="name a file" if stat.S_ISDIR(mode) else "save it to a file, and name that",
    )


def slice_stream(descriptor: int, start: int, end: int, path: str) -> BinaryIO:
    """The bytes from `start` to `end` of the file of `descriptor`, which the stream owns from now on.

    `path` is the file in errors. Reading raises LocalImageError where the disk refuses; a file that became
    shorter meanwhile ends early.
    """
    return io.BufferedReader(_Slice(descriptor, start, end, path))


def unreadable(path: str, error: OSError) -> LocalImageError:
    """The error for a file that the system does not let us read."""
    return LocalImageError(f"{path!r} cannot be read", why=error.strerror or str(error))


class _Slice(io.RawIOBase):
    """Reads by offset, so the descriptor needs no position of its own."""

    def __init__(self, descriptor: int, start: int, end: int, path: str) -> None:
        self._descriptor = descriptor
        self._position = start
        self._end = end
        self._path = path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        length = max(min(len(view), self._end - self._position), 0)
        try:
            data = os.pread(self._descriptor, length, self._position)
        except OSError as error:
            raise unreadable(self._path, error) from error
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def file_range(self) -> tuple[int, int, int]:
        """Where the rest lies, for who lets the system send it (`hostbuild.http.bodies.FileStream`)."""
        return self._descriptor, self._position, max(self._end - self._position, 0)

    def skip(self, count: int) -> None:
        """Go on by `count` bytes without reading them."""
        self._position += count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()

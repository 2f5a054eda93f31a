"""The bytes of a file on their way into a layer: exactly as many as its header says, and the right ones.

The header is written before the bytes are read, so a file that changes in between would make a corrupt
archive. Each way in which it can change is an error that names the file.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from typing import BinaryIO

from hostbuild.errors import SourceChangedError, SourceError
from hostbuild.model import Entry

#: Files below this size are read whole, by one call.
SMALL = 1 << 20

# What opening or reading a path gives when it is no longer the file that it was.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ESTALE, errno.ENXIO})


def copy_content(entry: Entry, put: Callable[[bytes], object], room: Callable[[], int]) -> None:
    """Hands a file's bytes to `put`, in constant memory; long files in pieces of up to `room()` bytes.

    Raises SourceChangedError where there are fewer or more than `entry.size` bytes, where their SHA-256
    is not `entry.digest`, or where the file vanished; SourceError where it cannot be read.
    """
    size = entry.size
    if entry.open is None:
        if size:
            raise ValueError(f"{entry.path!r} has {size} bytes and no way to read them")
        return
    try:
        stream = entry.open()
    except OSError as error:
        raise _unreadable(entry, error) from error
    try:
        # One byte more is asked for than there should be, so that a file that grew shows without another
        # call. Nearly all files are small and end here.
        data = _read(entry, stream, size + 1 if size < SMALL else room())
        if size >= SMALL or len(data) != size:
            _copy_long(entry, stream, data, put, room)
            return
    finally:
        stream.close()
    if entry.digest and hashlib.sha256(data).hexdigest() != entry.digest:
        raise _other_content(entry)
    put(data)


def _copy_long(
    entry: Entry, stream: BinaryIO, data: bytes, put: Callable[[bytes], object], room: Callable[[], int]
) -> None:
    """Goes on after the first piece: for long files, short reads, and files that changed."""
    left = entry.size
    hasher = hashlib.sha256() if entry.digest else None
    while data:
        left -= len(data)
        if left < 0:
            raise _changed(entry, f"it has more than the {entry.size} bytes that it had when the build began")
        if hasher is not None:
            hasher.update(data)
        put(data)
        data = _read(entry, stream, min(left + 1, room()))
    if left:
        raise _changed(entry, f"it has {entry.size - left} bytes and had {entry.size} when the build began")
    if hasher is not None and hasher.hexdigest() != entry.digest:
        raise _other_content(entry)


def _read(entry: Entry, stream: BinaryIO, size: int) -> bytes:
    try:
        return stream.read(size)
    except OSError as error:
        raise _unreadable(entry, error) from error


def _unreadable(entry: Entry, error: OSError) -> SourceError:
    if error.errno in _GONE:
        return _changed(entry, f"it is no longer there as a file ({error.strerror})")
    return SourceError(
        f"{entry.origin or entry.path!r} cannot be read",
        why=error.strerror or str(error),
        fix="make it readable, or leave it out with the ignore file",
    )


def _other_content(entry: Entry) -> SourceChangedError:
    return _changed(entry, "its content is not what it was when the build began")


def _changed(entry: Entry, why: str) -> SourceChangedError:
    return SourceChangedError(
        f"{entry.origin or entry.path!r} was changed while it was being built",
        why=why,
        fix="build again when nothing writes to it",
    )

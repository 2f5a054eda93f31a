"""The bytes of a file on their way into a layer: exactly as many as its header says, and the right ones.

The header is written before the bytes are read, so a file that changes in between would make a corrupt
archive. Each way in which it can change is an error that names the file.
"""

from __future__ import annotations

import errno
import hashlib
import io
from typing import BinaryIO

from hostbuild.errors import SourceError, remedy
from hostbuild.layer.pieces import Pieces, changed, other_content
from hostbuild.model import Entry

# What opening or reading a path gives when it is no longer the file that it was.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ESTALE, errno.ENXIO})


def copy_content(entry: Entry, pieces: Pieces) -> None:
    """Puts a file's bytes into the archive, in constant memory.

    A file that lies in one piece is compared with its digest later, by `Piece.verify`. Raises
    SourceChangedError where there are fewer or more than `entry.size` bytes, where their SHA-256 is not
    `entry.digest`, or where the file vanished; SourceError where it cannot be read.
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
        if size <= pieces.room:
            start = pieces.fill
            count = _read(entry, stream, pieces.view[start : start + size + 1])
            if count == size:
                if entry.digest:
                    pieces.piece.checks.append((start, start + size, entry))
                pieces.filled(size)
                return
        else:
            count = _read(entry, stream, pieces.view[pieces.fill : pieces.piece_size])
        _copy_long(entry, stream, count, pieces)
    finally:
        stream.close()


def _copy_long(entry: Entry, stream: BinaryIO, count: int, pieces: Pieces) -> None:
    """Goes on after the first `count` bytes: for long files, short reads, and files that changed."""
    left = entry.size
    hasher = hashlib.sha256() if entry.digest else None
    while count:
        left -= count
        if left < 0:
            raise changed(entry, f"it has more than the {entry.size} bytes that it had when the build began")
        if hasher is not None:
            hasher.update(pieces.view[pieces.fill : pieces.fill + count])
        pieces.filled(count)
        count = _read(entry, stream, pieces.view[pieces.fill :][: min(left + 1, pieces.room)])
    if left:
        raise changed(entry, f"it has {entry.size - left} bytes and had {entry.size} when the build began")
    if hasher is not None and hasher.hexdigest() != entry.digest:
        raise other_content(entry)


def _read(entry: Entry, stream: BinaryIO, view: memoryview) -> int:
    """Reads into the view; how many bytes, 0 at the end."""
    try:
        if type(stream) is io.FileIO:
            return stream.readinto(view) or 0
        data = stream.read(len(view))
    except OSError as error:
        raise _unreadable(entry, error) from error
    view[: len(data)] = data
    return len(data)


def _unreadable(entry: Entry, error: OSError) -> SourceError:
    if error.errno in _GONE:
        return changed(entry, f"it is no longer there as a file ({error.strerror})")
    return SourceError(
        f"{entry.origin or entry.path!r} cannot be read",
        why=error.strerror or str(error),
        fix=remedy(error, "make it readable, or leave it out with the ignore file"),
    )

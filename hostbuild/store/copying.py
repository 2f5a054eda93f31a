"""Copies and hard links of blobs, with a way round where a file system cannot do the better thing."""

from __future__ import annotations

import errno
import fcntl
import os
import sys

_PIECE = 1 << 20
#: ioctl_ficlone(2), the same number on every architecture that Linux has but mips, powerpc and sparc,
#: where it fails with ENOTTY and a copy is made.
_FICLONE = 0x40049409
#: Why link(2) cannot do what a copy can: other disk, too many links, no links there, links of other
#: users' files forbidden (fs.protected_hardlinks).
_NO_LINK = frozenset(
    {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
)


def copy_file(source: str, destination: str, *, mode: int = 0o644) -> int:
    """Copy a plain file to the new name `destination`, as a reflink where that can be done, and sync it.

    The umask applies to `mode`. Returns the bytes of the copy. A failed copy leaves no file. Raises
    `OSError`; also when `source` is a link or `destination` exists.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writer = os.open(destination, flags, mode)
        try:
            if not _reflink(reader, writer):
                _copy_bytes(reader, writer)
            os.fsync(writer)
            return os.fstat(writer).st_size
        except BaseException:
            os.unlink(destination)
            raise
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def link_or_copy(source: str, destination: str, *, mode: int) -> int:
    """Hard link `source` to the new name `destination`, or copy it with `mode`; its size in bytes.

    Raises `OSError` as `copy_file` does.
    """
    try:
        os.link(source, destination, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return copy_file(source, destination, mode=mode)
    return os.lstat(destination).st_size


def _reflink(reader: int, writer: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(writer, _FICLONE, reader)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
            raise
        return False  # another disk, or a file system that has no reflinks
    return True


def _copy_bytes(reader: int, writer: int) -> None:
    while piece := os.read(reader, _PIECE):
        view = memoryview(piece)
        while view:
            view = view[os.write(writer, view) :]

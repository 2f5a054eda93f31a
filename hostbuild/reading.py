"""Files that somebody names and that are read whole: bounded in size and in time, whatever they are.

A pipe is read as well, because a shell gives one for `<(…)`; but only one that has, or had, a writer: opening
another one in the usual way would wait for ever.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time

#: Bytes that may come through what is no plain file, and the seconds until they must all be here.
PIPE_LIMIT = 1024 * 1024
PIPE_SECONDS = 30.0

_PIECE = 64 * 1024
#: What came through a pipe, by device and inode: it can be read once, and more than one part may ask for it.
_came: dict[tuple[int, int], bytes] = {}
_lock = threading.Lock()


def read_named(path: str, limit: int, *, seconds: float = PIPE_SECONDS) -> tuple[bytes, int]:
    """The bytes of the file at `path`, `limit` and one more at most, and its mode (st_mode).

    Raises OSError where it cannot be read, and for a pipe that nobody writes to, that gives more than
    `PIPE_LIMIT` bytes, or that has not ended after `seconds`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            return _read_plain(descriptor, limit), status.st_mode
        with _lock:
            data = _read_piped(descriptor, min(limit, PIPE_LIMIT), seconds, path)
            if stat.S_ISFIFO(status.st_mode):
                place = (status.st_dev, status.st_ino)
                data = data or _came.get(place, b"")
                if not data:
                    raise OSError(errno.EPIPE, "it is a pipe, and nothing is written to it", path)
                _came[place] = data
            return data, status.st_mode
    finally:
        os.close(descriptor)


def _read_plain(descriptor: int, limit: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as stream:
        return stream.read(limit + 1)


def _read_piped(descriptor: int, limit: int, seconds: float, path: str) -> bytes:
    import select

    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    end = time.monotonic() + seconds
    data = bytearray()
    while True:
        try:
            piece = os.read(descriptor, _PIECE)
        except BlockingIOError:
            poller.poll(max(end - time.monotonic(), 0) * 1000)
        else:
            if not piece:
                return bytes(data)
            data += piece
        if len(data) > limit:
            raise OSError(errno.EFBIG, f"it is no plain file, and gives more than {limit} bytes", path)
        if time.monotonic() >= end:
            raise OSError(errno.ETIMEDOUT, f"it is no plain file, and did not end within {seconds:g} s", path)

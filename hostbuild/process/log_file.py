"""The file of the log, and how it rotates: whole lines and no lost ones, also where writers are killed.

`concurrent_log_handler` locks and writes. What it leaves to chance is done here, always under its lock:

- A kill in the middle of a write leaves a part of a line. The next writer takes it away.
- The handler rotates by way of a temporary name, which a kill leaves, with all the lines in it. Here the
  older files move up first, the oldest over the one before it, and the log itself last: each state between
  two renames holds every line under a name of the log, and the next rotation goes on from there.
- The handler makes files by way of temporary names, too. Here they are made with their mode at once; a
  symbolic link or another thing in their place is refused, for a source that was checked out can hold one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent_log_handler import ConcurrentRotatingFileHandler

#: The log is the user's own: it tells what is built.
_MODE = 0o600
#: No line that is written is longer.
_TAIL = 1 << 20


def open_log_file(
    path: str, *, max_bytes: int, backups: int, on_failure: Callable[[], None]
) -> ConcurrentRotatingFileHandler:
    """A handler that appends to `path`, which is rotated at `max_bytes` bytes; `backups` older ones are kept.

    `on_failure` is called while an error that kept a record from being written is handled. Raises OSError.
    """
    from concurrent_log_handler import ConcurrentRotatingFileHandler

    def roll_over(handler: ConcurrentRotatingFileHandler) -> None:
        if handler.stream is not None:
            handler.stream.close()
            handler.stream = None
        rotate(path, backups)
        make_file(path)

    def write(handler: ConcurrentRotatingFileHandler, message: str) -> None:
        drop_torn_end(path)
        ConcurrentRotatingFileHandler.do_write(handler, message)

    changed = {
        "doRollover": roll_over,
        "do_write": write,
        "handleError": lambda _handler, _record: on_failure(),  # the handler's own way is to print errors
    }
    kind = type("LogFile", (ConcurrentRotatingFileHandler,), changed)
    handler: ConcurrentRotatingFileHandler = kind(
        path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8"
    )
    make_file(path)
    make_file(handler.lockFilename)
    return handler


def make_file(path: str) -> None:
    """Make `path` if it is not there, the user's own. Raises OSError, also where it is no plain file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, _MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link", path) from error
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file", path)
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != _MODE:
            os.fchmod(descriptor, _MODE)  # an older one, or one that the umask took away from its owner
    finally:
        os.close(descriptor)


def drop_torn_end(path: str) -> None:
    """Cut off what follows the last whole line of `path`. Only under the lock. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            start = max(0, size - _TAIL)
            os.ftruncate(descriptor, start + os.pread(descriptor, _TAIL, start).rfind(b"\n") + 1)
    finally:
        os.close(descriptor)


def rotate(path: str, backups: int) -> None:
    """`path` becomes `path.1`, that `path.2`, and so on; one beyond `backups` goes. Raises OSError.

    Only up to the first number that is free: after a rotation that was killed there is one, and then nothing
    has to go.
    """
    free = next((number for number in range(1, backups) if not os.path.lexists(f"{path}.{number}")), backups)
    for number in range(free, 0, -1):
        source = f"{path}.{number - 1}" if number > 1 else path
        if os.path.lexists(source):
            os.replace(source, f"{path}.{number}")

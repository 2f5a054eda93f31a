"""Paths that mean an open descriptor of this process: /dev/fd/N, /dev/stdout, what a shell gives for `>(…)`.

What such a path leads to is not to be replaced, and may have no name at all: it is written to as it is, at
the position where it stands.
"""

from __future__ import annotations

import os

#: More links in a row are a circle (Linux gives up after as many).
_MAX_LINKS = 40


def descriptor_of(path: str) -> int | None:
    """The number of the descriptor that the path names, directly or by links; None for any other path."""
    for _ in range(_MAX_LINKS):
        head, tail = os.path.split(path)
        if tail.isascii() and tail.isdecimal() and os.path.realpath(head) in _directories():
            return int(tail)
        try:
            target = os.readlink(path)
        except (OSError, ValueError):  # no link, not there, or no path at all
            return None
        path = os.path.join(head, target)
    return None


def _directories() -> tuple[str, str]:
    return os.path.realpath("/dev/fd"), f"/proc/{os.getpid()}/fd"


def why_not_writable(number: int) -> str:
    """Why nothing can be written to the descriptor; "" where it can."""
    import fcntl

    try:
        flags = fcntl.fcntl(number, fcntl.F_GETFL)
    except (OSError, OverflowError):
        return f"the descriptor {number} is not open"
    return f"the descriptor {number} is open for reading only" if flags & os.O_ACCMODE == os.O_RDONLY else ""


def write_all(number: int, data: bytes) -> None:
    """Write all of it at the descriptor's position. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(number, view) :]

"""One large body in order, from its first byte to its last, however often the connection breaks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from random import random as _random

from hostbuild.errors import ProtocolError, TransferBrokenError
from hostbuild.http.response import Response
from hostbuild.http.retries import Budget
from hostbuild.model import Access, Event, EventCallback, ignore_event

#: Bytes asked of the connection at a time.
PIECE = 1024 * 1024
#: Progress that makes up for a break: a server that gives a byte a connection is not followed for ever.
PROGRESS = 64 * 1024

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


def download(
    open_at: Callable[[int], Response],
    write: Callable[[bytes | memoryview], object],
    *,
    size: int,
    what: str,
    access: Access,
    on_event: EventCallback = ignore_event,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] | None = None,
    random: Callable[[], float] = _random,
) -> None:
    """Write exactly `size` bytes, in order; `write` never gets one too much. The digest is the caller's to
    check. What `write` gets is valid until it returns.

    `open_at(offset)` makes the request, with `Range: bytes=OFFSET-` where the offset is not 0, and raises
    for what it knows to be final (401, 404). After a break the rest is asked for, at once as long as much
    came (`is_progress`), else with growing waits until `access.retry_time` is over. A server that gives
    another range, the whole, or 416 is read from the start, and what was written already is passed over.
    `what` says in messages what is fetched. `sleep` None waits so that closing the transport ends the wait.

    Raises ProtocolError (wrong length, a status that is no answer to this), TransferBrokenError (breaks
    until the time was over), and what `open_at` and `write` raise.
    """
    fetch = _Fetch(open_at, write, size, what)
    budget = Budget(access.retry_time, clock, random)
    marked = 0
    while fetch.done < size:
        response = fetch.open()
        with response:
            broken = fetch.take(response)
        if broken is None:
            continue
        if is_progress(fetch.done - marked, size - marked):
            marked = fetch.done
            budget.renew()
            wait: float | None = 0.0
        else:
            wait = budget.next_wait()
        if wait is None:
            raise TransferBrokenError(
                f"{what} failed: the connection broke again and again",
                why=f"{broken.why}; {fetch.done} of {size} bytes came; tried {budget.failures} times",
                fix="try again later",
            )
        on_event(
            Event(
                "waiting",
                f"{what}: {broken.why}; going on from {fetch.done} of {size} bytes in {wait:.1f} s",
                data={"for": what, "reason": broken.why, "seconds": round(wait, 3), "tries": budget.failures},
            )
        )
        if wait:
            (sleep or response.pause)(wait)


def is_progress(gain: int, missing: int) -> bool:
    """Whether `gain` bytes, where `missing` were missing, make up for a break: 64 KiB, or a good part of
    the rest, whose last pieces are small.
    """
    return gain >= PROGRESS or 0 < missing <= 4 * gain


class _Fetch:
    """How far one download is, and what is known of the server."""

    def __init__(
        self,
        open_at: Callable[[int], Response],
        write: Callable[[bytes | memoryview], object],
        size: int,
        what: str,
    ) -> None:
        self.done = 0
        self._buffer = memoryview(bytearray(min(PIECE, size)))
        self._open_at = open_at
        self._write = write
        self._size = size
        self._what = what
        self._ranges = True

    def open(self) -> Response:
        """An answer for what is missing, or for the whole where the server does not do ranges."""
        if self.done and self._ranges:
            response = self._open_at(self.done)
            if self._start(response) is not None:
                return response
            response.close()
            self._ranges = False
        return self._open_at(0)

    def take(self, response: Response) -> TransferBrokenError | None:
        """Write what is new in the answer; the break, if it ended in one."""
        start = self._start(response)
        if start is None:
            raise self._error(f"the server answers {response.status} to a request for the whole")
        length = response.size
        if length is not None and start + length != self._size:
            raise self._error(f"the server has {start + length} bytes, expected are {self._size}")
        before, position = self.done, start
        try:
            for piece in response.pieces_in(self._buffer):
                position = self._add(piece, position)
        except TransferBrokenError as error:
            return error
        if position == self._size:
            return None
        if self.done == before:
            raise self._error(f"it ended after {position} bytes, expected are {self._size}")
        return TransferBrokenError(self._what, why=f"the answer ended after {position} bytes")

    def _add(self, piece: bytes | memoryview, position: int) -> int:
        end = position + len(piece)
        if end > self._size:
            raise self._error(f"the server sends more than the {self._size} bytes that are expected")
        if end > self.done:
            self._write(piece[self.done - position :] if position < self.done else piece)
            self.done = end
        return end

    def _start(self, response: Response) -> int | None:
        """The offset of the answer's first byte; None where the answer is of no use here."""
        if response.status == 200:
            return 0
        found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if response.status != 206 or not found:
            return None
        if found[3] != "*" and int(found[3]) != self._size:
            raise self._error(f"the server has {found[3]} bytes, expected are {self._size}")
        start, end = int(found[1]), int(found[2])
        return start if start <= self.done <= end else None

    def _error(self, why: str) -> ProtocolError:
        return ProtocolError(f"{self._what} failed", why=why)

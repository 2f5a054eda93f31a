"""How long a thing that failed is tried again: so many failures, and so much waiting, without progress
between.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple

from hostbuild.errors import HostbuildError
from hostbuild.http.retries import LONGEST_TOLD, retry_after
from hostbuild.model import Event, EventCallback, ignore_event

#: Seconds: the upper bound of the first pause, and that of all later ones.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
#: Failures in a row, without any progress, that end it whatever time is left.
MAX_FAILURES = 8


class Pacing(NamedTuple):
    """What waiting needs. `retry_time` is the seconds that may be waited without progress."""

    retry_time: float = 120.0
    on_event: EventCallback = ignore_event
    sleep: Callable[[float], object] = time.sleep
    random: Callable[[], float] = random.random


class Patience:
    """Counts the failures of one undertaking since its last progress; `what` names it in events."""

    def __init__(self, pacing: Pacing, what: str) -> None:
        self._pacing = pacing
        self._what = what
        self._failures = 0
        self._waited = 0.0

    def progressed(self) -> None:
        """Something was gained: the count begins anew."""
        self._failures = 0
        self._waited = 0.0

    def spend(self, error: HostbuildError, *, pause: bool = True, asked: str = "", date: str = "") -> None:
        """Take `error` as one failure, and wait before the next attempt. Raises it when that was the last.

        The pause is random up to a bound that doubles ("full jitter"), or what the answer's `Retry-After`
        (`asked`, with its `Date`) says.
        """
        self._failures += 1
        told = retry_after(asked, date, longest=LONGEST_TOLD)
        if self._failures >= MAX_FAILURES:
            raise _telling(error, told)
        if not pause:
            return
        seconds = retry_after(asked, date)
        if seconds is None:
            bound = min(FIRST_PAUSE * 2.0 ** (self._failures - 1), LONGEST_PAUSE)
            seconds = bound * self._pacing.random()
        if self._waited + seconds > self._pacing.retry_time:
            raise _telling(error, told)
        self._waited += seconds
        self._pacing.on_event(
            Event(
                "waiting",
                f"{self._what}: {error.why or error.what}; trying again in {seconds:.1f} s",
                data={"seconds": round(seconds, 1)},
            )
        )
        self._pacing.sleep(seconds)


def _telling(error: HostbuildError, told: float | None) -> HostbuildError:
    """The error, with how long the server asks to wait."""
    if told:
        asks = f"it asks to wait for {told:.0f} s"
        error.why = f"{error.why}; {asks}" if error.why else asks
    return error

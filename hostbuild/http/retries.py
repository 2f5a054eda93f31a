"""When a request is made again, and how long is waited before.

Waits have full jitter and double, so that many clients of a server that was down do not come back in one
moment. A server's `Retry-After` (RFC 9110, 10.2.3) is obeyed up to a minute.
"""

from __future__ import annotations

from collections.abc import Callable

#: Statuses that may pass: the server is busy or was asked at a bad moment.
RETRYABLE = frozenset({408, 429, 499, 500, 502, 503, 504, 522})

#: The longest wait that a server may ask for, in seconds.
LONGEST_WAIT = 60.0
#: The longest one that is told of.
LONGEST_TOLD = 1e9

#: A name that does not resolve, or a port where nobody listens, is more often a typing error than a
#: passing fault: so many tries, within so many seconds.
BRIEF_TRIES = 3
BRIEF_SECONDS = 5.0

_FIRST_WAIT = 1.0
_LONGEST_JITTER = 20.0


class Budget:
    """How often and how long one request is tried again; the time runs from its first failure.

    So a long upload that breaks is always tried again, and a server that never answers is given up after
    `seconds`, plus what the attempt under way takes.
    """

    def __init__(self, seconds: float, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self.failures = 0
        self._seconds = seconds
        self._clock = clock
        self._random = random
        self._since = 0.0

    def next_wait(self, *, asked: float | None = None, brief: bool = False) -> float | None:
        """Seconds to wait after one more failure; None when it was the last.

        `asked` is what the server asks to wait for; `brief` that the fault is likely a typing error.
        """
        now = self._clock()
        self.failures += 1
        if self.failures == 1:
            self._since = now
        if brief and self.failures >= BRIEF_TRIES:
            return None
        left = (min(self._seconds, BRIEF_SECONDS) if brief else self._seconds) - (now - self._since)
        if left <= 0:
            return None
        doubled = _FIRST_WAIT * 2.0 ** min(self.failures - 1, 10)
        wait = min(self._random() * min(doubled, _LONGEST_JITTER), left)
        if asked is None:
            return wait
        asked = min(asked, LONGEST_WAIT)
        return max(wait, asked) if asked <= left else None

    def renew(self) -> None:
        """There was progress: the next failure is the first one again."""
        self.failures = 0


def retry_after(value: str, date: str = "", *, longest: float = LONGEST_WAIT) -> float | None:
    """The seconds that a `Retry-After` header asks for; None where it asks for nothing that makes sense.

    `value` is a number of seconds or an HTTP date; `date` is the answer's `Date` header: a date is judged by
    the server's own clock, where it tells the time, because ours may be wrong. More than `longest` is that.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:12]), longest) if len(value) <= 12 else longest
    then = _seconds_of(value)
    if then is None:
        return None
    now = _seconds_of(date)
    if now is None:
        import time

        now = time.time()
    return min(then - now, longest) if then > now else None


def _seconds_of(date: str) -> float | None:
    if not date:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None

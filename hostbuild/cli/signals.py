"""SIGINT, SIGTERM and SIGHUP become one exception, so that every `finally` on the way out runs."""

from __future__ import annotations

import signal
from types import FrameType


class InterruptedBySignal(BaseException):
    """Raised in the main thread by a signal; not an Exception, so that nothing takes it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """The signal's name, as SIGINT."""
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + self.number


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def install() -> None:
    """Handle the three signals from now on; those that were ignored (nohup) stay ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)


def _raise(number: int, _frame: FrameType | None) -> None:
    for other in _SIGNALS:  # a second Ctrl-C must not interrupt the cleaning up
        signal.signal(other, signal.SIG_IGN)
    raise InterruptedBySignal(number)

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


#: Seconds until a signal that came during an import is looked at again.
_MOMENT = 0.01

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def install() -> None:
    """Handle the three signals from now on; those that were ignored (nohup) stay ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    """Raise in the main thread, but not in the middle of an import.

    An exception inside the import machinery can leave a module's lock taken for ever, and whoever imports
    that module then hangs. So the signal is looked at again when a moment has passed.
    """
    if _importing(frame):
        signal.signal(signal.SIGALRM, lambda _, later: _raise(number, later))
        signal.setitimer(signal.ITIMER_REAL, _MOMENT)
        return
    for other in _SIGNALS:  # a second Ctrl-C must not interrupt the cleaning up
        signal.signal(other, signal.SIG_IGN)
    raise InterruptedBySignal(number)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False

"""SIGINT, SIGTERM and SIGHUP become one exception, so that every `finally` on the way out runs."""

from __future__ import annotations

import signal
import sys
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
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unraisable


def end() -> None:
    """The command is over, whatever comes now: in the last moments a signal would leave a traceback, or the
    timer go off when the interpreter has given up its handlers. Raises InterruptedBySignal for one that came
    before.
    """
    signal.setitimer(signal.ITIMER_REAL, 0)
    _stop_handling()


def _stop_handling() -> None:
    """By a handler that does nothing. Ignored ones would be inherited, and Python complains of one that came
    before it was ignored and is looked at after.
    """
    for number in (*_SIGNALS, signal.SIGALRM):
        if callable(signal.getsignal(number)):
            signal.signal(number, _do_nothing)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    del number, frame


def _raise(number: int, frame: FrameType | None) -> None:
    """Raise in the main thread, but not in the middle of an import.

    An exception inside the import machinery can leave a module's lock taken for ever, and whoever imports
    that module then hangs. So the signal is looked at again when a moment has passed.
    """
    if _importing(frame):
        _raise_later(number)
        return
    signal.setitimer(signal.ITIMER_REAL, 0)
    _stop_handling()  # a second Ctrl-C must not interrupt the cleaning up
    raise InterruptedBySignal(number)


def _raise_later(number: int) -> None:
    signal.signal(signal.SIGALRM, lambda _, later: _raise(number, later))
    signal.setitimer(signal.ITIMER_REAL, _MOMENT)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """What was raised while something was finalised is lost; a signal must not be."""
    if isinstance(unraisable.exc_value, InterruptedBySignal):
        _raise_later(unraisable.exc_value.number)
    else:
        sys.__unraisablehook__(unraisable)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False

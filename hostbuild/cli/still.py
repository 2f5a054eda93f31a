"""What goes on without a word: plain lines that say so, for CI systems that stop what is silent for long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from hostbuild.cli.failures import clean
from hostbuild.cli.pace import part_of, step_of
from hostbuild.model import Event

_WAITING = "waiting"
#: Seconds between two looks at the clock.
_MOMENT = 1.0


class Doing(NamedTuple):
    """Something that goes on: what it is called, when it began, and when a line last told of it."""

    title: str
    since: float
    told: float


class Unfinished:
    """The steps that go on, and the lines for those that nothing was said of for `seconds`."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._begun = self._said = clock()
        self._doing: dict[tuple[str, str], Doing] = {}

    def note(self, event: Event, *, said: bool) -> None:
        """Take an event, and whether a line told it."""
        (platform, step), now = step_of(event), self._clock()
        if event.kind not in {"warning", "tool-end"}:
            self._doing.pop((platform, _WAITING), None)
        match event.kind:
            case "start":
                self._doing[platform, step] = Doing(event.message, now, now)
            case "progress" if (platform, step) not in self._doing and step:
                self._doing[platform, step] = Doing(event.message or step, now, now)
            case "waiting" if "seconds" not in event.data:
                self._doing[platform, _WAITING] = Doing(event.message, now, now)
            case "done" if platform and not part_of(event):
                for each in [each for each in self._doing if each[0] == platform]:
                    del self._doing[each]
            case "done" | "info":
                self._doing.pop((platform, step), None)
        if said:
            self._said = now
            if (doing := self._doing.get((platform, step))) is not None:
                self._doing[platform, step] = doing._replace(told=now)

    def lines(self) -> list[str]:
        """The lines that are due now."""
        now, lines = self._clock(), []
        for (platform, step), doing in self._doing.items():
            if now - doing.told >= self._seconds:
                self._doing[platform, step] = doing._replace(told=now)
                where = f"{platform}: " if platform else ""
                lines.append(f"{where}still {clean(doing.title)}, {now - doing.since:.0f} s")
        if not lines and now - self._said >= self._seconds:
            lines.append(f"still at work, {now - self._begun:.0f} s")
        if lines:
            self._said = now
        return lines


class Ticker:
    """Calls a function every moment, on a thread of its own, from `start` until `stop`."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="still", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(_MOMENT):
            self._tick()

    def stop(self) -> None:
        """No call comes after this, but one that hangs in a stream that nobody reads."""
        self._stopped.set()
        self._thread.join(_MOMENT)

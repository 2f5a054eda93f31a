"""`progress` events: how much of a step is done in all, and how often that is worth a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hostbuild.cli.failures import clean
from hostbuild.cli.sizes import human_share
from hostbuild.model import Event


class Share(NamedTuple):
    """Bytes done and bytes in all."""

    done: int
    total: int

    @property
    def complete(self) -> bool:
        """Whether nothing is left."""
        return self.done >= self.total


def share_of(event: Event) -> Share | None:
    """What a `progress` event says, or None for one without numbers."""
    done, total = event.data.get("done"), event.data.get("total")
    if isinstance(done, int) and isinstance(total, int) and total > 0:
        return Share(min(done, total), total)
    return None


def step_of(event: Event) -> tuple[str, str]:
    """The platform and the step that an event belongs to."""
    return event.platform, str(event.data.get("step", ""))


def ends(event: Event) -> bool:
    """Whether the event says that a step, or a blob of one, is there: `done`, or `info` with its size."""
    return event.kind == "done" or (event.kind == "info" and bool(step_of(event)[1]) and "size" in event.data)


def part_of(event: Event) -> str:
    """The blob of the step whose end the event tells; "" for an event about the whole step."""
    digest, size = event.data.get("digest"), event.data.get("size")
    return digest if isinstance(digest, str) and isinstance(size, int) and ends(event) else ""


class Shares:
    """Sums up a step's blobs: each event tells of one (`digest`), or of the whole step."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], dict[str, Share]] = {}

    def add(self, event: Event) -> Share | None:
        """Take one event; what its step has done in all."""
        share = share_of(event)
        if share is None:
            return None
        parts = self._parts.setdefault(step_of(event), {})
        parts[str(event.data.get("digest", ""))] = share
        return self._sum(parts)

    def complete(self, step: tuple[str, str], part: str) -> Share | None:
        """Take that a blob is there; what its step has done in all, None where nothing of it was counted."""
        parts = self._parts.get(step, {})
        if part in parts:
            parts[part] = Share(parts[part].total, parts[part].total)
        return self._sum(parts) if parts else None

    @staticmethod
    def _sum(parts: dict[str, Share]) -> Share:
        return Share(sum(part.done for part in parts.values()), sum(part.total for part in parts.values()))

    def forget(self, step: tuple[str, str]) -> None:
        """The step is over: what follows under its name is another one."""
        self._parts.pop(step, None)


class Pace:
    """Lets an event pass when the last one of its kind is some seconds old, or when it completes a blob."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._last: dict[tuple[str, ...], float] = {}

    def lets(self, event: Event) -> bool:
        """Whether to tell this one; the first of a blob is told."""
        key = (*step_of(event), str(event.data.get("digest", "")))
        share, now = share_of(event), self._clock()
        if share is not None and share.complete:
            self._last.pop(key, None)
            return True
        if key in self._last and now - self._last[key] < self._seconds:
            return False
        self._last[key] = now
        return True


class LongSteps:
    """Steps that take long, as plain lines: every few seconds one says how far the step is."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._shares = Shares()
        self._titles: dict[tuple[str, str], str] = {}
        self._told: dict[tuple[str, str], float] = {}

    def begin(self, event: Event) -> None:
        """Take a `start`: its message is what the step is called."""
        step = step_of(event)
        self._titles[step] = event.message
        self._told[step] = self._clock()
        self._shares.forget(step)

    def line_of(self, event: Event) -> str | None:
        """The line for this `progress` event, where it is time for one."""
        share, step, now = self._shares.add(event), step_of(event), self._clock()
        if share is None:
            return None
        if now - self._told.setdefault(step, now) < self._seconds or share.complete:
            return None
        self._told[step] = now
        message = clean(event.message or self._titles.get(step) or step[1])
        return f"{f'{step[0]}: ' if step[0] else ''}{message}, {human_share(*share)}"

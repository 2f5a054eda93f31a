"""What a cleaning removed, or would remove, and what it left."""

from __future__ import annotations

from typing import NamedTuple


class Removal(NamedTuple):
    """One path, why it was removed (or left), and the bytes that came free.

    A file that has another name elsewhere, in the cache or in another build, frees nothing.
    """

    path: str
    why: str
    size: int


class CleanReport(NamedTuple):
    """`removed` is gone (or would be, in a dry run); `left` could not be judged or is in use."""

    removed: tuple[Removal, ...] = ()
    left: tuple[Removal, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that came free."""
        return sum(each.size for each in self.removed)


def duration(seconds: float) -> str:
    """A time for people, in a unit of which there are at least two: 90 s, 12 min, 30 h, 8 days."""
    for size, unit in ((172_800, "days"), (7200, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / _SECONDS[unit]:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


_SECONDS = {"days": 86_400, "h": 3600, "min": 60}

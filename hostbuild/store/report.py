"""What a cleaning removed, or would remove, and what it left."""

from __future__ import annotations

from typing import NamedTuple


class Removal(NamedTuple):
    """One path, why it was removed (or left), and the bytes that came free."""

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

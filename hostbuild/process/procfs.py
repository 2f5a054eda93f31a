"""What /proc says of a process, read without psutil (proc(5)).

On systems without /proc (macOS) `available()` is False and the callers take another way.
"""

from __future__ import annotations

import os

from hostbuild.records import record

#: States of proc(5) in which a process runs no more: zombie, dead.
_ENDED = frozenset("ZXx")


@record
class ProcessStat:
    """The fields of /proc/PID/stat that hostbuild needs; `start_ticks` counts from the machine's boot."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start_ticks: int

    @property
    def ended(self) -> bool:
        """Whether the process has ended and only waits to be reaped."""
        return self.state in _ENDED


def available() -> bool:
    """Whether this system has a /proc with Linux' stat files."""
    return os.path.exists("/proc/self/stat")


def read_stat(pid: int) -> ProcessStat | None:
    """The stat of `pid`; None where there is no such process or it may not be seen."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The command name is in parentheses and may itself hold spaces and parentheses.
    fields = text[text.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    return ProcessStat(
        pid=pid,
        state=fields[0].decode("ascii", "replace"),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        start_ticks=int(fields[19]),
    )


def all_stats() -> list[ProcessStat]:
    """The stats of all processes that can be seen; empty without /proc."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    stats = (read_stat(int(name)) for name in names if name.isdecimal())
    return [stat for stat in stats if stat is not None]


def ancestors(pid: int) -> set[int]:
    """The pids of the parent of `pid`, its parent, and so on, as far as they can be seen."""
    found: set[int] = set()
    stat = read_stat(pid)
    while stat is not None and stat.parent > 0 and stat.parent not in found:
        found.add(stat.parent)
        stat = read_stat(stat.parent)
    return found

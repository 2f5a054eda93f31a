"""Who is alive: processes by pid and start time, by descent, and by the mark in their environment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MARK = b"HOSTBUILD_BUILD_ID="


class Who(NamedTuple):
    """A process that a reused pid cannot be mistaken for."""

    pid: int
    start_ticks: int


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command's name (state first), or None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def identity(pid: int) -> Who | None:
    fields = _stat(pid)
    return None if fields is None else Who(pid, int(fields[19]))


def alive(who: Who) -> bool:
    """Whether this very process runs; a zombie does not."""
    fields = _stat(who.pid)
    return fields is not None and fields[0] not in "ZX" and int(fields[19]) == who.start_ticks


def is_stopped(pid: int) -> bool:
    """Whether it was stopped, as by SIGSTOP."""
    fields = _stat(pid)
    return fields is not None and fields[0] == "T"


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(pid: int) -> list[Who]:
    """All processes below `pid`, not itself."""
    parents = {}
    for other in _pids():
        fields = _stat(other)
        if fields is not None:
            parents[other] = int(fields[1])
    below, wanted = [], {pid}
    while wanted:
        wanted = {child for child, parent in parents.items() if parent in wanted}
        below += [who for child in sorted(wanted) if (who := identity(child)) is not None]
    return below


def is_marked(pid: int) -> bool:
    """Whether a build left its mark in the process's environment."""
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    return any(item.startswith(MARK) for item in environment.split(b"\0"))


def names_in_environment(pid: int, path: Path) -> bool:
    """Whether the environment of `pid` names `path`; False when it is gone or not ours to look at."""
    try:
        return os.fsencode(path) in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until the condition holds; the bound is generous and only ends a hopeless wait."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.05)

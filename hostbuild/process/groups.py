"""Process groups of tools: started, remembered, ended.

Each tool leads a session of its own, so its pid is the number of its group and of its session, and what it
forks stays in that session unless it leaves on purpose. The number cannot be given to a new process while
one member is left, so a group is named safely by it, even after its leader was reaped.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from hostbuild.errors import CancelledTaskError
from hostbuild.process import procfs
from hostbuild.records import record

if TYPE_CHECKING:
    from subprocess import Popen

#: Seconds that a tool has between TERM and KILL.
TOOL_GRACE = 2.0
#: Seconds to wait for what was sent KILL; longer only takes a process that hangs in the kernel.
_KILL_WAIT = 0.5


@record
class Group:
    """A tool's process group: its number, which is its leader's pid, and the leader's start ticks.

    Start ticks of 0 are unknown ones (no /proc).
    """

    number: int
    start_ticks: int = 0

    def _reused(self) -> bool:
        leader = procfs.read_stat(self.number) if self.start_ticks else None
        return leader is not None and leader.start_ticks != self.start_ticks

    def exists(self) -> bool:
        """Whether the group has members that this user may signal, zombies included: one system call."""
        try:
            os.killpg(self.number, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def members(self) -> list[int]:
        """The pids of its session's living processes; without /proc the leader's, while the group exists."""
        if not procfs.available():
            return [self.number] if self.exists() else []
        if self._reused():
            return []
        return [
            stat.pid
            for stat in procfs.all_stats()
            if self.number in (stat.session, stat.group) and not stat.ended
        ]

    def signal(self, number: int) -> list[int]:
        """Send a signal to all members; returns their pids, empty where none lives."""
        members = self.members()
        if members:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.number, number)
            for pid in members:  # a member may have left the group, but not the session
                stat = procfs.read_stat(pid)
                if stat is not None and stat.session == self.number != stat.group:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
        return members


def end_groups(groups: Iterable[Group], *, kill_at: float) -> set[int]:
    """End all members of the groups: TERM at once, KILL at the time `kill_at` (time.monotonic()).

    Returns the pids that were seen in them. Returns early when nobody is left.
    """
    seen: set[int] = set()
    left = []
    for group in groups:
        members = group.signal(signal.SIGTERM)
        if members:
            group.signal(signal.SIGCONT)  # a stopped process takes TERM only when it goes on
            seen.update(members)
            left.append(group)
    left = _wait_gone(left, until=kill_at, seen=seen)
    for group in left:
        seen.update(group.signal(signal.SIGKILL))
    left = _wait_gone(left, until=time.monotonic() + _KILL_WAIT, seen=seen)
    for group in left:  # what was forked between the look and the signal
        seen.update(group.signal(signal.SIGKILL))
    return seen


def _wait_gone(groups: list[Group], *, until: float, seen: set[int]) -> list[Group]:
    pause = 0.002
    while groups and time.monotonic() < until:
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause = min(pause * 2, 0.05)
        left = []
        for group in groups:
            members = group.members()
            if members:
                seen.update(members)
                left.append(group)
        groups = left
    return groups


def uninterrupted(action: Callable[[], object]) -> None:
    """Run `action` to its end although signal handlers raise in it (Ctrl-C), then raise what they raised.

    `action` is begun again after each interruption, so it must be repeatable and hold absolute deadlines.
    """
    interruption: BaseException | None = None
    while True:
        try:
            action()
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            interruption = error
        else:
            break
    if interruption is not None:
        raise interruption


ToolCallback = Callable[[Group, Sequence[str] | None], None]


class ToolGroups:
    """The groups of the tools that run in this process; any thread may stop them all.

    `on_change(group, argv)` is called when a tool was started, with None for argv when it has ended.
    """

    def __init__(self, on_change: ToolCallback | None = None) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._running: set[Group] = set()
        self.stopping = False

    def start(self, argv: Sequence[str], launch: Callable[[], Popen[bytes]]) -> tuple[Popen[bytes], Group]:
        """Start a tool by `launch` and remember its group. Raises CancelledTaskError after `stop`."""
        # The lock closes the gap between the start and the remembering, in which a stop would miss it.
        with self._lock:
            if self.stopping:
                raise CancelledTaskError(f"{argv[0]} was not started", why="the build is being stopped")
            process = launch()
            stat = procfs.read_stat(process.pid)
            group = Group(process.pid, stat.start_ticks if stat else 0)
            self._running.add(group)
        if self._on_change is not None:
            self._on_change(group, argv)
        return process, group

    def ended(self, group: Group) -> None:
        """Forget a group that has ended."""
        with self._lock:
            self._running.discard(group)
        if self._on_change is not None:
            self._on_change(group, None)

    def stop(self, *, kill_at: float) -> None:
        """End all tools (TERM, KILL at `kill_at`) and let no more start. May be called again."""
        # Bounded: a start that hangs in the kernel must not keep the others alive.
        locked = self._lock.acquire(timeout=1.0)
        try:
            self.stopping = True
            running = set(self._running)
        finally:
            if locked:
                self._lock.release()
        end_groups(running, kill_at=kill_at)

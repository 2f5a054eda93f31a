"""Marks and survivors: every process of a test carries a word of its own in its environment."""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hostbuild.model import Event
from hostbuild.process.executor import Task
from hostbuild.process.supervisor import run_tasks

VARIABLE = "HOSTBUILD_TEST_WORD"
#: Hang protection only; no promise is about time here.
PATIENCE = 30.0

#: A tool that ignores TERM, as all that it forks: one grandchild in its group, one in a session of its own.
STUBBORN = """
trap '' TERM INT HUP
sleep 300 &
setsid sleep 301 &
echo tool is up
wait
"""
#: A tool that ignores what asks, and forks grandchildren that do too, all in its session.
FORKING = """
trap '' TERM INT HUP
sh -c 'sleep 300 & sleep 301' &
(sh -c 'sleep 302' & sleep 303) &
echo tool is up
wait
"""
#: A tool that ends on TERM and has a grandchild.
POLITE = """
sleep 300 &
echo tool is up
wait
"""


class Word:
    """A mark for the environment, and the processes that carry it."""

    def __init__(self) -> None:
        self.text = uuid.uuid4().hex

    def environment(self) -> dict[str, str]:
        """An environment with the mark, complete enough for Python and sh."""
        return {
            "PATH": os.environ["PATH"],
            VARIABLE: self.text,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }

    def carriers(self) -> list[str]:
        """The living processes that carry the mark, as pid and command line."""
        wanted = f"{VARIABLE}={self.text}".encode()
        found = []
        for name in os.listdir("/proc"):
            if not name.isdecimal():
                continue
            try:
                if wanted in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
                    if state not in "ZX":
                        command = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ")
                        found.append(f"{name} {state} {command.decode('utf-8', 'replace')}")
            except OSError:
                continue
        return found

    def pids(self, part: str = "") -> list[int]:
        """The pids of those carriers whose command line has the part."""
        return [int(line.split()[0]) for line in self.carriers() if part in line]

    def wait_gone(self) -> None:
        """Wait until nobody carries the mark."""
        wait_until(lambda: not self.carriers(), lambda: f"left: {self.carriers()}")


@contextmanager
def held_owner(directory: Path) -> Iterator[str]:
    """A directory for the owner's mark, with its lock held.

    Other tests, and builds on this machine, end what a dead builder left: to them this one lives.
    """
    with open(directory / "owner.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield str(directory)


def wait_until(reached: Callable[[], bool], explain: Callable[[], str] = lambda: "") -> None:
    """Wait for a condition; fail after the patience."""
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, f"waited in vain {explain()}"
        time.sleep(0.01)


class Recorder:
    """An event callback that keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def messages(self, kind: str, platform: str | None = None) -> list[str]:
        """The messages of one kind."""
        return [
            event.message
            for event in self.events
            if event.kind == kind and platform in (None, event.platform)
        ]


#: What the command line of a worker has, and no other.
WORKER = "hostbuild.process.worker"


def run(
    word: Word, recorder: Recorder, *tasks: Task, jobs: int = 2, timeout: float | None = None
) -> list[Any]:
    """Run tasks in worker processes that carry the word."""
    return run_tasks(tasks, jobs=jobs, on_event=recorder, timeout=timeout, environment=word.environment())

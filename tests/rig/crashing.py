"""Stop, kill or fail the command exactly at a crash point, in a real run of it (see `crash_hook`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from tests.rig.builder import Hostbuild, Result
from tests.rig.processes import is_stopped, names_in_environment, wait_until

HOOK = Path(__file__).with_name("crash_hook.py")
_SECONDS = 120

#: kill: the process that reached the point. group: all of the command's processes at once, as a cancelled
#: job's are. stop: SIGSTOP. trace: nothing, every point is noted. A number: that OSError is raised.
Action = Literal["kill", "group", "stop", "trace"] | int


class Reached(NamedTuple):
    """A point that a process came to: its pid, and whether it is the command or a worker of it."""

    point: str
    pid: int
    role: str


class Stopped:
    """A command that is stopped; `result` when it has gone on and ended."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid
        self.result = Result(-1, "", "")

    def go_on(self) -> None:
        """Let it go on, to its end. A second call does nothing."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            stdout, stderr = self._process.communicate(timeout=_SECONDS)
            self.result = Result(self._process.returncode, stdout, stderr)


@dataclass
class Crash:
    """Runs of one command that end, or go on, at a point.

    `role` "command" or "worker" is for a point that both reach; `skip` is how often each process passes it
    before; `rename_only` makes the system one that cannot exchange two names in one step.
    """

    hostbuild: Hostbuild
    point: str
    action: Action
    role: str = ""
    skip: int = 0
    rename_only: bool = False
    env: dict[str, str | None] | None = None

    @property
    def _witness(self) -> Path:
        return self.hostbuild.home / "reached"

    def start(self, *arguments: str | Path, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start it, in a process group of its own."""
        plan = {
            "point": self.point,
            "action": self.action,
            "role": self.role,
            "skip": self.skip,
            "witness": str(self._witness),
            "rename_only": self.rename_only,
        }
        self._witness.unlink(missing_ok=True)
        return subprocess.Popen(
            [*self.hostbuild.prefix, self.hostbuild.python, "-P", HOOK, json.dumps(plan), *arguments],
            cwd=cwd or self.hostbuild.home,
            env=self.hostbuild.environment(self.env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def __call__(self, *arguments: str | Path, cwd: Path | None = None, stdin: str = "") -> Result:
        """Run it to its end."""
        with self.start(*arguments, cwd=cwd) as process:
            try:
                stdout, stderr = process.communicate(stdin, timeout=_SECONDS)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return Result(process.returncode, stdout, stderr)

    @contextmanager
    def stopped(self, *arguments: str | Path) -> Iterator[Stopped]:
        """Run it until it is stopped at the point; at the end of the block it has ended."""
        with self.start(*arguments) as process:
            try:
                stopped = Stopped(process)
                wait_until(
                    lambda: bool(self.reached()) and is_stopped(process.pid), _SECONDS, "it is stopped"
                )
                yield stopped
                stopped.go_on()
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def reached(self) -> list[Reached]:
        """What was noted: the point, once for each process in which it happened."""
        if not self._witness.exists():
            return []
        lines = [line.split() for line in self._witness.read_text().splitlines()]
        return [Reached(point, int(pid), role) for point, pid, role in lines]


def processes_of(home: Path) -> list[int]:
    """Every process whose environment names this directory."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if names_in_environment(pid, home)]

"""One command that was started in a run, what was done to it, and whether it ended as it may."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig.processes import Who, identity
from tests.torture.home import Home, Source

#: Seconds after which a command that nobody stopped is taken to hang.
HANGS = 180.0
RESULT = re.compile(r"[a-z0-9][a-z0-9._:/-]*@(sha256:[0-9a-f]{64})\n")
_EDITED = ("was edited while", "was changed while", "changed while it was")
_IN_TIME = re.compile(r"process \d+ is making this build already|gave up after [\d.]+ s waiting for")
_SIGNALS = {"TERM": 143, "INT": 130, "HUP": 129}


@dataclass
class Touch:
    """What was done to a command: `number` to its `role` (itself, group, worker, tool)."""

    number: signal.Signals
    role: str

    def __str__(self) -> str:
        return f"{self.number.name} to {self.role}"


@dataclass
class Actor:
    """A running command. `kind` is build, or another command's name."""

    kind: str
    argv: tuple[str, ...]
    process: subprocess.Popen[bytes]
    who: Who
    output: Path
    errors: Path
    source: Source | None = None
    platforms: str = ""
    edits: int = 0
    edit: int = 0
    started: float = field(default_factory=time.monotonic)
    touches: list[Touch] = field(default_factory=list)
    stopped: bool = False

    @property
    def pid(self) -> int:
        """Its pid, and its group's number."""
        return self.process.pid

    def was(self, role: str, *numbers: signal.Signals) -> bool:
        """Whether one of these was sent to its `role`."""
        return any(each.role == role and each.number in numbers for each in self.touches)

    @property
    def was_edited(self) -> bool:
        """Whether its source changed since it was started."""
        return self.source is not None and self.source.edits != self.edits

    def digest(self) -> str:
        """What it printed as the image's digest, "" where it did not."""
        match = RESULT.fullmatch(self.output.read_text("utf-8", "replace"))
        return match.group(1) if match else ""

    def faults(self) -> list[str]:
        """What is wrong with its end; it has ended."""
        code = self.process.returncode
        errors = self.errors.read_text("utf-8", "replace")
        found = []
        if "Traceback (most recent call last)" in errors or "Exception ignored" in errors:
            found.append("a traceback")
        if code == 0 and self.kind == "build" and not self.digest():
            found.append("it ended with 0 and without its line")
        if not self._may_end_so(code, errors):
            found.append(f"it ended with {code}")
        return [f"{each}: {self.describe()}\n{errors[-3000:]}" for each in found]

    def describe(self) -> str:
        """The command and all that was done to it, in one line."""
        done = ", ".join(map(str, self.touches)) or "nothing was done to it"
        edited = ", its source was edited" if self.was_edited else ""
        return f"hostbuild {' '.join(self.argv)} (pid {self.pid}; {done}{edited}) see {self.errors}"

    def _may_end_so(self, code: int, errors: str) -> bool:
        if code == 0:
            return True
        for each in self.touches:
            if each.role in ("itself", "group") and code in (
                -each.number,
                _SIGNALS.get(each.number.name[3:], 0),
            ):
                return True
        if self.kind != "build":
            return False
        if code == 75:
            return _IN_TIME.search(errors) is not None
        return code == 1 and self._may_fail(errors)

    def _may_fail(self, errors: str) -> bool:
        if "error: " not in errors:
            return False
        hard = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        if self.was("worker", *hard) and ("the worker for" in errors or "a worker process" in errors):
            return True
        hit = self.was("tool", *hard) or self.was("group", *hard)
        if hit and ("SIG" in errors or "signal" in errors or "killed" in errors):
            return True
        return self.was_edited and any(text in errors for text in _EDITED)


class Stage:
    """Starts commands; keeps those that run."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._logs = home.path / "out"
        self._count = 0
        self.actors: list[Actor] = []

    def start(
        self, kind: str, argv: tuple[str, ...], source: Source | None = None, platforms: str = ""
    ) -> Actor:
        """Start `hostbuild` with these words, in a process group of its own."""
        self._count += 1
        output, errors = (self._logs / f"{self._count:06}.{end}" for end in ("out", "err"))
        with output.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "hostbuild", *argv],
                cwd=self._home.path,
                env=dict(self._home.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,
            )
        actor = Actor(kind, argv, process, identity(process.pid) or Who(process.pid, 0), output, errors)
        if source is not None:
            actor.source, actor.edits, actor.edit, actor.platforms = (
                source,
                source.edits,
                source.edit,
                platforms,
            )
        self.actors.append(actor)
        return actor

    def ended(self) -> list[Actor]:
        """Those that ended since the last call; they are kept no longer."""
        gone = [actor for actor in self.actors if actor.process.poll() is not None]
        self.actors = [actor for actor in self.actors if actor not in gone]
        return gone

    def hanging(self) -> list[Actor]:
        """Those that run for longer than anything takes; ended hard, and kept no longer."""
        late = [actor for actor in self.actors if time.monotonic() - actor.started > HANGS]
        for actor in late:
            os.killpg(actor.pid, signal.SIGKILL)
            actor.process.wait()
        self.actors = [actor for actor in self.actors if actor not in late]
        return late

    def run(self, kind: str, argv: tuple[str, ...]) -> Actor:
        """Run a command to its end."""
        actor = self.start(kind, argv)
        self.actors.remove(actor)
        try:
            actor.process.wait(HANGS)
        except subprocess.TimeoutExpired:
            os.killpg(actor.pid, signal.SIGKILL)
            actor.process.wait()
            actor.touches.clear()
        return actor

"""Builders are started, killed and stopped, their sources edited; then all is quiet, and is judged."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.rig.processes import Who, alive
from tests.torture.actors import Actor, Stage
from tests.torture.home import Home, Source
from tests.torture.judge import Judge
from tests.torture.victims import Blow, below, choose, choose_role, look

#: Seconds between two blows, on average.
_BETWEEN = 0.22
#: Seconds between two quiet moments.
_STORM = 25.0
#: Seconds in which all that a killed builder had started must be gone; three, with room for a loaded machine.
_ENDS = 15.0
_TICK = 0.02
#: Seconds to wait for somebody of the role that was drawn: there may be no compiler now, but soon.
_HUNT = 0.8
#: So many SIGKILLs for each earlier image that is compared at the end, and so many of these at most.
_KILLS_FOR_ONE, _EARLIER = 25, 30


@dataclass
class Debt:
    """Processes of a killed builder that must be gone at a time."""

    actor: Actor
    left: list[Who]
    until: float


@dataclass
class Storm:
    """One run. `faults` is what is wrong, each a text."""

    home: Home
    rng: random.Random
    builders: int
    beside: dict[str, list[tuple[str, ...]]]
    tell: Callable[[str], None]
    kills: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    edits: int = 0
    quiet: int = 0
    blobs: int = 0

    def __post_init__(self) -> None:
        self.stage = Stage(self.home)
        self.judge = Judge(self.home)
        self._printed: dict[tuple[str, str, int], set[str]] = {}
        self._images: dict[str, tuple[str, str, int]] = {}
        self._hunted: list[tuple[float, str]] = []
        self._resume: list[tuple[float, Blow]] = []
        self._debts: list[Debt] = []
        self._numbers = itertools.count()

    @property
    def count(self) -> int:
        """SIGKILLs that were sent."""
        return sum(number for name, number in self.kills.items() if not name.startswith(("stop", *_SOFT)))

    def run(self, seconds: float | None, kills: int | None) -> None:
        """Until so many seconds are over or so many SIGKILLs were sent, or something is wrong."""
        end = time.monotonic() + (seconds if seconds is not None else float("inf"))
        while not self.faults and time.monotonic() < end and (kills is None or self.count < kills):
            self._storm(min(end, time.monotonic() + _STORM), kills)
            self._calm()
        if not self.faults:
            self._compare()

    def _storm(self, until: float, kills: int | None) -> None:
        next_blow = next_edit = time.monotonic()
        rest = dict.fromkeys(self.beside, 0.0)
        while (now := time.monotonic()) < until and (kills is None or self.count < kills):
            self._settle()
            if self.faults:
                return
            self._fill(rest, now)
            if now > next_blow:
                next_blow = now + self.rng.expovariate(1 / _BETWEEN)
                self._hunted.append((now + _HUNT, choose_role(self.rng)))
            self._hunted = [each for each in self._hunted if each[0] > now and not self._strike(each[1])]
            if now > next_edit:
                next_edit = now + self.rng.expovariate(1.5)
                self.home.edit(self.rng.choice(self.home.sources))
                self.edits += 1
            time.sleep(_TICK)

    def _fill(self, rest: dict[str, float], now: float) -> None:
        """As many builders as asked for, and one of each other command, with a pause between two."""
        running = Counter(actor.kind for actor in self.stage.actors)
        for _ in range(self.builders - running["build"]):
            self._build()
        for kind, choices in self.beside.items():
            if not running[kind] and now > rest[kind]:
                rest[kind] = now + self.rng.expovariate(0.7)
                words = self.rng.choice(choices)
                where = (str(self.rng.choice(self.home.sources).root),) if kind in _OF_SOURCES else ()
                self.stage.start(kind, (*words, *where))

    def _build(self) -> None:
        """Of any source; often one that is being built, and then for the same platforms."""
        alike = [actor for actor in self.stage.actors if actor.kind == "build" and actor.source is not None]
        if alike and self.rng.random() < 0.4:
            other = self.rng.choice(alike)
            source, platforms = other.source, other.platforms
        else:
            source = self.rng.choice(self.home.sources)
            platforms = self.rng.choice(source.platforms)
        assert source is not None
        flags: list[str] = self.rng.choice([[], ["--wait"], ["--wait-timeout", "3"], ["-j", "1"]])
        if self.rng.random() < 0.2:
            flags = [*flags, "--no-cache"]
        self.stage.start("build", self.home.argv(source, platforms, *flags), source, platforms)

    def _strike(self, role: str) -> bool:
        """Whether there was somebody of this role to hit."""
        blow = choose(self.rng, role, self.stage.actors)
        if blow is None:
            return False
        if blow.name == "builder" and blow.actor is not None:
            self._owe(blow.actor)
        if blow.actor is not None:
            blow.actor.touches.append(blow.touch)
        try:
            (os.killpg if blow.is_group else os.kill)(blow.pid, blow.number)
        except ProcessLookupError:
            return True
        self.kills[blow.name] += 1
        if blow.number == signal.SIGSTOP:
            self._resume.append((time.monotonic() + self.rng.uniform(0.1, 2.5), blow))
        return True

    def _owe(self, actor: Actor) -> None:
        """What it started must end with it, unless whoever ends it was hit as well."""
        if any(touch.role != "itself" for touch in actor.touches):
            return
        left = [each.who for each in below(actor.pid, look())]
        self._debts.append(Debt(actor, left, time.monotonic() + _ENDS))

    def _settle(self) -> None:
        """Look who has ended, and how; let go on who was stopped for long enough."""
        now = time.monotonic()
        for due, blow in self._resume:
            if due <= now:
                self._go_on(blow)
        self._resume = [each for each in self._resume if each[0] > now]
        for actor in self.stage.ended():
            self._judge(actor)
        for actor in self.stage.hanging():
            self.faults.append(f"it hung: {actor.describe()}\n{actor.errors.read_text()[-2000:]}")
        for debt in self._debts:
            debt.left = [who for who in debt.left if alive(who)]
            if debt.left and debt.until < now:
                self.faults.append(f"{debt.left} live on after {_ENDS} s: {debt.actor.describe()}")
        self._debts = [debt for debt in self._debts if debt.left and debt.until >= now]

    def _go_on(self, blow: Blow) -> None:
        try:
            (os.killpg if blow.is_group else os.kill)(blow.pid, signal.SIGCONT)
        except ProcessLookupError:
            return

    def _judge(self, actor: Actor) -> None:
        code = actor.process.returncode
        self.codes[f"{actor.kind} {code}"] += 1
        faults = actor.faults()
        self.faults += faults
        if actor.kind == "build" and code == 0 and not actor.was_edited and actor.source is not None:
            key = (actor.source.name, actor.platforms, actor.edit)
            digests = self._printed.setdefault(key, set())
            digests.add(actor.digest())
            if len(digests) > 1:
                self.faults.append(f"one source, two images {sorted(digests)}: {actor.describe()}")
            of = (actor.source.kind, actor.platforms, actor.edit)
            if self._images.setdefault(actor.digest(), of) != of:
                self.faults.append(
                    f"one image of {self._images[actor.digest()]} and {of}: {actor.describe()}"
                )
        if not faults:
            actor.output.unlink()
            actor.errors.unlink()

    def _calm(self) -> None:
        """No more starts and blows. Then the next build or clean of each source, and all must be right."""
        for _, blow in self._resume:
            self._go_on(blow)
        self._resume, self._hunted = [], []
        while self.stage.actors or self._debts:
            self._settle()
            time.sleep(_TICK)
        for source in self.home.sources:
            if self.rng.random() < 0.4:
                self._now("build", self.home.argv(source, source.platforms[0], "--no-cache"), source)
        for source in self.home.sources:
            self._now("clean", ("clean", str(source.root)), source)
        self.faults += self.judge.everything()
        self.quiet += 1
        self.tell(f"quiet {self.quiet}: {self.judge.blobs} blobs read, {len(self.faults)} faults")
        self.blobs, self.judge.blobs = self.blobs + self.judge.blobs, 0

    def _now(self, kind: str, argv: tuple[str, ...], source: Source) -> Actor:
        actor = self.stage.run(kind, argv)
        actor.source, actor.edits, actor.edit, actor.platforms = (
            source,
            source.edits,
            source.edit,
            source.platforms[0],
        )
        self._judge(actor)
        if actor.process.returncode != 0:
            self.faults.append(f"undisturbed, it ended with {actor.process.returncode}: {actor.describe()}")
        return actor

    def _compare(self) -> None:
        """A fresh build of each source, and earlier ones, against undisturbed ones with a fresh cache."""
        for source in self.home.sources:
            for platforms in source.platforms:
                actor = self.stage.run("build", self.home.argv(source, platforms))
                actor.source, actor.edits, actor.edit, actor.platforms = (
                    source,
                    source.edits,
                    source.edit,
                    platforms,
                )
                output = actor.output.read_text()
                self._judge(actor)
                last = self.judge.digest_of_last(source)
                if not self.faults and last not in output:
                    self.faults.append(f"last names {last}: {actor.describe()} printed {output}")
        wanted = [
            (source.name, platforms, source.edit)
            for source in self.home.sources
            for platforms in source.platforms
        ]
        others = sorted(set(self._printed) - set(wanted))
        self.rng.shuffle(others)
        compared = [*wanted, *others[: min(_EARLIER, self.count // _KILLS_FOR_ONE)]]
        for key in compared:
            if self.faults:
                return
            self._compare_one(*key)
        self.tell(f"{len(compared)} of {len(self._printed)} images compared with undisturbed builds of them")

    def _compare_one(self, name: str, platforms: str, edit: int) -> None:
        (source,) = [each for each in self.home.sources if each.name == name]
        root = self.home.copy_of(source, edit, self.home.path / "fresh" / f"{next(self._numbers)}" / name)
        fresh = str(self.home.path / "fresh-cache")
        actor = self.stage.run("build", self.home.argv(source, platforms, "--cache-dir", fresh, root=root))
        printed, expected = self._printed[name, platforms, edit], actor.digest()
        self.faults += actor.faults()
        if not self.faults and printed != {expected}:
            self.faults.append(
                f"{name} ({platforms}, edit {edit}): {printed} is not {expected}, made at {root}"
            )
        shutil.rmtree(root)


_SOFT = ("term", "int", "hup")
_OF_SOURCES = ("clean", "status")

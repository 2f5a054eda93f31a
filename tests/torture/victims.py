"""Who is to be hit: the processes of a run, told by what they are and whose they are."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.rig.processes import Who
from tests.torture.actors import Actor, Touch

_WORKER = b"hostbuild.process.worker"
_MARKS = (b"HOSTBUILD_BUILD_ID=", b"HOSTBUILD_OWNER=", b"HOSTBUILD_BUILDER=")
_TERM_BIT = 1 << (signal.SIGTERM - 1)

#: How often each is chosen, relative to the others.
ROLES = {
    "builder": 16,
    "group": 12,
    "worker": 20,
    "tool": 26,
    "pruner": 6,
    "cleaner": 5,
    "other": 2,
    "asked builder": 5,
    "asked group": 4,
    "stopped": 6,
}
#: How often only those builders are hit that have come so far as to have workers or tools.
_LATE = 0.5
ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_KINDS = {
    "pruner": ("cache prune",),
    "cleaner": ("clean",),
    "other": ("status", "cache verify", "cache info"),
}


class Seen(NamedTuple):
    """One process of the run."""

    who: Who
    parent: int
    group: int
    state: str
    command: bytes

    @property
    def is_worker(self) -> bool:
        return _WORKER in self.command


def look() -> dict[int, Seen]:
    """All processes of this pid namespace but init and this one; zombies are not seen."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) in (1, os.getpid()):
            continue
        try:
            fields = Path(f"/proc/{name}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            command = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if fields[0] not in "ZX":
            pid = int(name)
            found[pid] = Seen(Who(pid, int(fields[19])), int(fields[1]), int(fields[2]), fields[0], command)
    return found


def marked(pid: int) -> bool:
    """Whether it carries hostbuild's mark."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return any(mark in environment for mark in _MARKS)


def below(pid: int, seen: dict[int, Seen]) -> list[Seen]:
    """The descendants of `pid`, not itself."""
    found, wanted = [], {pid}
    while wanted:
        children = [each for each in seen.values() if each.parent in wanted]
        found += children
        wanted = {each.who.pid for each in children}
    return found


def handles_signals(pid: int) -> bool:
    """Whether the command has come so far that it handles SIGTERM itself."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt:")), "SigCgt:\t0")
    return bool(int(caught.split()[1], 16) & _TERM_BIT)


class Blow(NamedTuple):
    """A signal that is about to be sent: `name` is for the table."""

    name: str
    number: signal.Signals
    pid: int
    is_group: bool
    actor: Actor | None
    touch: Touch


def choose_role(rng: random.Random) -> str:
    """A role by chance."""
    return rng.choices(list(ROLES), list(ROLES.values()))[0]


def choose(rng: random.Random, role: str, actors: Sequence[Actor]) -> Blow | None:
    """A blow against one of that role, by chance; None where there is nobody now."""
    seen = look()
    builders = [actor for actor in actors if actor.kind == "build" and actor.pid in seen]
    if rng.random() < _LATE:
        builders = [actor for actor in builders if below(actor.pid, seen)]
    if role in _KINDS:
        return _itself(rng, role, [actor for actor in actors if actor.kind in _KINDS[role]])
    if role == "builder":
        return _itself(rng, role, builders)
    if role == "group":
        actor = rng.choice(builders) if builders else None
        if actor is None:
            return None
        return Blow(role, signal.SIGKILL, actor.pid, True, actor, Touch(signal.SIGKILL, "group"))
    if role in ("worker", "tool"):
        return _below(rng, role, actors, seen)
    if role == "stopped":
        return _stop(rng, builders, seen)
    number = rng.choice(ASKING)
    ready = [actor for actor in actors if handles_signals(actor.pid)]
    if not ready:
        return None
    actor = rng.choice(ready)
    is_group = role == "asked group"
    name = f"{number.name[3:].lower()} {'group' if is_group else 'builder'}"
    return Blow(name, number, actor.pid, is_group, actor, Touch(number, "group" if is_group else "itself"))


def _itself(rng: random.Random, role: str, actors: Sequence[Actor]) -> Blow | None:
    if not actors:
        return None
    actor = rng.choice(actors)
    return Blow(role, signal.SIGKILL, actor.pid, False, actor, Touch(signal.SIGKILL, "itself"))


def _below(rng: random.Random, role: str, actors: Sequence[Actor], seen: dict[int, Seen]) -> Blow | None:
    """A worker or a tool; of a tool's processes, the compilers and linkers too. An orphan has no actor."""
    owners = {each.who.pid: actor for actor in actors for each in below(actor.pid, seen)}
    own = {actor.pid for actor in actors}
    wanted = [
        each
        for pid, each in seen.items()
        if each.is_worker == (role == "worker")
        and pid not in own
        and (each.is_worker or pid in owners or marked(pid))
        and each.command
    ]
    if not wanted:
        return None
    victim = rng.choice(wanted)
    name = f"{role} {os.path.basename(victim.command.split()[0].decode())}" if role == "tool" else role
    actor = owners.get(victim.who.pid)
    return Blow(name, signal.SIGKILL, victim.who.pid, False, actor, Touch(signal.SIGKILL, role))


def _stop(rng: random.Random, builders: Sequence[Actor], seen: dict[int, Seen]) -> Blow | None:
    if not builders:
        return None
    actor = rng.choice(builders)
    number = signal.SIGSTOP
    if rng.random() < 0.5:
        return Blow("stop builder", number, actor.pid, False, actor, Touch(number, "itself"))
    if rng.random() < 0.5:
        return Blow("stop group", number, actor.pid, True, actor, Touch(number, "group"))
    workers = [each for each in below(actor.pid, seen) if each.is_worker]
    if not workers:
        return None
    victim = rng.choice(workers)
    return Blow("stop worker", number, victim.who.pid, False, actor, Touch(number, "worker"))

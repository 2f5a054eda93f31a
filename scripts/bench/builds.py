"""Builds side by side: start-up, nothing changed, one line edited, an empty cache; small, and with data."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from bed import US, Results, Run, in_turns, measured
from projects import Project, Tools

FUNC = "as func does it"
PUSHED = "hostbuild, pushed"
KO, KO_CACHED = "ko, pushed", "ko with KOCACHE, pushed"


class Size(NamedTuple):
    """How much of everything."""

    turns: int
    files: int
    megabytes: float
    cold: int


def start_up(results: Results, tools: Tools, turns: int) -> None:
    def command(*argv: str) -> Callable[[], Run]:
        return lambda: measured([sys.executable, *argv], env=tools.env)

    contestants = {
        "python -c pass": command("-c", "pass"),
        "hostbuild --version": command("-m", "hostbuild", "--version"),
        "hostbuild --help": command("-m", "hostbuild", "--help"),
        "hostbuild build --help": command("-m", "hostbuild", "build", "--help"),
    }
    for each in contestants.values():
        each()  # compiles what is not compiled yet
    in_turns(results, "start-up", turns, contestants)


def contestants_of(project: Project, *, cached: bool = True) -> dict[str, Callable[[], Run]]:
    """All that are here, each by its name."""
    found: dict[str, Callable[[], Run]] = {US: project.ours, FUNC: project.as_func}
    if project.tools.address:
        found[PUSHED] = project.ours_pushed
        if project.tools.ko:
            found[KO] = project.ko
            if cached:
                found[KO_CACHED] = project.ko_cached
    return found


def small(results: Results, tools: Tools, size: Size) -> Project:
    """The small function; returns it, built."""
    project = Project(tools, tools.home / "small")
    everyone = contestants_of(project)
    for each in everyone.values():
        each()
    in_turns(results, "nothing changed", size.turns, everyone)
    in_turns(results, "one line edited", size.turns, everyone, before=project.edit)
    return project


def with_data(results: Results, tools: Tools, size: Size) -> Project:
    """The function with data beside it; the others compress all of it each time, so they run once."""
    project = Project(tools, tools.home / "data")
    project.ours(), project.as_func()  # the function alone: compilers and bases are warm for everybody
    if tools.address:
        project.ours_pushed()
    what = f"{size.files} files, {size.megabytes:.0f} MB beside"
    everyone = contestants_of(project, cached=False)
    others = [name for name in everyone if name not in {US, PUSHED}]
    for turn in range(min(size.turns, 2)):
        more = {name: each for name, each in everyone.items() if name not in others or not turn}
        project.set_data(size.files, size.megabytes, turn)
        in_turns(results, f"{what}: data is new", 1, more)
    in_turns(results, f"{what}: nothing changed", size.turns, everyone, few=others)
    in_turns(results, f"{what}: one line edited", size.turns, everyone, before=project.edit, few=others)
    return project


def cold(results: Results, tools: Tools, turns: int) -> None:
    """An empty compiler cache; the modules are downloaded."""
    project = Project(tools, tools.home / "cold")
    place = tools.home / "gocache"

    def emptied(action: Callable[[Mapping[str, str]], Run]) -> Callable[[], Run]:
        def run() -> Run:
            _remove(place)
            _remove(project.root / "cache")
            _remove(project.root / "cache-pushed")
            return action({"GOCACHE": str(place)})

        return run

    contestants = {FUNC: emptied(project.as_func)}
    if tools.address:
        contestants |= {PUSHED: emptied(project.ours_pushed)}
        if tools.ko:
            contestants |= {KO: emptied(project.ko)}
    else:
        contestants |= {US: emptied(lambda extra: project.ours(extra=extra))}
    in_turns(results, "empty Go cache", turns, contestants, before=project.edit)
    _remove(place)


def _remove(place: Path) -> None:
    if place.exists():
        shutil.rmtree(place)

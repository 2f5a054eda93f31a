"""The command killed, and failed, at every crash point by name: what is left is sound, the next run is right.

Each point has a scenario: a command that reaches it in a real run. A new point needs an entry in SCENARIOS.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from hostbuild.points import POINTS
from tests.registry.server import MemoryRegistry
from tests.rig.crash_world import Command, World, Worlds
from tests.rig.crashing import Action, Crash


@dataclass(frozen=True)
class Scenario:
    """How a point is reached.

    `moved` tells that `last` names the new build by then. `worker`: it is a worker that comes there.
    `leaves`: a run that fails there cannot tidy up after itself, the next one does. `once`: what was to be
    done is done by then, and the next run does not come there. `skip` and `rename_only` are `Crash`'s.
    """

    command: Command
    moved: bool = False
    worker: bool = False
    leaves: bool = False
    once: bool = False
    skip: int = 0
    rename_only: bool = False


AGAIN = Scenario(World.build)
GIVEN = Scenario(World.build_with_outputs, moved=True)
MADE = Scenario(World.build, once=True)

SCENARIOS: dict[str, Scenario] = {
    "cache-before-version": Scenario(World.build_anew),
    "blob-partly-written": AGAIN,
    "blob-before-sync": AGAIN,
    "blob-before-rename": AGAIN,
    "blob-after-rename": AGAIN,
    "claim-made": AGAIN,
    "prune-before-remove": Scenario(World.prune),
    "prune-after-remove": Scenario(World.prune),
    "repair-before-discard": Scenario(World.repair),
    "key-before-produce": Scenario(World.build_anew, worker=True),
    "key-before-rename": Scenario(World.build_anew, worker=True),
    "base-layer-partly-fetched": Scenario(World.build_on_base),
    "wheel-partly-fetched": Scenario(World.build_with_wheel),
    "file-before-rename": Scenario(World.build, once=True, skip=1),
    "link-before-swap": MADE,
    "link-after-swap": Scenario(World.build, moved=True, once=True),
    "build-locked": AGAIN,
    "stage-before-rename": AGAIN,
    "stage-before-pid-link": AGAIN,
    "pid-link-before-rename": AGAIN,
    "layout-partly-written": AGAIN,
    "layout-before-index": AGAIN,
    "layout-complete": AGAIN,
    "build-before-publish": AGAIN,
    "build-after-aside": Scenario(World.build_over_damaged, leaves=True, once=True, rename_only=True),
    "build-after-rename": MADE,
    "publish-before-last": MADE,
    "last-before-link": MADE,
    "stage-before-removal": Scenario(World.build, moved=True, leaves=True, once=True),
    "stage-in-trash": Scenario(World.build, moved=True, leaves=True, once=True),
    "clean-before-trash": Scenario(World.clean, leaves=True, once=True),
    "clean-after-last": Scenario(World.clean_all, moved=True, leaves=True, once=True),
    "clean-before-delete": Scenario(World.clean, leaves=True, once=True),
    "worker-started": Scenario(World.build_anew),
    "worker-before-task": Scenario(World.build_anew, worker=True),
    "worker-before-answer": Scenario(World.build_anew, worker=True, once=True),
    "output-partly-written": GIVEN,
    "output-before-rename": GIVEN,
    "output-after-rename": GIVEN,
    "publish-before-swap": GIVEN,
    "publish-after-aside": Scenario(World.build_with_outputs, moved=True, rename_only=True),
    "publish-after-swap": GIVEN,
    "user-file-before-rename": GIVEN,
    "lockfile-after-write": Scenario(World.build_on_base, once=True),
    "login-before-rename": Scenario(World.login),
    "upload-begun": Scenario(World.push),
    "upload-body-partly-sent": Scenario(World.push),
    "upload-chunk-sent": Scenario(World.push_in_chunks),
    "upload-before-commit": Scenario(World.push),
    "upload-after-commit": Scenario(World.push, once=True),
    "upload-mounted": Scenario(World.push_mounting),
    "manifest-before-put": Scenario(World.push),
    "manifest-after-put": Scenario(World.push),
    "push-before-root": Scenario(World.push),
    "tag-before-put": Scenario(World.push),
    "tag-after-put": Scenario(World.push),
    "referrers-before-put": Scenario(World.push_referrer),
    "referrers-after-put": Scenario(World.push_referrer, once=True),
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    with MemoryRegistry().running() as registry:
        yield Worlds(tmp_path_factory.mktemp("worlds"), registry)


@pytest.fixture
def make(worlds: Worlds, tmp_path: Path) -> Callable[[Command], World]:
    number = count()
    return lambda command: worlds.make(tmp_path / f"world-{next(number)}", command)


def crash_of(world: World, point: str, action: Action) -> Crash:
    scenario = SCENARIOS[point]
    role = "worker" if scenario.worker else "command"
    return Crash(world.hostbuild, point, action, role, skip=scenario.skip, rename_only=scenario.rename_only)


def check_reached(crash: Crash) -> None:
    assert crash.reached(), f"{crash.point} was not reached: its scenario is wrong"


def test_each_point_has_a_scenario() -> None:
    assert sorted(SCENARIOS) == sorted(POINTS)


@pytest.mark.parametrize("point", POINTS)
def test_failed_there_and_killed_there(point: str, make: Callable[[Command], World]) -> None:
    """First the disk refuses there, then the same command is killed there, then it runs to its end."""
    scenario = SCENARIOS[point]
    world = make(scenario.command)
    fail(world, point, scenario)
    if scenario.once:
        world.check_next_run()
        world = make(scenario.command)
    crash = crash_of(world, point, "group")
    killed = crash(*world.arguments, stdin=world.stdin)
    check_reached(crash)
    assert killed.code == -signal.SIGKILL
    assert killed.stdout == ""
    world.check_sound(moved=scenario.moved)
    world.check_next_run()


def fail(world: World, point: str, scenario: Scenario) -> None:
    code = (errno.EIO, errno.ENOSPC)[list(POINTS).index(point) % 2]
    crash = crash_of(world, point, code)
    failed = crash(*world.arguments, stdin=world.stdin)
    check_reached(crash)
    failed.fails(1)
    errors = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, failed.stderr
    said = {errno.EIO: "input/output error", errno.ENOSPC: "no space"}[code]
    assert said in failed.stderr.lower()
    world.check_sound(moved=scenario.moved)
    if not scenario.leaves:
        world.check_tidy()


@pytest.mark.parametrize("point", [point for point, scenario in SCENARIOS.items() if scenario.worker])
def test_only_the_worker_is_killed_there(point: str, make: Callable[[Command], World]) -> None:
    world = make(SCENARIOS[point].command)
    crash = crash_of(world, point, "kill")
    failed = crash(*world.arguments)
    check_reached(crash)
    failed.fails(1, "the worker for linux/amd64 was killed by signal 9")
    world.check_sound(moved=False)
    world.check_tidy()
    world.check_next_run()


def test_one_that_is_stopped_is_neither_cleaned_nor_overtaken(make: Callable[[Command], World]) -> None:
    world = make(World.build)
    crash = Crash(world.hostbuild, "build-before-publish", "stop")
    with crash.stopped(*world.arguments) as stopped:
        cleaned = world.hostbuild("clean", world.source, "--keep", "1")
        assert cleaned.code == 0, cleaned.stderr
        world.hostbuild(*world.arguments).fails(75, f"process {stopped.pid}")
        world.check_sound(moved=False)
        stopped.go_on()
    assert stopped.result.code == 0, stopped.result.stderr
    world.check_next_run()


def test_clean_leaves_nothing_of_a_killed_build(make: Callable[[Command], World]) -> None:
    world = make(World.build)
    Crash(world.hostbuild, "build-before-publish", "group")(*world.arguments)
    cleaned = world.hostbuild("clean", world.source)
    assert cleaned.code == 0, cleaned.stderr
    builds = world.source / ".func/builds"
    places = (builds / "staging", builds / "by-pid", builds / "trash", world.hostbuild.cache / "tmp")
    assert [path for place in places for path in place.iterdir()] == []
    assert list((world.hostbuild.cache / "claims").iterdir()) == []


def test_what_a_killed_process_left_in_the_source_does_not_ship(make: Callable[[Command], World]) -> None:
    """hostbuild.lock is written beside the program's own files."""
    world = make(World.build_on_base)
    crash = Crash(world.hostbuild, "user-file-before-rename", "group")
    crash(*world.arguments)
    check_reached(crash)
    (left,) = world.source.glob(".hostbuild.lock.*")
    world.run(*(argument for argument in world.arguments if argument != "--lock"))
    assert world.digest() == world.expected["last"]
    assert left.exists()
    world.check_next_run()

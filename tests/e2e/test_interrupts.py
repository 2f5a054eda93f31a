"""A build stopped in mid-compilation: nothing survives, nothing half-made stays, `last` is as before.

The compilers here are deaf to SIGTERM and have children of their own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, Result, make_source
from tests.rig.go_wrapper import GoWrapper
from tests.rig.layout import read_layout
from tests.rig.processes import Who, alive, descendants, is_marked, wait_until
from tests.rig.sources import HELLO

NAME = ("-t", "registry.example/app:v1")
BOUND = 20.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_source(tmp_path / "src", HELLO)


class Hanging:
    """A build whose compilers hang; it is ended at the end of the test whatever happened."""

    def __init__(self, hostbuild: Hostbuild, go: GoWrapper, root: Path, *arguments: str) -> None:
        go.hang()
        self.go = go
        self.process = hostbuild.start("build", root, *NAME, "-j", "2", *arguments, env=go.env)
        try:
            self.tools = go.wait_until_hanging()
        except BaseException:
            self.process.kill()
            raise
        below = set(descendants(self.process.pid)) | set(self.tools)
        self.everyone = sorted(below)

    def finish(self) -> Result:
        stdout, stderr = self.process.communicate(timeout=BOUND * 3)
        return Result(self.process.returncode, stdout, stderr)

    def survivors(self) -> list[Who]:
        return [who for who in self.everyone if alive(who)]

    def kill_all(self) -> None:
        """End whatever is left, also what was started after the first look."""
        if self.process.poll() is None:
            self.everyone = sorted({*self.everyone, *descendants(self.process.pid)})
        self.process.kill()
        self.everyone = sorted({*self.everyone, *self.go.hanging()})
        for who in self.survivors():
            os.kill(who.pid, signal.SIGKILL)
        self.process.communicate(timeout=BOUND)


@pytest.fixture
def hanging(hostbuild: Hostbuild, go_wrapper: GoWrapper, root: Path) -> Iterator[Hanging]:
    started = Hanging(hostbuild, go_wrapper, root)
    yield started
    started.kill_all()


def staged(root: Path) -> list[Path]:
    builds = root / ".func/builds"
    return [path for place in ("staging", "by-pid", "trash") for path in (builds / place).glob("*")]


def nothing_lives(hanging: Hanging) -> None:
    hanging.everyone = sorted({*hanging.everyone, *hanging.go.hanging()})  # also one that started since
    wait_until(lambda: hanging.survivors() == [], BOUND, "the build's processes have ended")


def test_tools_carry_the_builds_mark(hanging: Hanging) -> None:
    assert len(hanging.tools) >= 2
    assert all(is_marked(who.pid) for who in hanging.tools)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("whole_group", [False, True], ids=["process", "group"])
def test_a_signal_stops_everything(
    hanging: Hanging, root: Path, number: signal.Signals, code: int, whole_group: bool
) -> None:
    send = os.killpg if whole_group else os.kill
    send(hanging.process.pid, number)
    result = hanging.finish()
    assert (result.code, result.stdout) == (code, "")
    assert "Traceback" not in result.stderr
    nothing_lives(hanging)
    assert staged(root) == []
    assert not (root / ".func/builds/last").exists()


def test_last_stays_and_the_next_build_succeeds(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, root: Path
) -> None:
    before = hostbuild("build", root, *NAME, env=go_wrapper.env).digest
    make_source(root, {"main.go": HELLO["main.go"].replace("hello", "other")})
    stopped = Hanging(hostbuild, go_wrapper, root)
    try:
        assert read_layout(root / ".func/builds/last/oci").digest == before
        stopped.process.send_signal(signal.SIGTERM)
        assert stopped.finish().code == 143
        nothing_lives(stopped)
    finally:
        stopped.kill_all()
    assert read_layout(root / ".func/builds/last/oci").digest == before
    go_wrapper.heal()
    assert hostbuild("build", root, *NAME, env=go_wrapper.env).digest != before


def test_a_second_signal_does_not_break_the_cleaning(hanging: Hanging, root: Path) -> None:
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        os.kill(hanging.process.pid, number)
    assert hanging.finish().code in (130, 143)
    nothing_lives(hanging)
    assert staged(root) == []


def test_a_killed_build_takes_its_workers_and_tools_along(hanging: Hanging) -> None:
    hanging.process.kill()
    hanging.process.communicate(timeout=BOUND)
    nothing_lives(hanging)


def leave_orphans(hanging: Hanging) -> None:
    """Kill the build and its workers at one moment, as a cancelled job does; the compilers live on."""
    tools = set(hanging.tools)
    os.kill(hanging.process.pid, signal.SIGSTOP)
    others = [who for who in hanging.everyone if who not in tools]
    for who in others:
        os.kill(who.pid, signal.SIGSTOP)
    for who in others:
        os.kill(who.pid, signal.SIGKILL)
    hanging.process.kill()
    hanging.process.communicate(timeout=BOUND)
    wait_until(lambda: not [who for who in others if alive(who)], BOUND, "the workers are gone")
    assert set(hanging.survivors()) == tools


def test_clean_ends_what_a_killed_build_left(hostbuild: Hostbuild, hanging: Hanging, root: Path) -> None:
    leave_orphans(hanging)
    assert staged(root) != []
    beside = hostbuild.beside(hanging.tools[0].pid)
    assert beside("clean", "--dry-run", root).code == 0
    assert set(hanging.survivors()) == set(hanging.tools)
    assert beside("clean", root).code == 0
    nothing_lives(hanging)
    assert staged(root) == []


def test_the_next_build_ends_what_a_killed_build_left(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, hanging: Hanging, root: Path
) -> None:
    leave_orphans(hanging)
    go_wrapper.heal()
    result = hostbuild.beside(hanging.tools[0].pid)("build", root, *NAME, env=go_wrapper.env)
    assert result.digest == read_layout(root / ".func/builds/last/oci").digest
    nothing_lives(hanging)
    assert staged(root) == []


def test_clean_leaves_a_living_builds_tools_alone(hostbuild: Hostbuild, hanging: Hanging, root: Path) -> None:
    assert hostbuild.beside(hanging.process.pid)("clean", root).code == 0
    assert set(hanging.survivors()) >= set(hanging.tools)
    assert hanging.process.poll() is None


def test_a_build_elsewhere_never_ends_a_living_builds_tools(
    hostbuild: Hostbuild, hanging: Hanging, root: Path, tmp_path: Path
) -> None:
    """Somebody may remove `.func` under a running build; that does not make its builder dead."""
    shutil.rmtree(root / ".func")
    # Other code: the same would wait for what the first one makes.
    other = make_source(tmp_path / "other", {**HELLO, "main.go": HELLO["main.go"].replace("hello", "x")})
    beside = hostbuild.beside(hanging.process.pid)
    assert beside("build", other, *NAME, "--platform", "linux/amd64").code == 0
    assert beside("clean", other).code == 0
    assert set(hanging.survivors()) >= set(hanging.tools)


def test_the_tests_commands_touch_nothing_that_they_did_not_start(hostbuild: Hostbuild, root: Path) -> None:
    env = {**os.environ, "HOSTBUILD_BUILD_ID": "0" * 64, "HOSTBUILD_OWNER": "/nowhere/staged"}
    with subprocess.Popen(["sleep", "300"], env=env) as bystander:
        try:
            assert hostbuild("build", root, *NAME, "--platform", "linux/amd64").code == 0
            assert hostbuild("clean", root).code == 0
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_the_first_failure_cancels_the_rest(hostbuild: Hostbuild, go_wrapper: GoWrapper, root: Path) -> None:
    go_wrapper.fail("arm64")
    failing = Hanging(hostbuild, go_wrapper, root, "--platform", "linux/amd64,linux/arm64")
    try:
        result = failing.finish()
        result.fails(1, "linux/arm64", "this compiler fails on purpose")
        nothing_lives(failing)
    finally:
        failing.kill_all()
    assert staged(root) == []


def test_a_killed_worker_fails_the_build(hanging: Hanging, root: Path) -> None:
    workers = [who for who in descendants(hanging.process.pid) if who not in hanging.tools]
    assert workers
    for who in workers:
        os.kill(who.pid, signal.SIGKILL)
    hanging.finish().fails(1)
    nothing_lives(hanging)
    assert staged(root) == []


def test_a_build_that_takes_too_long_is_stopped(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, root: Path
) -> None:
    slow = Hanging(hostbuild, go_wrapper, root, "--timeout", "5")
    try:
        slow.finish().fails(1, "--timeout")
        nothing_lives(slow)
    finally:
        slow.kill_all()
    assert staged(root) == []

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import BuildInProgressError, WaitTimeoutError
from hostbuild.store import locks
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from hostbuild.store.locks import is_held
from tests.store.helpers import (
    BEGIN,
    IDENTITY,
    build_id,
    eventually,
    fill,
    finish,
    kill,
    make_build,
    start,
    tree,
    wait_for_line,
)

ONE = build_id(1)


@pytest.fixture
def builds(tmp_path: Path) -> BuildDir:
    return BuildDir(tmp_path / "project" / ".func")


def test_a_build_is_published_whole(builds: BuildDir, cache: Cache) -> None:
    assert builds.find(ONE) is None
    assert builds.last_build() is None
    with builds.begin(ONE, IDENTITY) as made:
        assert builds.find(ONE) is None
        fill(made, cache)
        assert builds.find(ONE) is None
        path = made.publish()
        assert made.set_last()
    assert builds.find(ONE) == path == str(Path(builds.places.root) / "builds" / "by-hash" / ONE)
    assert os.readlink(builds.last) == f"by-hash/{ONE}"
    assert builds.last_build() == ONE
    record = json.loads(Path(path, "build.json").read_text())
    assert record["buildId"] == ONE
    assert record["schemaVersion"] == 2
    assert record["text"] == "content"
    assert Path(builds.places.root, ".gitignore").read_text() == "*\n"
    assert tree(builds.places.staging) == tree(builds.places.by_pid) == tree(builds.places.trash) == []


def test_a_second_build_in_one_process_works(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    make_build(builds, cache, 1)
    make_build(builds, cache, 2)
    assert builds.last_build() == build_id(2)


def test_looking_creates_nothing(builds: BuildDir) -> None:
    Path(builds.places.root).parent.mkdir()
    assert builds.find(ONE) is None
    assert builds.last_build() is None
    assert builds.pin(ONE) is None
    assert builds.status() == []
    assert builds.clean(lambda identity: True).removed == ()
    assert not os.path.exists(builds.places.root)


def test_a_build_that_fails_leaves_nothing(builds: BuildDir, cache: Cache) -> None:
    def fail() -> None:
        with builds.begin(ONE, IDENTITY) as made:
            fill(made, cache)
            Path(made.work, "cache").mkdir(mode=0o500)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert builds.find(ONE) is None
    assert builds.status() == []
    assert tree(builds.places.by_pid) == []
    make_build(builds, cache, 1)


def test_while_it_runs_it_can_be_seen(builds: BuildDir) -> None:
    with builds.begin(ONE, IDENTITY) as made:
        link = Path(builds.places.by_pid) / str(os.getpid())
        assert os.path.realpath(link) == made.path
        assert not os.path.isabs(os.readlink(link))
        assert is_held(os.path.join(made.path, "owner.lock"))
        assert os.path.isdir(made.work)
        (state,) = builds.status()
        assert (state.state, state.build_id, state.path) == ("running", ONE, made.path)
        assert state.identity == IDENTITY
        assert abs(state.since - time.time()) < 60


def test_the_second_builder_is_told_who_the_first_is(builds: BuildDir, cache: Cache) -> None:
    process = start(BEGIN, builds.places.root, cache.root, ONE, "hold")
    wait_for_line(process, "begun")
    waits: list[Mapping[str, Any] | None] = []
    with pytest.raises(BuildInProgressError, match=str(process.pid)) as caught:
        builds.begin(ONE, IDENTITY, on_wait=waits.append)
    assert caught.value.exit_code == 75
    assert caught.value.extra["pid"] == process.pid
    assert waits == []
    with pytest.raises(WaitTimeoutError, match=str(process.pid)):
        builds.begin(ONE, IDENTITY, wait=0.1, on_wait=waits.append)
    assert [each["pid"] for each in waits if each] == [process.pid]
    process.communicate("\n", timeout=30)
    assert builds.find(ONE)


def test_waiting_ends_with_what_the_other_made(builds: BuildDir, cache: Cache) -> None:
    process = start(BEGIN, builds.places.root, cache.root, ONE, "hold")
    wait_for_line(process, "begun")
    assert process.stdin is not None

    def go(identity: Mapping[str, Any] | None) -> None:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

    with builds.begin(ONE, IDENTITY, wait=None, on_wait=go):
        assert builds.find(ONE)
    kill(process)


def test_kill_9_of_a_builder_frees_its_build(builds: BuildDir, cache: Cache) -> None:
    process = start(BEGIN, builds.places.root, cache.root, ONE, "hold")
    wait_for_line(process, "begun")
    kill(process)
    (state,) = builds.status()
    assert state.state == "stale"
    make_build(builds, cache, 1)
    assert builds.find(ONE)
    assert [each.state for each in builds.status()] == ["stale", "complete"]


def test_another_build_on_the_same_stripe_is_waited_for_and_not_reported(
    builds: BuildDir, cache: Cache
) -> None:
    neighbour = ONE[:3] + "f" * 61
    process = start(BEGIN, builds.places.root, cache.root, neighbour, "hold")
    wait_for_line(process, "begun")
    waits: list[Mapping[str, Any] | None] = []

    def go(identity: Mapping[str, Any] | None) -> None:
        waits.append(identity)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

    with builds.begin(ONE, IDENTITY, wait=0, on_wait=go):
        assert builds.find(neighbour)
        assert builds.find(ONE) is None
    kill(process)
    assert [each["pid"] for each in waits if each] == [process.pid]


def test_different_builds_run_side_by_side(builds: BuildDir, cache: Cache) -> None:
    with builds.begin(ONE, IDENTITY) as one, builds.begin(build_id(2), IDENTITY) as two:
        assert len(os.listdir(builds.places.by_pid)) == 2
        assert one.sequence < two.sequence
        assert [each.state for each in builds.status()] == ["running", "running"]
    assert os.listdir(builds.places.by_pid) == []


def test_threads_of_one_process_are_told_apart_too(builds: BuildDir) -> None:
    errors: list[Exception] = []

    def second() -> None:
        try:
            builds.begin(ONE, IDENTITY)
        except BuildInProgressError as error:
            errors.append(error)

    with builds.begin(ONE, IDENTITY):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(errors) == 1


def test_a_build_id_is_64_hex_digits(builds: BuildDir) -> None:
    for bad in ("", "../" + "a" * 61, "A" * 64, "a" * 64 + "\n"):
        with pytest.raises(ValueError, match="not a build ID"):
            builds.find(bad)


def test_ten_builders_of_one_build_never_overlap(builds: BuildDir, cache: Cache) -> None:
    code = """
import os, sys
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from tests.store.helpers import fill
root, cache, build_id = sys.argv[1:]
builds = BuildDir(root)
with builds.begin(build_id, {"pid": os.getpid()}, wait=None) as staging:
    if builds.find(build_id):
        print("reused")
    else:
        fill(staging, Cache(cache))
        staging.publish()
        staging.set_last()
        print("made")
"""
    processes = [start(code, builds.places.root, cache.root, ONE) for _ in range(6)]
    outputs = sorted(finish(process).strip() for process in processes)
    assert outputs == ["made"] + ["reused"] * 5
    assert builds.last_build() == ONE
    assert tree(builds.places.staging) == tree(builds.places.by_pid) == []


def test_a_pin_is_seen_by_others_until_its_process_ends(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    code = """
import sys
from hostbuild.store.builds import BuildDir
with BuildDir(sys.argv[1]).pin(sys.argv[2]) as pin:
    print("pinned", flush=True)
    sys.stdin.readline()
"""
    record = os.path.join(builds.places.build(ONE), "build.json")
    process = start(code, builds.places.root, ONE)
    wait_for_line(process, "pinned")
    pin = builds.pin(ONE)
    assert pin is not None
    pin.release()
    pin.release()

    def free() -> bool:
        with open(record, "rb") as stream:
            return locks.lock_descriptor(stream.fileno(), record)

    assert not free()
    kill(process)
    eventually(free)

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hostbuild.points import set_hook
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from tests.store.helpers import (
    IDENTITY,
    build_id,
    finish,
    kill,
    make_build,
    make_old,
    start,
    tree,
    wait_for_line,
)

STAGE = """
import os, sys
from hostbuild.store.builds import BuildDir
with BuildDir(sys.argv[1]).begin(sys.argv[2], {"pid": os.getpid(), "host": sys.argv[3]}) as staging:
    open(staging.work + "/half", "w").write("12345")
    print("begun", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def builds(tmp_path: Path) -> BuildDir:
    return BuildDir(tmp_path / ".func")


def test_the_dead_are_cleaned_and_the_living_are_not(builds: BuildDir) -> None:
    dead = start(STAGE, builds.places.root, build_id(1), "here")
    alive = start(STAGE, builds.places.root, build_id(2), "here")
    for process in (dead, alive):
        wait_for_line(process, "begun")
    kill(dead)
    would = builds.clean(lambda identity: True, dry_run=True)
    assert len(os.listdir(builds.places.staging)) == 2
    report = builds.clean(lambda identity: True)
    assert report == would
    assert len(os.listdir(builds.places.staging)) == 1
    assert os.listdir(builds.places.by_pid) == [str(alive.pid)]
    assert os.listdir(builds.places.trash) == []
    assert [each.why for each in report.removed] == [
        f"its builder ended (process {dead.pid})",
        "its process ended",
    ]
    assert report.size > 5
    assert [each.state for each in builds.status()] == ["running"]
    alive.communicate("\n", timeout=30)
    assert alive.returncode == 0
    assert os.listdir(builds.places.staging) == []


@pytest.mark.parametrize("answer", [None, False])
def test_what_cannot_be_judged_is_left_and_reported(builds: BuildDir, answer: bool | None) -> None:
    process = start(STAGE, builds.places.root, build_id(1), "elsewhere")
    wait_for_line(process, "begun")
    kill(process)
    asked: list[object] = []

    def is_ours(identity: Mapping[str, Any]) -> bool | None:
        asked.append(identity["host"])
        return answer

    report = builds.clean(is_ours)
    assert asked == ["elsewhere"]
    assert report.removed == ()
    assert "another machine (elsewhere)" in report.left[0].why
    assert len(os.listdir(builds.places.staging)) == 1
    assert len(os.listdir(builds.places.by_pid)) == 1


def test_a_torn_record_is_judged_by_its_lock(builds: BuildDir) -> None:
    process = start(STAGE, builds.places.root, build_id(1), "here")
    wait_for_line(process, "begun")
    (staged,) = os.listdir(builds.places.staging)
    Path(builds.places.staging, staged, "owner.json").write_text("")
    assert builds.clean(lambda identity: None).removed == ()
    kill(process)
    assert len(builds.clean(lambda identity: None).removed) == 2


def test_old_builds_go_and_the_newest_and_last_stay(builds: BuildDir, cache: Cache) -> None:
    for number in range(1, 7):
        make_build(builds, cache, number, last=number == 1)
    make_old(builds, *range(1, 7))
    report = builds.clean(lambda identity: True, keep=2)
    kept = sorted(os.listdir(builds.places.by_hash))
    assert kept == sorted(build_id(number) for number in (1, 5, 6))
    assert {each.why for each in report.removed} == {"older than the newest 2"}
    assert builds.last_build() == build_id(1)
    assert builds.clean(lambda identity: True, keep=2).removed == ()


def test_bytes_that_came_free_are_not_those_of_the_cache(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1, last=False)
    make_build(builds, cache, 2)
    make_old(builds, 1)
    path = Path(builds.places.build(build_id(1)))
    own = sum(each.stat().st_size for each in path.rglob("*") if each.is_file() and each.stat().st_nlink == 1)
    assert builds.clean(lambda identity: True, keep=1).size == own
    for state in builds.status():
        assert state.size > own


def test_a_young_a_pinned_and_a_building_one_are_kept(builds: BuildDir, cache: Cache) -> None:
    for number in range(1, 6):
        make_build(builds, cache, number)
    make_old(builds, 1, 2, 3, 5)  # 4 was used just now
    pin = builds.pin(build_id(1))
    assert pin is not None
    with builds.begin(build_id(2), IDENTITY) as staging:
        report = builds.clean(lambda identity: True, keep=0)
    assert sorted(os.listdir(builds.places.by_hash)) == sorted(build_id(number) for number in (1, 2, 4, 5))
    assert [(each.path, each.why) for each in report.left] == [
        (staging.path, f"process {IDENTITY['pid']} is making it"),
        (builds.places.build(build_id(4)), "used a moment ago"),
        (pin.path, "in use"),
    ]
    pin.release()
    builds.clean(lambda identity: True, keep=0)
    assert sorted(os.listdir(builds.places.by_hash)) == sorted(build_id(number) for number in (4, 5))


def test_a_time_far_in_the_future_is_no_use_of_a_moment_ago(builds: BuildDir, cache: Cache) -> None:
    """A clock that was wrong must not keep a build for years."""
    for number in (1, 2):
        make_build(builds, cache, number)
    later = time.time() + 1e9
    os.utime(builds.places.build(build_id(1)), (later, later))
    builds.clean(lambda identity: True, keep=0)
    assert os.listdir(builds.places.by_hash) == [build_id(2)]


def test_becoming_last_again_makes_a_build_young(builds: BuildDir, cache: Cache) -> None:
    for number in (1, 2, 3):
        make_build(builds, cache, number)
    make_old(builds, 1, 2, 3)
    builds.touch_last(build_id(1))
    builds.touch_last(build_id(3))
    make_old(builds, 3)
    builds.clean(lambda identity: True, keep=1)
    assert sorted(os.listdir(builds.places.by_hash)) == sorted([build_id(1), build_id(3)])


def test_damaged_builds_go_and_last_does_not_name_them(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    os.unlink(os.path.join(builds.places.build(build_id(1)), "oci", "index.json"))
    (state,) = builds.status()
    assert (state.state, state.last) == ("damaged", True)
    assert "index.json" in state.why
    builds.clean(lambda identity: True, dry_run=True)
    assert os.path.lexists(builds.last)
    report = builds.clean(lambda identity: True)
    assert "damaged" in report.removed[0].why
    assert not os.path.lexists(builds.last)
    assert builds.status() == []


def test_the_trash_and_half_made_things_are_emptied(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    Path(builds.places.trash, "0123").mkdir()
    Path(builds.places.trash, "0123", "file").write_text("12345")
    Path(builds.places.staging, ".new." + "0" * 16).mkdir()
    os.symlink("by-hash/x", os.path.join(builds.places.builds, ".last.0123"))
    os.symlink("../staging/gone", os.path.join(builds.places.by_pid, "1"))
    foreign = Path(builds.places.staging, "notes")
    foreign.mkdir()
    before = tree(builds.places.root)
    would = builds.clean(lambda identity: True, dry_run=True)
    assert tree(builds.places.root) == before
    report = builds.clean(lambda identity: True)
    assert sorted(each.why for each in report.removed) == sorted(each.why for each in would.removed)
    assert report.size == 5
    assert os.listdir(builds.places.trash) == os.listdir(builds.places.by_pid) == []
    assert os.listdir(builds.places.staging) == ["notes"]
    assert ".last.0123" not in os.listdir(builds.places.builds)


@pytest.mark.parametrize("name", ["clean-before-trash", "clean-before-delete"])
def test_a_killed_cleaner_is_followed_by_the_next(builds: BuildDir, cache: Cache, name: str) -> None:
    make_build(builds, cache, 1, last=False)
    make_build(builds, cache, 2)
    make_old(builds, 1)
    code = """
import os, sys
from hostbuild.store.builds import BuildDir
from hostbuild.points import set_hook
set_hook(lambda name: os.kill(os.getpid(), 9) if name == sys.argv[2] else None)
BuildDir(sys.argv[1]).clean(lambda identity: True, keep=1)
"""
    process = start(code, builds.places.root, name)
    assert process.wait() == -9
    kill(process)
    assert (builds.find(build_id(1)) is None) == (name == "clean-before-delete")
    builds.clean(lambda identity: True, keep=1)
    assert os.listdir(builds.places.by_hash) == [build_id(2)]
    assert os.listdir(builds.places.trash) == []


def test_another_tools_builds_and_links_are_left(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    other = Path(builds.places.by_hash, "f" * 64)
    (other / "oci").mkdir(parents=True)
    os.symlink("../by-hash/" + "f" * 64, os.path.join(builds.places.by_pid, "7"))
    (Path(builds.places.by_hash) / "notes").mkdir()
    report = builds.clean(lambda identity: True, keep=0)
    assert report.removed == ()
    assert [each.why for each in report.left] == ["not made by hostbuild"]
    assert (other / "oci").is_dir()
    assert os.listdir(builds.places.by_pid) == ["7"]
    assert len(builds.status()) == 1


def test_cleaning_beside_builders_harms_none(builds: BuildDir, cache: Cache) -> None:
    code = """
import os, sys
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from tests.store.helpers import build_id, make_build
builds, cache = BuildDir(sys.argv[1]), Cache(sys.argv[2])
for number in range(8):
    mine = int(sys.argv[3]) * 16 + number
    make_build(builds, cache, mine)
    assert builds.find(build_id(mine))
"""
    processes = [start(code, builds.places.root, cache.root, str(each)) for each in (1, 2)]
    while any(process.poll() is None for process in processes):
        builds.clean(lambda identity: True, keep=0)
        for state in builds.status():
            assert state.state in {"running", "complete"}
        time.sleep(0.005)
    for process in processes:
        finish(process)
    assert builds.last_build()
    assert os.listdir(builds.places.staging) == os.listdir(builds.places.trash) == []


def test_a_paused_cleaner_does_not_see_a_builder_as_dead(builds: BuildDir, cache: Cache) -> None:
    """A builder that starts while a cleaner works waits for the short lock, and lives."""
    dead = start(STAGE, builds.places.root, build_id(1), "here")
    wait_for_line(dead, "begun")
    kill(dead)
    started: list[subprocess.Popen[str]] = []

    def begin_meanwhile(name: str) -> None:
        if name == "clean-before-trash" and not started:
            started.append(start(STAGE, builds.places.root, build_id(2), "here"))
            time.sleep(0.3)

    set_hook(begin_meanwhile)
    builds.clean(lambda identity: True)
    wait_for_line(started[0], "begun")
    assert [each.state for each in builds.status()] == ["running"]
    started[0].communicate("\n", timeout=30)
    assert started[0].returncode == 0

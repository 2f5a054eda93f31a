from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hostbuild.errors import StoreError
from hostbuild.points import set_hook
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from hostbuild.store.trees import remove_tree
from tests.store.helpers import IDENTITY, build_id, fill, make_build, start, tree, wait_for_line

ONE, TWO, THREE = build_id(1), build_id(2), build_id(3)


@pytest.fixture
def builds(tmp_path: Path) -> BuildDir:
    return BuildDir(tmp_path / ".func")


class StoppedError(Exception):
    pass


def stop_at(point: str) -> None:
    def stop(name: str) -> None:
        if name == point:
            set_hook(None)
            raise StoppedError

    set_hook(stop)


def test_a_build_that_was_started_earlier_does_not_win(builds: BuildDir, cache: Cache) -> None:
    with builds.begin(ONE, IDENTITY) as older:
        with builds.begin(TWO, IDENTITY) as newer:
            fill(newer, cache, "newer")
            newer.publish()
            assert newer.set_last()
        fill(older, cache, "older")
        older.publish()
        assert not older.set_last()
    assert builds.last_build() == TWO
    assert builds.find(ONE)


def test_up_to_date_is_a_later_wish_than_a_running_build(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    with builds.begin(TWO, IDENTITY) as running:
        assert builds.touch_last(ONE)
        fill(running, cache, "running")
        running.publish()
        assert not running.set_last()
    assert builds.last_build() == ONE
    assert builds.touch_last(TWO)
    assert builds.last_build() == TWO


def test_touching_what_is_last_already_writes_nothing(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    before = {
        name: os.lstat(os.path.join(builds.places.builds, name)).st_ino
        for name in tree(builds.places.root + "/builds")
        if "/" not in name
    }
    code = """
import sys
from hostbuild.store.builds import BuildDir
builds = BuildDir(sys.argv[1])
assert builds.find(sys.argv[2]) and builds.touch_last(sys.argv[2])
print("filelock" in sys.modules)
"""
    process = start(code, builds.places.root, ONE)
    wait_for_line(process, "False")
    process.communicate()
    after = {name: os.lstat(os.path.join(builds.places.builds, name)).st_ino for name in before}
    assert before == after


def test_touching_what_is_gone_is_an_error(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    with pytest.raises(StoreError, match="cannot become the last build"):
        builds.touch_last(TWO)
    assert builds.last_build() == ONE


@pytest.mark.parametrize("point", ["last-before-link", "link-before-swap"])
def test_a_crash_between_record_and_link_does_not_let_an_older_build_win(
    builds: BuildDir, cache: Cache, point: str
) -> None:
    make_build(builds, cache, 1)
    with builds.begin(TWO, IDENTITY) as older:
        fill(older, cache, "older")
        older.publish()
        with builds.begin(THREE, IDENTITY) as newer:
            fill(newer, cache, "newer")
            newer.publish()
            stop_at(point)
            with pytest.raises(StoppedError):
                newer.set_last()
        assert builds.last_build() == ONE
        assert not older.set_last()
    assert builds.last_build() == THREE


def test_a_crash_then_up_to_date_keeps_the_later_wish(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    make_build(builds, cache, 2, last=False)
    stop_at("last-before-link")
    with pytest.raises(StoppedError):
        builds.set_last(TWO, 100)
    assert builds.last_build() == ONE
    assert builds.touch_last(ONE)  # the link names it, the record does not: not the fast way
    builds.clean(lambda identity: True)
    assert builds.last_build() == ONE


def test_a_record_whose_build_is_gone_binds_nobody(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    make_build(builds, cache, 2)
    assert builds.set_last(TWO, 1000)
    remove_tree(builds.places.build(TWO))
    assert builds.last_build() is None
    assert builds.set_last(ONE, 5)
    assert builds.last_build() == ONE


@pytest.mark.parametrize("name", ["last.json", "sequence"])
@pytest.mark.parametrize(
    "text", ["", "\x00" * 9, "[1]", "-7", "9" * 5000, '{"buildId":"../..","sequence":9}']
)
def test_torn_numbers_do_not_stop_builds(builds: BuildDir, cache: Cache, name: str, text: str) -> None:
    make_build(builds, cache, 1)
    Path(builds.places.builds, name).write_text(text)
    make_build(builds, cache, 2)
    assert builds.last_build() == TWO
    make_build(builds, cache, 3)
    assert builds.last_build() == THREE


def test_a_lost_sequence_file_does_not_let_numbers_go_back(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    with builds.begin(TWO, IDENTITY) as running:
        os.unlink(builds.places.sequence)
        with builds.begin(THREE, IDENTITY) as later:
            assert later.sequence > running.sequence > 1


def test_a_planted_high_number_does_not_stop_last(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    Path(builds.places.last_record).write_text(json.dumps({"buildId": ONE, "sequence": 10**30}))
    make_build(builds, cache, 2)
    assert builds.last_build() == TWO


def test_another_tools_link_is_taken_over(builds: BuildDir, cache: Cache) -> None:
    other = "f" * 64
    os.makedirs(os.path.join(builds.places.by_hash, other, "oci"))
    os.symlink(f"by-hash/{other}", builds.last)
    assert builds.last_build() is None
    builds.clean(lambda identity: True)
    make_build(builds, cache, 1, last=False)
    builds.clean(lambda identity: True)
    assert os.readlink(builds.last) == f"by-hash/{other}"
    assert os.path.isdir(os.path.join(builds.places.by_hash, other))
    make_build(builds, cache, 2)
    assert builds.last_build() == TWO


def test_readers_of_last_always_find_a_complete_layout(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    code = """
import json, os, sys
print("reading", flush=True)
count = 0
while not os.path.exists(sys.argv[1] + "/stop"):
    with open(sys.argv[1] + "/builds/last/oci/index.json") as stream:
        json.load(stream)
    count += 1
print(count > 0)
"""
    reader = start(code, builds.places.root)
    wait_for_line(reader, "reading")
    for number in (2, 1, 3, 2, 1, 1, 3):
        make_build(builds, cache, number)
        builds.touch_last(build_id(number))
        builds.clean(lambda identity: True, keep=1)
    Path(builds.places.root, "stop").touch()
    output, _ = reader.communicate(timeout=30)
    assert reader.returncode == 0
    assert output.strip() == "True"

"""Which complete builds a cleaning removes, and how many bytes it says came free."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hostbuild.points import set_hook
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from hostbuild.store.report import CleanReport, duration
from tests.store.helpers import build_id, kill, make_build, make_old, start, tree

DAY = 86_400.0


@pytest.fixture
def builds(tmp_path: Path) -> BuildDir:
    return BuildDir(tmp_path / ".func")


def use(builds: BuildDir, days: dict[int, float]) -> None:
    """Say of each build how many days ago it was used."""
    for number, ago in days.items():
        when = time.time() - ago * DAY - 60
        os.utime(builds.places.build(build_id(number)), (when, when))


def kept(builds: BuildDir) -> list[int]:
    return sorted(int(name[:3], 16) for name in os.listdir(builds.places.by_hash))


def clean(
    builds: BuildDir, *, keep: int = 0, older_than: float | None = None, everything: bool = False
) -> CleanReport:
    """Clean after a dry run, which must say the same."""
    before = tree(builds.places.root)
    reports = [
        builds.clean(lambda _: True, keep=keep, older_than=older_than, everything=everything, dry_run=dry)
        for dry in (True, False)
    ]
    assert reports[0] == reports[1]
    assert (tree(builds.places.root) == before) == (not reports[1].removed)
    return reports[1]


def test_only_what_was_not_used_for_so_long_goes(builds: BuildDir, cache: Cache) -> None:
    for number in range(1, 6):
        make_build(builds, cache, number)
    use(builds, {1: 30, 2: 9, 3: 8, 4: 6, 5: 20})  # `last` names the fifth
    assert clean(builds, older_than=40 * DAY).removed == ()
    report = clean(builds, older_than=7 * DAY, keep=2)
    assert kept(builds) == [3, 4, 5]  # 3 and 4 are the newest two
    assert {each.why for each in report.removed} == {"not used for 30 days", "not used for 9 days"}
    clean(builds, older_than=7 * DAY)
    assert kept(builds) == [4, 5]


def test_everything_goes_and_last_with_it(builds: BuildDir, cache: Cache) -> None:
    for number in (1, 2, 3):
        make_build(builds, cache, number)
    use(builds, {1: 9, 2: 1, 3: 8})
    clean(builds, everything=True, older_than=8.5 * DAY)
    assert kept(builds) == [2, 3]
    assert builds.last_build() == build_id(3)
    report = clean(builds, everything=True)
    assert kept(builds) == []
    assert [each.why for each in report.removed if each.path == builds.last] == [
        "the build that it named goes"
    ]
    assert not os.path.lexists(builds.last)
    assert not os.path.lexists(builds.places.last_record)
    make_build(builds, cache, 3)
    assert builds.last_build() == build_id(3)


def test_of_everything_a_pinned_and_a_young_one_stay(builds: BuildDir, cache: Cache) -> None:
    for number in (1, 2, 3):
        make_build(builds, cache, number)
    use(builds, {1: 1, 2: 1})
    pin = builds.pin(build_id(1))
    assert pin is not None
    report = clean(builds, everything=True)
    assert kept(builds) == [1, 3]
    assert {(os.path.basename(each.path)[:3], each.why) for each in report.left} == {
        ("001", "in use"),
        ("003", "used a moment ago"),
    }
    assert builds.last_build() == build_id(3)
    pin.release()


def test_a_pinned_last_keeps_its_name(builds: BuildDir, cache: Cache) -> None:
    make_build(builds, cache, 1)
    use(builds, {1: 1})
    pin = builds.pin(build_id(1))
    assert pin is not None
    assert clean(builds, everything=True).removed == ()
    assert builds.last_build() == build_id(1)
    pin.release()


def test_a_cleaner_that_dies_after_last_is_put_right(builds: BuildDir, cache: Cache) -> None:
    """The link is gone and the build is not: it is complete, so it gets its name back, or goes."""
    make_build(builds, cache, 1)
    use(builds, {1: 1})
    code = """
import os, sys
from hostbuild.points import set_hook
from hostbuild.store.builds import BuildDir
set_hook(lambda name: os.kill(os.getpid(), 9) if name == "clean-after-last" else None)
BuildDir(sys.argv[1]).clean(lambda identity: True, everything=True)
"""
    process = start(code, builds.places.root)
    assert process.wait() == -9
    kill(process)
    assert not os.path.lexists(builds.last)
    assert builds.find(build_id(1))
    builds.clean(lambda identity: True)
    assert builds.last_build() == build_id(1)


def test_what_is_shared_frees_its_bytes_once_and_only_at_the_end(
    builds: BuildDir, cache: Cache, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        make_build(builds, cache, number)
    shared = tmp_path / "shared"
    shared.write_bytes(b"x" * 1_000_000)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"y" * 3_000_000)
    for number in (1, 2):
        os.link(shared, os.path.join(builds.places.build(build_id(number)), "shared"))
        os.link(elsewhere, os.path.join(builds.places.build(build_id(number)), "elsewhere"))
    shared.unlink()
    make_old(builds, 1, 2, 3)
    report = clean(builds, keep=2)
    assert kept(builds) == [2, 3]
    assert report.size < 100_000  # the second build still has it
    report = clean(builds, keep=1)
    assert 1_000_000 < report.size < 1_100_000


def test_two_names_in_one_cleaning_free_their_bytes_once(
    builds: BuildDir, cache: Cache, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        make_build(builds, cache, number)
    for number in (1, 2):
        path = os.path.join(builds.places.build(build_id(number)), "shared")
        if number == 1:
            Path(path).write_bytes(b"x" * 1_000_000)
        else:
            os.link(os.path.join(builds.places.build(build_id(1)), "shared"), path)
    make_old(builds, 1, 2)
    report = clean(builds)
    assert 1_000_000 < report.size < 1_100_000


def test_one_that_ends_while_it_is_judged_is_no_error(builds: BuildDir, cache: Cache) -> None:
    with builds.begin(build_id(1), {}) as staging:
        path = staging.path
    os.mkdir(path)  # free, and gone when it is to be thrown away
    set_hook(lambda name: os.rmdir(path) if name == "clean-before-trash" else None)
    assert builds.clean(lambda identity: True).removed == ()


def test_what_cannot_be_deleted_is_left_and_the_rest_goes(
    builds: BuildDir, monkeypatch: pytest.MonkeyPatch, cache: Cache
) -> None:
    builds.prepare()
    for name in ("a", "b"):
        Path(builds.places.trash, name).write_text("12345")

    def remove(path: str) -> int:
        if path.endswith("a"):
            raise PermissionError(1, "Operation not permitted", path)
        os.unlink(path)
        return 5

    monkeypatch.setattr("hostbuild.store.sweeping.remove_tree", remove)
    report = builds.clean(lambda identity: True)
    assert [(os.path.basename(each.path), each.size) for each in report.removed] == [("b", 5)]
    assert ["not permitted" in each.why for each in report.left] == [True]


def test_leftovers_are_what_no_living_builder_has(builds: BuildDir, cache: Cache) -> None:
    assert not builds.has_leftovers()
    make_build(builds, cache, 1)
    assert not builds.has_leftovers()
    with builds.begin(build_id(2), {}):
        assert not builds.has_leftovers()
        Path(builds.places.trash, "0123").mkdir()
        assert builds.has_leftovers()
        Path(builds.places.trash, "0123").rmdir()
    Path(builds.places.staging, "0" * 12 + "." + "0" * 16).mkdir()
    assert builds.has_leftovers()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")],
)
def test_times_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text

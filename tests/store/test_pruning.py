from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import StoreError
from hostbuild.oci.digest import Digest
from hostbuild.points import set_hook
from hostbuild.store import inventory, pruning
from hostbuild.store.cache import Cache
from hostbuild.store.claims import lock_sweep
from hostbuild.store.inventory import last_pruned, take_inventory
from hostbuild.store.locks import hold
from hostbuild.store.pruning import INTERVAL, RECORD_AGE, Goals, PruneReport, prune, prune_if_due
from tests.store.helpers import FaultyOs, failing, finish, kill, start, tree

DAY = 86400.0
ALL = Goals(everything=True)


def fill(cache: Cache, count: int = 5, size: int = 100) -> list[Digest]:
    """Blobs of `size` bytes; the first was used `count` days ago, the last yesterday. None is claimed."""
    digests = []
    with Cache(cache.root) as other:
        for number in range(count):
            digest, _ = other.blobs.put(f"{number:0{size}}".encode())
            use(cache, digest, count - number)
            digests.append(digest)
    return digests


def use(cache: Cache, digest: Digest, days: float) -> None:
    """It was last used so many days ago."""
    when = time.time() - days * DAY
    os.utime(cache.blobs.path(digest), (when, when))


def record(cache: Cache, key: str, value: dict[str, Any], *, days: float = 1) -> str:
    cache.keys.put(key * 32, value)
    when = time.time() - days * DAY
    os.utime(cache.keys.path(key * 32), (when, when))
    return cache.keys.path(key * 32)


def gone(report: PruneReport) -> list[str]:
    return [each.path for each in report.removed]


def left(cache: Cache, digests: list[Digest]) -> list[int]:
    return [number for number, each in enumerate(digests) if os.path.exists(cache.blobs.path(each))]


@pytest.mark.parametrize(("most", "stay"), [(0, 5), (500, 5), (499, 4), (250, 2), (100, 1), (99, 0), (1, 0)])
def test_least_recently_used_goes_first_until_the_goal_is_met(cache: Cache, most: int, stay: int) -> None:
    digests = fill(cache)
    report = prune(cache, Goals(max_used=most))
    assert left(cache, digests) == list(range(5 - stay, 5))
    assert gone(report) == [cache.blobs.path(each) for each in digests[: 5 - stay]]
    assert {each.why for each in report.removed} <= {"the cache is larger than it may be"}
    assert (report.size, report.freed, report.used) == ((5 - stay) * 100, (5 - stay) * 100, stay * 100)
    assert report.unmet == ()


def test_what_is_used_becomes_young(cache: Cache) -> None:
    digests = fill(cache)
    with Cache(cache.root) as builder:
        assert builder.blobs.claim(digests[0], 100)
    prune(cache, Goals(max_used=200))
    assert left(cache, digests) == [0, 4]


def test_room_is_made_on_the_disk(cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    digests = fill(cache)
    os.link(cache.blobs.path(digests[0]), tmp_path / "in a layout")
    monkeypatch.setattr(pruning, "free_space", lambda directory: 1000)
    report = prune(cache, Goals(min_free=1150))
    assert left(cache, digests) == [0, 3, 4]  # to remove the first would free nothing
    assert (report.freed, report.free, report.unmet) == (200, 1200, ())
    report = prune(cache, Goals(min_free=5000))
    assert left(cache, digests) == [0]
    assert report.unmet == ("min-free-space",)


def test_a_blob_with_further_links_frees_nothing(cache: Cache, tmp_path: Path) -> None:
    digests = fill(cache, 2)
    os.link(cache.blobs.path(digests[0]), tmp_path / "in a layout")
    report = prune(cache, Goals(max_used=1))
    assert left(cache, digests) == []
    assert (report.size, report.freed) == (200, 100)
    assert [(each.size, each.freed) for each in report.removed] == [(100, 0), (100, 100)]
    assert len((tmp_path / "in a layout").read_bytes()) == 100


def test_old_ones_go(cache: Cache) -> None:
    digests = fill(cache)
    report = prune(cache, Goals(older_than=2.5 * DAY))
    assert left(cache, digests) == [3, 4]
    assert [each.why for each in report.removed] == [f"not used for {days} days" for days in (5, 4, 3)]


def test_a_dry_run_tells_the_same_and_touches_nothing(cache: Cache) -> None:
    digests = fill(cache)
    record(cache, "ab", {"digest": str(digests[0]), "size": 100})
    before = tree(cache.root)
    goals = Goals(max_used=450)
    told = prune(cache, goals, dry_run=True)
    assert tree(cache.root) == before
    assert last_pruned(cache) is None
    done = prune(cache, goals)
    assert gone(done) == gone(told)
    assert (done.used, done.size, done.freed) == (told.used, told.size, told.freed)


def test_what_is_claimed_stays_and_is_told(cache: Cache) -> None:
    digests = fill(cache)
    with Cache(cache.root) as builder:
        for each in digests[:2]:
            assert builder.blobs.claim(each, 100)
        for dry in (True, False):
            report = prune(cache, Goals(max_used=100), dry_run=dry)
            assert (report.used, report.in_use, report.unmet) == (200, 200, ("max-used-space",))
        assert left(cache, digests) == [0, 1]


def test_what_was_used_since_the_walk_stays(cache: Cache) -> None:
    """A whole build comes and goes between the walk and the removal."""
    digests = fill(cache)

    def build(name: str) -> None:
        set_hook(None)
        os.utime(cache.blobs.path(digests[1]))

    set_hook(lambda name: build(name) if name == "prune-after-remove" else None)
    prune(cache, ALL)
    assert left(cache, digests) == [1]


def test_records_go_with_their_blobs_and_with_age(cache: Cache) -> None:
    digests = fill(cache, 3)
    old, young = RECORD_AGE / DAY + 1, 2
    whole = record(cache, "aa", {"digest": str(digests[2]), "size": 100})
    broken = record(
        cache, "bb", {"layers": [{"digest": str(each), "size": 100} for each in (digests[2], digests[0])]}
    )
    unnamed = record(cache, "cc", {"a": 1}, days=young)
    forgotten = record(cache, "dd", {"a": 1}, days=old)
    dead = record(cache, "ee", {"digest": str(Digest.of(b"never")), "size": 5})
    tag = record(cache, "ff", {"digest": str(Digest.of(b"a base's digest, and no blob"))})
    used = sum(os.stat(each).st_size for each in (whole, broken, unnamed, forgotten, dead, tag)) + 300
    report = prune(cache, Goals(max_used=used - 1))
    assert left(cache, digests) == [1, 2]
    whys = {each.path: each.why for each in report.removed if each.kind == "record"}
    assert whys == {
        forgotten: f"not used for {int(old)} days",
        dead: "the blob that it names is gone",
        broken: "the blob that it names is gone",
    }
    assert [os.path.exists(each) for each in (whole, unnamed, tag)] == [True] * 3
    prune(cache, Goals(older_than=1.5 * DAY))
    assert [os.path.exists(each) for each in (whole, unnamed, tag)] == [True, False, True]
    prune(cache, ALL)
    assert not os.path.exists(whole)


def test_strays_are_left_alone(cache: Cache) -> None:
    fill(cache, 1)
    blobs = Path(cache.blobs.directory)
    strays = [blobs / "file", blobs / "sha256" / "file", blobs / "sha256" / "00" / "file"]
    strays += [blobs / "md5" / "00" / ("0" * 32), blobs / "sha256" / "00" / ("1" * 64)]
    for stray in strays:
        stray.parent.mkdir(parents=True, exist_ok=True)
        stray.write_text("x")
    (blobs / "sha256" / "00" / ("0" * 64)).symlink_to("/etc/passwd")
    (Path(cache.keys.directory) / "stray").write_text("x")
    assert len(prune(cache, ALL).removed) == 1
    assert all(stray.exists() for stray in strays)
    assert (blobs / "sha256" / "00" / ("0" * 64)).is_symlink()


def test_an_empty_cache_and_one_that_vanishes(cache: Cache) -> None:
    assert prune(cache, ALL).removed == ()
    fill(cache, 1)
    os.rename(cache.blobs.directory, cache.blobs.directory + ".away")
    assert prune(cache, ALL).removed == ()


def test_what_another_prune_removed_counts_as_gone(cache: Cache) -> None:
    digests = fill(cache)

    def other(name: str) -> None:
        set_hook(None)
        for each in digests[1:3]:
            os.unlink(cache.blobs.path(each))

    set_hook(lambda name: other(name) if name == "prune-before-remove" else None)
    report = prune(cache, Goals(max_used=200))
    assert left(cache, digests) == [3, 4]
    assert gone(report) == [cache.blobs.path(digests[0])]


def test_a_fault_is_a_clear_error(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = fill(cache)
    monkeypatch.setattr(pruning, "remove_file", failing(errno.EIO))
    with pytest.raises(StoreError, match="input/output error"):
        prune(cache, ALL)
    os.close(lock_sweep(cache.claims.sweep_lock, shared=False))  # it is free
    assert left(cache, digests) == [0, 1, 2, 3, 4]
    monkeypatch.setattr(inventory, "os", FaultyOs(scandir=failing(errno.EACCES)))
    with pytest.raises(StoreError, match="permission"):
        prune(cache, ALL)


PRUNE = """
import os, sys
from hostbuild.points import set_hook
from hostbuild.store.cache import Cache
from hostbuild.store.pruning import Goals, prune
set_hook(lambda name: os.kill(os.getpid(), 9) if name == sys.argv[2] else None)
prune(Cache(sys.argv[1]), Goals(everything=True))
"""


@pytest.mark.parametrize(
    ("point", "stay"), [("prune-before-remove", [0, 1, 2, 3, 4]), ("prune-after-remove", [1, 2, 3, 4])]
)
def test_a_killed_prune_loses_nothing_and_stops_nobody(cache: Cache, point: str, stay: list[int]) -> None:
    digests = fill(cache)
    kept = record(cache, "ab", {"digest": str(digests[4]), "size": 100})
    lost = record(cache, "cd", {"digest": str(digests[0]), "size": 100})
    process = start(PRUNE, cache.root, point)
    assert process.wait() == -9
    kill(process)
    assert left(cache, digests) == stay
    for each in stay:
        cache.blobs.verify(digests[each], 100)
    assert (os.path.exists(kept), os.path.exists(lost)) == (True, True)
    with Cache(cache.root) as builder:
        assert builder.blobs.claim(digests[4], 100)
        assert builder.recorded("ab" * 32)
        assert (builder.recorded("cd" * 32) is not None) == (0 in stay)
        prune(cache, ALL)
        assert left(cache, digests) == sorted({4, *([0] if 0 in stay else [])})


def test_nobody_asked_so_it_is_done_once_an_hour(cache: Cache) -> None:
    digests = fill(cache)
    assert prune_if_due(cache, Goals()) is None
    report = prune_if_due(cache, Goals(max_used=300))
    assert report is not None
    assert left(cache, digests) == [2, 3, 4]
    assert prune_if_due(cache, Goals(max_used=200)) is None
    pruned = last_pruned(cache)
    assert pruned is not None
    os.utime(cache.stamp, (pruned - INTERVAL - 1,) * 2)
    with hold(os.path.join(cache.root, "locks", "prune.lock")):
        assert prune_if_due(cache, Goals(max_used=200)) is None
    assert prune_if_due(cache, Goals(max_used=200)) is not None
    assert left(cache, digests) == [3, 4]
    os.utime(cache.stamp, (pruned + 1e6,) * 2)  # the clock was set back
    assert prune_if_due(cache, Goals(max_used=100)) is not None
    assert left(cache, digests) == [4]


def test_one_that_failed_is_not_tried_by_each_build(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(cache)
    with monkeypatch.context() as patched:
        patched.setattr(pruning, "remove_file", failing(errno.EIO))
        with pytest.raises(StoreError):
            prune_if_due(cache, Goals(max_used=1))
    assert prune_if_due(cache, Goals(max_used=1)) is None


def test_an_inventory_counts(cache: Cache, tmp_path: Path) -> None:
    digests = fill(cache)
    os.link(cache.blobs.path(digests[0]), tmp_path / "in a layout")
    path = record(cache, "ab", {"a": 1})
    Path(cache.root, "tmp", "tmp.1.0123456789abcdef").write_text("12345")
    Path(cache.claims.directory, "claim.77.0123456789abcdef").touch()
    with Cache(cache.root, owner="me") as builder:
        builder.claims.begin()
        found = take_inventory(cache)
    assert (found.blobs, found.linked, found.records) == ((5, 500), (1, 100), (1, os.stat(path).st_size))
    assert (found.temp, found.claims, found.dead_claims, found.pruned) == ((1, 5), ("me",), 1, None)
    prune(cache, Goals())
    assert take_inventory(cache).pruned == pytest.approx(time.time(), abs=60)


#: A builder: claims or makes blobs of a small common set, then links each. Prints how often one was missing.
BUILDER = """
import os, random, sys, time
if sys.argv[4] == "without lock":
    import hostbuild.store.claims as claims
    claims.lock_sweep = lambda path, *, shared: os.open(os.devnull, os.O_RDONLY)
from hostbuild.errors import StoreError
from hostbuild.oci.digest import Digest
from hostbuild.store.cache import Cache
root, work, seed = sys.argv[1:4]
dice = random.Random(seed)
blobs = {Digest.of(data): data for data in (b"blob %d" % number for number in range(12))}
end = time.monotonic() + float(sys.argv[5])
missing = rounds = found = 0
while time.monotonic() < end:
    rounds += 1
    with Cache(root) as cache:
        chosen = dice.sample(sorted(blobs, key=str), 6)
        for digest in chosen:
            if cache.blobs.claim(digest, len(blobs[digest])):
                found += 1
            else:
                try:
                    cache.blobs.put(blobs[digest])
                except StoreError:  # taken away between two steps of the commit
                    missing += 1
        for digest in chosen:
            link = f"{work}/{seed}.{digest.hex}"
            try:
                os.link(cache.blobs.path(digest), link)
                os.unlink(link)
            except FileNotFoundError:
                missing += 1
print(missing, rounds, found)
"""

#: `prune --all` in a loop, with the real lock or without one.
PRUNER = """
import os, sys, time
import hostbuild.store.pruning as pruning
from hostbuild.store.cache import Cache
if sys.argv[2] == "without lock":
    pruning.lock_sweep = lambda path, *, shared: os.open(os.devnull, os.O_RDONLY)
    real = pruning.remove_file
    pruning.remove_file = lambda path: time.sleep(0.002) or real(path)
pruning._PAUSE = 0.0005
cache = Cache(sys.argv[1])
end = time.monotonic() + float(sys.argv[3])
removed = 0
while time.monotonic() < end:
    removed += len(pruning.prune(cache, pruning.Goals(everything=True)).removed)
print(removed)
"""


def stress(cache: Cache, tmp_path: Path, how: str, seconds: float) -> tuple[int, int, int]:
    """How often a claimed blob was missing, how many were found here, and how many were pruned."""
    builders = [
        start(BUILDER, cache.root, tmp_path, str(seed), how, str(seconds)) for seed in range(4)
    ]  # fmt: skip
    pruners = [start(PRUNER, cache.root, how, str(seconds)) for _ in range(2)]
    figures = [[int(word) for word in finish(each).split()] for each in builders]
    removed = sum(int(finish(each)) for each in pruners)
    return sum(each[0] for each in figures), sum(each[2] for each in figures), removed


def test_builders_beside_prunes_never_miss_what_they_claimed(cache: Cache, tmp_path: Path) -> None:
    missing, found, removed = stress(cache, tmp_path, "with lock", 2.0)
    assert (missing, found > 0, removed > 0) == (0, True, True)


def test_without_the_lock_the_same_builders_do_miss_some(cache: Cache, tmp_path: Path) -> None:
    """What the test above can see."""
    assert stress(cache, tmp_path, "without lock", 2.0)[0] > 0


def test_a_builder_beside_a_prune_waits_for_a_step_only(cache: Cache) -> None:
    """The lock is given up between steps: a look comes through before the prune is over."""
    fill(cache, 3 * pruning._STEP, size=20)
    digest, size = Cache(cache.root).blobs.put(b"needed")
    looks: list[int] = []
    code = (
        "import sys; from hostbuild.store.cache import Cache; from hostbuild.oci.digest import Digest\n"
        "print(Cache(sys.argv[1]).blobs.claim(Digest.of(b'needed'), 6))"
    )

    def look(name: str) -> None:
        if name == "prune-before-remove" and not looks:
            looks.append(0)
            waiting.append(start(code, cache.root))

    waiting: list[subprocess.Popen[str]] = []
    set_hook(look)
    pruning_time = Goals(older_than=0.5 * DAY)
    assert len(prune(cache, pruning_time).removed) == 3 * pruning._STEP
    assert finish(waiting[0]).strip() == "True"
    assert cache.blobs.has(digest, size)

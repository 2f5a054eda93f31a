"""A build directory in which a neighbour, or a checked-out source, has planted something."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import StoreError
from hostbuild.housekeeping import ran_here
from hostbuild.process.liveness import Identity
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from hostbuild.store.finding import find_build_directories, stranger_of
from tests.store.helpers import FaultyOs, build_id, make_build, make_old, tree

STAGED = "0" * 12 + "." + "0" * 16


@pytest.fixture
def builds(tmp_path: Path, cache: Cache) -> BuildDir:
    """A build directory with one build."""
    found = BuildDir(tmp_path / "source/.func")
    make_build(found, cache, 1)
    return found


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory of somebody else's, in which each name that hostbuild knows leads to something."""
    directory = tmp_path / "victim"
    for name in ("file", "by-hash/file", f"{STAGED}/file", f"{build_id(2)}/build.json", ".new." + "0" * 16):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    (directory / "dangling").symlink_to("nowhere")
    return directory


@pytest.fixture
def staged(builds: BuildDir) -> Path:
    """The directory of a dead builder, without a record."""
    path = Path(builds.places.staging, STAGED)
    path.mkdir()
    (path / "owner.lock").touch()
    return path


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "300"])
    yield process
    process.kill()
    process.wait()


def everything_cleaned(builds: BuildDir) -> None:
    for dry in (True, False):
        builds.clean(ran_here, everything=True, dry_run=dry)


def test_a_link_in_the_place_of_the_build_directory_is_refused(builds: BuildDir, tmp_path: Path) -> None:
    trap = tmp_path / "other/.func"
    trap.parent.mkdir()
    trap.symlink_to(builds.places.root)
    before = tree(builds.places.root)
    for action in (BuildDir(trap).status, lambda: everything_cleaned(BuildDir(trap))):
        with pytest.raises(StoreError, match="symbolic link") as caught:
            action()
        assert "--build-dir" in caught.value.fix
    assert tree(builds.places.root) == before
    found = find_build_directories(str(tmp_path), lambda *_: None)
    assert [places.root for places in found] == [builds.places.root]


@pytest.mark.parametrize("name", ["", "by-hash", "by-pid", "staging", "locks", "trash"])
@pytest.mark.parametrize("kind", ["link", "file", "pipe"])
def test_what_stands_in_the_place_of_a_directory_is_refused(
    builds: BuildDir, victim: Path, tmp_path: Path, name: str, kind: str
) -> None:
    path = Path(builds.places.builds, name)
    path.rename(tmp_path / "aside")
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.touch()
    before = tree(victim)
    for action in (builds.status, lambda: everything_cleaned(builds)):
        with pytest.raises(StoreError, match=f'will not use "{path}"'):
            action()
    assert tree(victim) == before


@pytest.mark.parametrize("kind", ["link", "directory", "file"])
@pytest.mark.parametrize("recorded", [True, False])
def test_what_stands_in_the_place_of_last_keeps_no_dead_build(
    builds: BuildDir, victim: Path, staged: Path, kind: str, recorded: bool
) -> None:
    last = Path(builds.last)
    last.unlink()
    if not recorded:
        os.unlink(builds.places.last_record)
    if kind == "link":
        last.symlink_to(victim)
    elif kind == "directory":
        last.mkdir()
    else:
        last.touch()
    before = tree(victim)
    assert [state.state for state in builds.status()] == ["stale", "complete"]
    report = builds.clean(ran_here)
    assert not staged.exists()
    assert tree(victim) == before
    assert [each.path for each in report.left] == ([builds.last] if recorded and kind != "link" else [])


@pytest.mark.parametrize("kind", ["link", "pipe", "huge", "deep", "directory", "binary"])
def test_a_record_that_is_none_is_judged_by_its_lock(
    builds: BuildDir, staged: Path, victim: Path, kind: str
) -> None:
    record = staged / "owner.json"
    if kind == "link":
        record.symlink_to(victim / "file")
    elif kind == "pipe":
        os.mkfifo(record)
    elif kind == "huge":
        with record.open("wb") as file:
            file.truncate(1 << 40)
    elif kind == "deep":
        record.write_text("[" * 60_000)
    elif kind == "directory":
        record.mkdir()
    else:
        record.write_bytes(bytes(range(256)))
    state = builds.status()[0]
    assert (state.state, state.build_id, dict(state.identity)) == ("stale", "", {})
    make_build(builds, Cache(victim.parent / "cache"), 3)  # which looks at all records for its number
    assert builds.clean(ran_here).removed[0].why == "its builder ended (process unknown)"
    assert (victim / "file").read_text() == "precious"


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_without_a_plain_lock_nobody_can_judge(
    builds: BuildDir, staged: Path, victim: Path, kind: str
) -> None:
    lock = staged / "owner.lock"
    lock.unlink()
    if kind == "link":
        lock.symlink_to(victim / "file")
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    os.symlink(f"../staging/{STAGED}", os.path.join(builds.places.by_pid, "1"))
    assert "not made by hostbuild" in builds.status()[0].why
    report = builds.clean(ran_here)
    assert report.removed == ()
    assert [each.path for each in report.left] == [str(staged)]
    assert staged.exists()


@pytest.mark.parametrize("pid", ["theirs", -1, 0, 1, 1 << 31, 10**30, True, "12", None, [1]])
def test_a_record_that_lies_harms_nobody(
    builds: BuildDir, staged: Path, sleeper: subprocess.Popen[bytes], pid: Any
) -> None:
    identity = Identity.of(sleeper.pid).to_json()
    if pid != "theirs":
        identity["pid"] = pid
    record = {"buildId": "../../../victim", "sequence": -5, "identity": identity}
    (staged / "owner.json").write_text(json.dumps(record))
    os.symlink(f"../staging/{STAGED}", os.path.join(builds.places.by_pid, str(sleeper.pid)))
    (state, _) = builds.status()
    assert (state.state, state.build_id) == ("stale", "")
    report = builds.clean(ran_here)
    assert sleeper.poll() is None
    assert {os.path.dirname(each.path) for each in (*report.removed, *report.left)} <= {
        builds.places.staging,
        builds.places.by_pid,
    }


def test_links_inside_a_build_are_not_followed(builds: BuildDir, victim: Path) -> None:
    for number, name in ((4, "build.json"), (5, "oci")):
        path = Path(builds.places.build(build_id(number)))
        path.mkdir()
        if name != "build.json":
            (path / "build.json").write_text("{}")
        (path / name).symlink_to(victim)
    Path(builds.places.build(build_id(6))).symlink_to(victim)
    Path(builds.places.trash, "0123").symlink_to(victim)
    Path(builds.places.by_pid, "6\n\x1b[31m").symlink_to(victim / "dangling")
    before = tree(victim)
    states = {state.build_id: state.state for state in builds.status()}
    assert states[build_id(4)] == states[build_id(5)] == "damaged"
    make_old(builds, 1)
    everything_cleaned(builds)
    assert tree(victim) == before
    assert (victim / "file").read_text() == "precious"
    assert not os.path.lexists(builds.places.build(build_id(4)))


def test_directories_are_found_by_their_marks(builds: BuildDir, tmp_path: Path, cache: Cache) -> None:
    root = tmp_path.resolve()
    other = BuildDir(root / "z/own name")
    make_build(other, cache, 1)
    make_build(BuildDir(other.places.build(build_id(1)) + "/inside/.func"), cache, 1)
    make_build(BuildDir(root / "z/.git/.func"), cache, 1)
    (root / "func/.func/builds/by-hash").mkdir(parents=True)  # another tool's
    (root / "func/.func/builds/by-pid").mkdir()
    (root / "link").symlink_to(root / "z")
    (root / "trap/builds").mkdir(parents=True)
    for name in ("by-hash", "staging", "locks"):
        (root / "trap/builds" / name).symlink_to(builds.places.by_hash)
    (root / "\udcff\n").mkdir()
    skipped: list[tuple[str, str]] = []
    found = list(find_build_directories(str(root), lambda *skip: skipped.append(skip)))
    assert [places.root for places in found] == [builds.places.root, other.places.root]
    assert skipped == []
    (itself,) = find_build_directories(other.places.root, lambda *skip: skipped.append(skip))
    assert itself.root == other.places.root


def test_what_may_not_be_looked_into_is_named_and_what_vanishes_is_not(
    builds: BuildDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a-closed", "b-gone", "c-mount/.func/builds/staging"):
        (tmp_path / name).mkdir(parents=True)

    def open_(path: str, flags: int) -> int:
        if path.endswith("a-closed"):
            raise PermissionError(13, "Permission denied")
        if path.endswith("b-gone"):
            raise FileNotFoundError(2, "No such file")
        return os.open(path, flags)

    def fstat(descriptor: int) -> os.stat_result:
        found = os.fstat(descriptor)
        assert found.st_ino != (tmp_path / "c-mount/.func").stat().st_ino, "another file system was entered"
        if found.st_ino == (tmp_path / "c-mount").stat().st_ino:
            return os.stat("/proc")
        return found

    monkeypatch.setattr("hostbuild.store.finding.os", FaultyOs(open=open_, fstat=fstat))
    skipped: list[tuple[str, str]] = []
    found = list(find_build_directories(str(tmp_path), lambda *skip: skipped.append(skip)))
    assert [places.root for places in found] == [builds.places.root]
    assert skipped == [(str(tmp_path / "a-closed"), "Permission denied")]


def test_whose_it_is(builds: BuildDir, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stranger_of(builds.places) is None
    monkeypatch.setattr("hostbuild.store.finding.os", FaultyOs(geteuid=lambda: os.geteuid() + 1))
    assert stranger_of(builds.places) == os.geteuid()

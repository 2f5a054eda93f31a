from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from hostbuild.errors import StoreError
from hostbuild.points import set_hook
from hostbuild.store import locks, staging, syncing
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from tests.store.helpers import (
    BEGIN,
    IDENTITY,
    FaultyOs,
    build_id,
    failing,
    fill,
    kill,
    make_build,
    start,
    tree,
)

ONE = build_id(1)


@pytest.fixture
def builds(tmp_path: Path) -> BuildDir:
    return BuildDir(tmp_path / "project" / ".func")


DAMAGES = ["blob gone", "blob short", "no index", "index short", "index strange", "no marker", "no record",
           "record torn", "record old", "record of another", "sparse", "blob link"]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_build_is_not_found_and_gets_replaced(builds: BuildDir, cache: Cache, damage: str) -> None:
    make_build(builds, cache, 1)
    path = Path(builds.places.build(ONE))
    record = json.loads((path / "build.json").read_text())
    blob = path / "oci" / "blobs" / "sha256" / record["blobs"][-1]["digest"].removeprefix("sha256:")
    if damage == "blob gone":
        blob.unlink()
    elif damage in {"blob short", "blob link"}:
        data = blob.read_bytes()
        blob.unlink()
        if damage == "blob short":
            blob.write_bytes(data[:-1])
        else:
            blob.symlink_to("x" * len(data))
    elif damage == "no index":
        (path / "oci" / "index.json").unlink()
    elif damage == "index short":
        (path / "oci" / "index.json").write_bytes((path / "oci" / "index.json").read_bytes()[:-2])
    elif damage == "index strange":
        (path / "oci" / "index.json").write_text('{"manifests":[{"digest":"sha256:00","size":1}]}')
    elif damage == "no marker":
        (path / "oci" / "oci-layout").unlink()
    elif damage == "no record":
        (path / "build.json").unlink()
    elif damage == "record torn":
        (path / "build.json").write_text("")
    else:
        if damage == "record old":
            record["schemaVersion"] = 0
        elif damage == "sparse":
            record["blobs"][0]["here"] = False
        else:
            record["buildId"] = build_id(2)
        (path / "build.json").write_text(json.dumps(record))
    assert builds.find(ONE) is None
    assert builds.last_build() is None
    assert builds.pin(ONE) is None
    with pytest.raises(StoreError, match="cannot become the last build"):
        builds.set_last(ONE, 100)
    make_build(builds, cache, 1)
    assert builds.find(ONE)
    assert builds.last_build() == ONE
    assert tree(builds.places.trash) == tree(builds.places.staging) == []


@pytest.mark.parametrize("exchange", [True, False])
def test_a_rebuild_takes_the_place_of_the_older_one(
    builds: BuildDir, cache: Cache, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    make_build(builds, cache, 1)
    seen: list[str] = []
    set_hook(seen.append)
    if not exchange:
        monkeypatch.setattr(staging, "exchange_names", lambda one, other: False)
    with builds.begin(ONE, IDENTITY) as made:
        fill(made, cache, "again")
        made.publish()
    assert json.loads(Path(builds.places.build(ONE), "build.json").read_text())["text"] == "again"
    assert ("build-after-aside" in seen) is not exchange
    assert tree(builds.places.trash) == tree(builds.places.staging) == []


def test_an_incomplete_build_cannot_be_published(builds: BuildDir, cache: Cache) -> None:
    with builds.begin(ONE, IDENTITY) as made:
        with pytest.raises(ValueError, match=r"no build\.json"):
            made.publish()
        fill(made, cache)
        os.unlink(os.path.join(made.build, "oci", "index.json"))
        with pytest.raises(ValueError, match=r"index\.json"):
            made.publish()
    assert builds.find(ONE) is None


POINTS = [
    "build-locked", "stage-before-rename", "stage-before-pid-link", "layout-before-index", "layout-complete",
    "build-before-publish", "publish-before-last", "last-before-link", "link-before-swap",
    "stage-before-removal",
]  # fmt: skip


@pytest.mark.parametrize("name", POINTS)
def test_a_kill_at_each_point_leaves_a_whole_build_or_none(builds: BuildDir, cache: Cache, name: str) -> None:
    make_build(builds, cache, 2)
    process = start(BEGIN, builds.places.root, cache.root, ONE, name)
    assert process.wait() == -9
    kill(process)
    published = POINTS.index(name) >= POINTS.index("publish-before-last")
    assert (builds.find(ONE) is not None) == published
    named = builds.last_build()
    assert named == (ONE if name == "stage-before-removal" else build_id(2))
    builds.clean(lambda identity: True)
    assert tree(builds.places.staging) == tree(builds.places.by_pid) == tree(builds.places.trash) == []
    assert not [each for each in os.listdir(builds.places.builds) if each.startswith(".")]
    # What the record promised is finished by whoever comes next.
    decided = name in {"last-before-link", "link-before-swap", "stage-before-removal"}
    assert builds.last_build() == (ONE if decided else build_id(2))
    make_build(builds, cache, 1)
    assert builds.last_build() == ONE


FUNCTIONS = ["mkdir", "open", "rename", "fsync", "symlink", "write"]
CODES = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.EACCES]


@pytest.mark.parametrize(
    ("function", "code"),
    [*((function, errno.ENOSPC) for function in FUNCTIONS), *(("open", code) for code in CODES[1:])],
)
def test_an_os_error_leaves_the_earlier_state(
    builds: BuildDir, cache: Cache, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    make_build(builds, cache, 2)
    faulty = FaultyOs(**{function: failing(code)})
    late = function in {"fsync", "rename"}

    def build() -> None:
        with monkeypatch.context() as patch:
            for module in () if late else (staging, locks, syncing):
                patch.setattr(module, "os", faulty)
            with builds.begin(ONE, IDENTITY) as made:
                fill(made, cache)
                with monkeypatch.context() as inner:
                    for module in (staging, syncing):
                        inner.setattr(module, "os", faulty)
                    made.publish()

    with pytest.raises(StoreError) as caught:
        build()
    assert errno.errorcode[code] in caught.value.why
    assert builds.places.root in caught.value.what
    assert builds.last_build() == build_id(2)
    assert builds.find(ONE) is None
    assert tree(builds.places.staging) == []
    make_build(builds, cache, 1)


def test_a_full_disk(
    small_disk: Path | None, builds: BuildDir, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small_disk is not None:
        builds = BuildDir(small_disk / ".func")
    make_build(builds, cache, 1)

    def build() -> None:
        with builds.begin(build_id(2), IDENTITY) as made:
            fill(made, cache)
            made.publish()

    if small_disk is None:
        monkeypatch.setattr(syncing, "os", FaultyOs(write=failing(errno.ENOSPC)))
    else:
        (small_disk / "filler").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    with pytest.raises(StoreError, match="no space is left"):
        build()
    monkeypatch.undo()
    assert builds.last_build() == ONE
    assert tree(builds.places.staging) == []
    if small_disk is not None:
        (small_disk / "filler").unlink()
    make_build(builds, cache, 2)


@pytest.mark.parametrize("name", ["builds", "by-hash", "by-pid", "staging", "locks", "trash"])
def test_links_in_a_checked_out_build_directory_are_refused(
    builds: BuildDir, cache: Cache, tmp_path: Path, name: str
) -> None:
    make_build(builds, cache, 1)
    victim = tmp_path / "home"
    (victim / "documents").mkdir(parents=True)
    (victim / f"{'0' * 12}.{'0' * 16}").mkdir()
    path = Path(builds.places.builds) if name == "builds" else Path(builds.places.builds) / name
    path.rename(tmp_path / "away")
    path.symlink_to(victim)
    with pytest.raises(StoreError, match="symbolic link"):
        builds.begin(ONE, IDENTITY)
    with pytest.raises(StoreError, match="symbolic link"):
        builds.clean(lambda identity: True, keep=0)
    assert len(os.listdir(victim)) == 2


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nothing_is_writable_for_others_whatever_the_umask(
    builds: BuildDir, cache: Cache, umask: int
) -> None:
    before = os.umask(umask)
    try:
        with builds.begin(ONE, IDENTITY) as made:
            fill(made, cache)
            made.publish()
            made.set_last()
            for path in Path(builds.places.root).rglob("*"):
                assert path.is_symlink() or not path.stat().st_mode & 0o022, path
                assert umask != 0o077 or path.is_symlink() or path.name == "blobs" or _private(path), path
    finally:
        os.umask(before)
    assert builds.find(ONE)


def _private(path: Path) -> bool:
    # Blobs are hard links to the cache's, whose directory is private.
    return "sha256" in path.parts or not stat.S_IMODE(path.stat().st_mode) & 0o077

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hostbuild.errors import StoreError
from hostbuild.store import filesystems
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from hostbuild.store.filesystems import Mount, check_locks, local_locks, parse_mount, read_mounts

LINE = "36 35 0:98 /root {point} rw,noatime shared:1 - {kind} server:/share rw,vers=3,{option}\n"


def mount_of(directory: Path, kind: str, option: str, point: Path | None = None) -> Mount:
    line = LINE.format(point=str(point or directory).replace(" ", "\\040"), kind=kind, option=option)
    found = parse_mount(line)
    assert found is not None
    number = directory.stat().st_dev
    return found._replace(device=f"{os.major(number)}:{os.minor(number)}")


def test_where_locks_work_nothing_is_left(tmp_path: Path) -> None:
    check_locks(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "option", "refused"),
    [
        ("nfs", "nolock", True),
        ("nfs", "local_lock=all", True),
        ("nfs4", "local_lock=flock", True),
        ("cifs", "nobrl", True),
        ("lustre", "localflock", True),
        ("nfs", "local_lock=none", False),
        ("nfs4", "nolock", False),  # NFS 4 does not know the option, and locks
        ("nfs", "local_lock=posix", False),  # ours are not posix locks
        ("ext4", "nolock", False),
    ],
)
def test_locks_that_stay_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, option: str, refused: bool
) -> None:
    directory = tmp_path / "with a blank"
    directory.mkdir()
    mounts = [mount_of(directory, kind, option), mount_of(directory, "ext4", "rw", tmp_path.parent)]
    monkeypatch.setattr(filesystems, "read_mounts", lambda: mounts)
    assert (local_locks(str(directory), mounts) != "") == refused
    if not refused:
        Cache(directory / "cache")
        return
    for make in (lambda: Cache(directory / "cache"), lambda: BuildDir(directory / ".func").prepare()):
        for _ in range(2):  # the second time, too
            with pytest.raises(StoreError, match="stay on this machine") as caught:
                make()
            assert option in caught.value.why
            assert caught.value.fix


def test_the_mount_that_was_made_last_is_what_is_seen(tmp_path: Path) -> None:
    mounts = [mount_of(tmp_path, "nfs", "nolock"), mount_of(tmp_path, "nfs", "local_lock=none")]
    assert local_locks(str(tmp_path), mounts) == ""
    assert local_locks(str(tmp_path), reversed(mounts)) == "nolock"


def test_this_machines_mounts_are_read(tmp_path: Path) -> None:
    assert any(mount.point == "/" for mount in read_mounts())
    assert local_locks(str(tmp_path), read_mounts()) == ""


@pytest.mark.parametrize("line", ["", "1 2 3", "36 35 0:98 / / rw - nfs", "36 35 0:98 / / rw shared:1 x y z"])
def test_odd_lines_are_no_mounts(line: str) -> None:
    assert parse_mount(line) is None


def granted_to_all(_: int, __: int) -> None:
    """A file system that says yes."""


def unsupported(_: int, __: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def never_freed(descriptor: int, operation: int) -> None:
    if operation & fcntl.LOCK_UN:
        return
    raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))


@pytest.mark.parametrize(
    ("flock", "why"),
    [(granted_to_all, "to two at once"), (unsupported, "no working file locks"), (never_freed, "EAGAIN")],
)
def test_locks_that_do_not_exclude_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flock: Callable[[int, int], None], why: str
) -> None:
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match=why):
        check_locks(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    for make in (lambda: Cache(tmp_path / "cache"), lambda: BuildDir(tmp_path / ".func").prepare()):
        with pytest.raises(StoreError) as caught:
            make()
        assert caught.value.fix
    assert not (tmp_path / "cache/version").exists()
    assert not (tmp_path / ".func/builds").exists()

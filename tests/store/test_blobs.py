from __future__ import annotations

import errno
import hashlib
import os
import resource
import stat
from pathlib import Path

import pytest

from hostbuild.errors import CorruptBlobError, StoreError
from hostbuild.oci.digest import Digest
from hostbuild.points import set_hook
from hostbuild.store import blobs as blobs_module
from hostbuild.store import locks, tempfiles
from hostbuild.store.cache import Cache
from tests.store.helpers import FaultyOs, failing, kill, start, tree, wait_for_line

DATA = b"some bytes"
DIGEST = Digest.of(DATA)


def leftovers(cache: Cache) -> list[str]:
    return sorted(os.listdir(os.path.join(cache.root, "tmp")))


def test_a_blob_is_stored_read_only_under_its_digest(cache: Cache) -> None:
    assert cache.blobs.put(DATA) == (DIGEST, len(DATA))
    path = Path(cache.blobs.path(DIGEST))
    assert path == Path(cache.root) / "blobs" / "sha256" / DIGEST.hex[:2] / DIGEST.hex
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert path.stat().st_nlink == 1
    assert cache.blobs.has(DIGEST, len(DATA))
    assert cache.blobs.read(DIGEST, len(DATA)) == DATA
    cache.blobs.verify(DIGEST, len(DATA))
    with cache.blobs.open(DIGEST) as stream:
        assert stream.read() == DATA
    assert leftovers(cache) == []


def test_sha512_blobs_have_their_own_place(cache: Cache) -> None:
    digest = Digest("sha512", hashlib.sha512(DATA).hexdigest())
    with cache.blobs.writer("sha512") as writer:
        writer.write(DATA)
        writer.commit(digest, len(DATA))
    assert "/sha512/" in cache.blobs.path(digest)
    assert cache.blobs.read(digest, len(DATA)) == DATA


@pytest.mark.parametrize(
    ("written", "digest", "size"),
    [
        (b"other", DIGEST, len(DATA)),
        (DATA[:-1], DIGEST, len(DATA)),
        (DATA + b"!", DIGEST, len(DATA)),
        (DATA, DIGEST, len(DATA) + 1),
        (DATA, Digest.of(b"another"), len(DATA)),
        (b"", DIGEST, len(DATA)),
    ],
)
def test_wrong_bytes_never_get_a_name(cache: Cache, written: bytes, digest: Digest, size: int) -> None:
    def write() -> None:
        with cache.blobs.writer() as writer:
            writer.write(written)
            writer.commit(digest, size)

    with pytest.raises(CorruptBlobError) as caught:
        write()
    assert str(digest) in caught.value.what
    assert not os.path.exists(cache.blobs.path(digest))
    assert leftovers(cache) == []


def test_an_exception_in_mid_write_leaves_nothing(cache: Cache) -> None:
    def write() -> None:
        with cache.blobs.writer() as writer:
            writer.write(DATA)
            assert len(leftovers(cache)) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert leftovers(cache) == []
    assert tree(os.path.join(cache.root, "blobs")) == []


def test_a_writer_that_is_not_committed_leaves_nothing(cache: Cache) -> None:
    with cache.blobs.writer() as writer:
        assert writer.write(memoryview(DATA)) == len(DATA)
        assert writer.digest == DIGEST
    assert leftovers(cache) == []
    assert not cache.blobs.has(DIGEST, len(DATA))


def test_a_blob_of_the_wrong_size_is_absent_and_gets_replaced(cache: Cache) -> None:
    cache.blobs.put(DATA)
    path = cache.blobs.path(DIGEST)
    os.chmod(path, 0o644)
    os.truncate(path, 3)
    assert not cache.blobs.has(DIGEST, len(DATA))
    with pytest.raises(CorruptBlobError):
        cache.blobs.read(DIGEST, len(DATA))
    cache.blobs.put(DATA)
    assert cache.blobs.read(DIGEST, len(DATA)) == DATA
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o444


def test_a_damaged_blob_is_found_when_it_is_read_and_can_be_discarded(cache: Cache) -> None:
    cache.blobs.put(DATA)
    path = Path(cache.blobs.path(DIGEST))
    path.chmod(0o644)
    path.write_bytes(b"x" * len(DATA))
    assert cache.blobs.has(DIGEST, len(DATA))
    with pytest.raises(CorruptBlobError):
        cache.blobs.read(DIGEST, len(DATA))
    with pytest.raises(CorruptBlobError):
        cache.blobs.verify(DIGEST, len(DATA))
    assert cache.blobs.discard(DIGEST)
    assert not cache.blobs.discard(DIGEST)
    cache.blobs.put(DATA)
    cache.blobs.verify(DIGEST, len(DATA))


@pytest.mark.parametrize("kind", ["link", "directory", "dangling"])
def test_what_is_no_plain_file_is_absent_and_gets_replaced(cache: Cache, tmp_path: Path, kind: str) -> None:
    path = Path(cache.blobs.path(DIGEST))
    path.parent.mkdir(parents=True)
    victim = tmp_path / "victim"
    if kind == "directory":
        path.mkdir()
    else:
        if kind == "link":
            victim.write_bytes(DATA)
        path.symlink_to(victim)
    assert not cache.blobs.has(DIGEST, len(DATA))
    cache.blobs.put(DATA)
    assert not path.is_symlink()
    assert path.read_bytes() == DATA
    assert victim.exists() == (kind == "link")


def test_a_blob_that_is_there_already_is_not_written_again(cache: Cache) -> None:
    cache.blobs.put(DATA)
    before = os.stat(cache.blobs.path(DIGEST))
    with cache.blobs.writer() as writer:
        writer.write(DATA)
        writer.commit(DIGEST, len(DATA))
    assert os.stat(cache.blobs.path(DIGEST)).st_ino == before.st_ino
    assert leftovers(cache) == []


def test_an_absent_blob_is_a_clear_error(cache: Cache) -> None:
    with pytest.raises(StoreError, match=f"{DIGEST} is not in the cache"):
        cache.blobs.read(DIGEST, 1)


@pytest.mark.parametrize("name", ["blob-before-sync", "blob-before-rename", "blob-after-rename"])
def test_a_kill_at_each_point_leaves_a_whole_blob_or_none(cache: Cache, name: str) -> None:
    code = """
import os, sys
from hostbuild.store.cache import Cache
from hostbuild.points import set_hook
set_hook(lambda name: os.kill(os.getpid(), 9) if name == sys.argv[2] else None)
Cache(sys.argv[1]).blobs.put(b"some bytes")
"""
    process = start(code, cache.root, name)
    assert process.wait() == -9
    kill(process)
    assert cache.blobs.has(DIGEST, len(DATA)) == (name == "blob-after-rename")
    assert os.path.exists(cache.blobs.path(DIGEST)) == (name == "blob-after-rename")
    cache.blobs.put(DATA)
    cache.blobs.verify(DIGEST, len(DATA))
    cache.clean_temp(lambda owner: False)
    assert leftovers(cache) == []


CODES = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.EACCES, errno.ENAMETOOLONG]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("function", ["write", "fsync", "fchmod", "open", "rename", "mkdir"])
def test_an_os_error_at_each_write_point_says_where_why_and_what_to_do(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    faulty = FaultyOs(**{function: failing(code)})
    for module in (tempfiles, blobs_module, locks):
        monkeypatch.setattr(module, "os", faulty)
    with pytest.raises(StoreError) as caught:
        cache.blobs.put(DATA)
    monkeypatch.undo()
    assert cache.root in caught.value.what
    assert errno.errorcode[code] in caught.value.why
    assert caught.value.fix
    assert caught.value.extra["errno"] == code
    assert not os.path.exists(cache.blobs.path(DIGEST))
    assert leftovers(cache) == []


def test_a_full_disk_is_an_error_and_the_cache_stays_usable(small_disk: Path | None, tmp_path: Path) -> None:
    cache = Cache(small_disk / "cache" if small_disk else tmp_path / "cache")
    kept, size = cache.blobs.put(b"kept" * 1000)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    if small_disk is None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limit[1]))
    try:
        with pytest.raises(StoreError, match=r"no space is left|file size limit") as caught:
            cache.blobs.put(os.urandom(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert cache.root in caught.value.what
    assert leftovers(cache) == []
    cache.blobs.verify(kept, size)
    cache.blobs.put(b"more" * 1000)
    cache.close()  # its claim would keep the disk busy


def test_a_directory_that_may_not_be_written_is_a_clear_error(cache: Cache) -> None:
    # Root may write everywhere: another user tries, in a process of its own.
    code = """
import os, sys
from hostbuild.errors import StoreError
from hostbuild.store.cache import Cache
cache = Cache(sys.argv[1])
os.chmod(cache.root + "/tmp", 0o500)
try:
    cache.blobs.put(b"some bytes")
except StoreError as error:
    print(error.what, error.why)
"""
    directory = Path(cache.root).parent / "other"
    directory.mkdir()
    if os.geteuid() == 0:
        os.chown(directory, 12345, 12345)
        for parent in directory.parents:
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        code = code.replace("cache = Cache", "os.setgid(12345); os.setuid(12345); cache = Cache")
    process = start(code, directory / "cache")
    output, _ = process.communicate()
    assert "permission is denied (EACCES)" in output
    assert str(directory) in output


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        cache = Cache(tmp_path / "new" / "cache")
        cache.blobs.put(DATA)
        cache.keys.put("a" * 64, {"digest": str(DIGEST), "size": len(DATA)})
        cache.produce("b" * 64, lambda: {"digest": str(DIGEST), "size": len(DATA)})
    finally:
        os.umask(before)
    for path in Path(cache.root).rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_dir():
            assert mode == 0o700, path
        assert not mode & 0o022, path
    assert stat.S_IMODE(os.stat(cache.root).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(cache.blobs.path(DIGEST)).st_mode) == 0o444
    Cache(cache.root).blobs.verify(DIGEST, len(DATA))


def test_the_temp_files_of_the_living_stay_and_of_the_dead_go(cache: Cache, tmp_path: Path) -> None:
    code = """
import sys
from hostbuild.store.cache import Cache
with Cache(sys.argv[1], owner="77-abc").blobs.writer() as writer:
    writer.write(b"half")
    print("writing", flush=True)
    sys.stdin.readline()
"""
    process = start(code, cache.root)
    wait_for_line(process, "writing")
    foreign = Path(cache.root) / "tmp" / "notes.txt"
    foreign.write_text("not ours")
    assert cache.clean_temp(lambda owner: False) == ()  # the lock is held
    kill(process)
    assert cache.clean_temp(lambda owner: True) == ()  # a lock that is not seen from here
    assert cache.clean_temp(lambda owner: None) == ()
    asked: list[str] = []

    def is_alive(owner: str) -> bool:
        asked.append(owner)
        return False

    would = cache.clean_temp(is_alive, dry_run=True)
    assert [each.size for each in would] == [4]
    assert asked == ["77-abc"]
    assert len(leftovers(cache)) == 2
    assert cache.clean_temp(lambda owner: False) == would
    assert leftovers(cache) == ["notes.txt"]


def test_a_temp_file_that_was_removed_by_others_is_an_error_not_a_wrong_blob(cache: Cache) -> None:
    def remove(name: str) -> None:
        if name == "blob-before-sync":
            for each in leftovers(cache):
                os.unlink(os.path.join(cache.root, "tmp", each))

    set_hook(remove)
    with pytest.raises(StoreError, match="temporary file was removed"):
        cache.blobs.put(DATA)
    assert not os.path.exists(cache.blobs.path(DIGEST))


def test_an_owner_token_cannot_leave_the_directory(cache: Cache) -> None:
    with pytest.raises(ValueError, match="token"):
        Cache(cache.root, owner="../x").blobs.writer()

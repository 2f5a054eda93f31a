from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from hostbuild.errors import StoreError, WaitTimeoutError
from hostbuild.oci.digest import Digest
from hostbuild.points import set_hook
from hostbuild.store import claims, locks
from hostbuild.store.cache import Cache
from hostbuild.store.claims import earliest_claim, lock_sweep, read_claims, remove_dead_claims
from hostbuild.store.locks import is_held
from hostbuild.store.pruning import Goals, prune
from tests.store.helpers import FaultyOs, failing, finish, kill, start, wait_for_line

KEY = "ab" * 32
OLD = 1_000_000_000
ALL = Goals(everything=True)


def claim_files(cache: Cache) -> list[str]:
    return os.listdir(cache.claims.directory)


def put_old(cache: Cache, data: bytes) -> tuple[Digest, int]:
    """A blob that nobody has used for long, put by another process's cache."""
    with Cache(cache.root) as other:
        digest, size = other.blobs.put(data)
    os.utime(cache.blobs.path(digest), (OLD, OLD))
    return digest, size


def is_here(cache: Cache, digest: Digest) -> bool:
    return os.path.exists(cache.blobs.path(digest))


def test_who_only_looks_claims_nothing(cache: Cache) -> None:
    digest, size = put_old(cache, b"data")
    with Cache(cache.root) as other:
        other.keys.put(KEY, {"digest": str(digest), "size": size})
        assert other.blobs.has(digest, size)
        assert not other.blobs.claim(digest, size + 1)
        assert not other.blobs.claim(Digest.of(b"never"), 5)
        assert other.recorded(KEY, claim=False) is not None
        assert other.recorded("cd" * 32) is None
        other.keys.put("ef" * 32, {"layers": []})
        assert other.recorded("ef" * 32) == {"layers": []}
        assert claim_files(cache) == []
    assert os.stat(cache.blobs.path(digest)).st_mtime == OLD


def claim_it(cache: Cache, digest: Digest, size: int) -> object:
    return cache.blobs.claim(digest, size)


def put_it(cache: Cache, digest: Digest, size: int) -> object:
    return cache.blobs.put(b"data") == (digest, size)


def write_it(cache: Cache, digest: Digest, size: int) -> object:
    with cache.blobs.writer() as writer:
        writer.write(b"data")
        writer.commit(digest, size)
    return True


def record_it(cache: Cache, digest: Digest, size: int) -> object:
    return cache.recorded(KEY)


@pytest.mark.parametrize("use", [claim_it, put_it, write_it, record_it])
def test_what_is_used_stays_until_the_cache_is_closed(cache: Cache, use: object) -> None:
    assert callable(use)
    digest, size = put_old(cache, b"data")
    other, other_size = put_old(cache, b"other")
    cache.keys.put(KEY, {"layers": [{"digest": str(digest), "size": size}]})
    os.utime(cache.keys.path(KEY), (OLD, OLD))
    with Cache(cache.root) as builder:
        assert use(builder, digest, size)
        (name,) = claim_files(cache)
        assert is_held(os.path.join(cache.claims.directory, name))
        assert builder.blobs.claimed == {digest: size}
        prune(cache, ALL)
        assert is_here(cache, digest)
        assert not cache.blobs.has(other, other_size)
    assert claim_files(cache) == []
    prune(cache, ALL)
    assert not is_here(cache, digest)


def test_a_record_that_was_seen_stays_with_its_blob(cache: Cache) -> None:
    digest, size = put_old(cache, b"data")
    for key, value in ((KEY, {"digest": str(digest), "size": size}), ("ef" * 32, {"layers": []})):
        cache.keys.put(key, value)
        os.utime(cache.keys.path(key), (OLD, OLD))
    with Cache(cache.root) as builder:
        assert builder.recorded(KEY)
        assert builder.recorded("ef" * 32)
        prune(cache, ALL)
        assert builder.recorded(KEY)
        assert builder.recorded("ef" * 32)


def test_what_is_made_stays(cache: Cache) -> None:
    with Cache(cache.root) as builder, builder.blobs.writer() as writer:
        writer.write(b"data")
        when = os.lstat(cache.claims.directory).st_mtime - 3600
        os.utime(writer._temp.path, (when, when))  # the last byte came an hour ago, as a slow server sends
        digest = writer.digest
        writer.commit(digest, 4)
        prune(cache, ALL)
        assert is_here(cache, digest)


def test_a_blob_that_another_process_put_meanwhile_is_kept_and_not_replaced(cache: Cache) -> None:
    """Who links it at that moment would get ENOENT (link(2) of an inode that has just lost its name)."""
    seen: list[int] = []

    def other(name: str) -> None:
        if name == "blob-before-rename" and not seen:
            seen.append(0)
            with Cache(cache.root) as faster:
                digest, _ = faster.blobs.put(b"data")
                seen[0] = os.stat(faster.blobs.path(digest)).st_ino

    set_hook(other)
    digest, size = cache.blobs.put(b"data")
    assert os.stat(cache.blobs.path(digest)).st_ino == seen[0]
    assert os.listdir(os.path.join(cache.root, "tmp")) == []
    prune(cache, ALL)
    assert cache.blobs.has(digest, size)


def test_who_was_held_up_does_not_set_back_what_a_later_claim_has_set(cache: Cache) -> None:
    digest, size = put_old(cache, b"data")
    later = Cache(cache.root)

    def fits(found: os.stat_result) -> bool:
        time.sleep(0.02)
        assert later.blobs.claim(digest, size)
        return True

    with Cache(cache.root) as first:
        assert first.claims.claim(cache.blobs.path(digest), fits)
    prune(cache, ALL)
    assert later.blobs.has(digest, size)
    later.close()


def test_what_a_worker_used_stays_for_the_builder_that_began_before(cache: Cache) -> None:
    digest, size = put_old(cache, b"data")
    with Cache(cache.root) as builder:
        assert builder.claims.begin()
        with Cache(cache.root) as worker:
            assert worker.blobs.claim(digest, size)
            made, _ = worker.blobs.put(b"made")
        prune(cache, ALL)
        assert is_here(cache, digest)
        assert is_here(cache, made)


def set_back(path: str, *, ns: tuple[int, int] = (OLD * 10**9,) * 2, follow_symlinks: bool) -> None:
    """utime(2) under a clock that was set back."""
    os.utime(path, ns=ns, follow_symlinks=follow_symlinks)


def test_a_clock_that_is_set_back_frees_nothing(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, size = put_old(cache, b"data")
    with Cache(cache.root) as builder:
        assert builder.claims.begin()
        monkeypatch.setattr(time, "time_ns", lambda: OLD * 10**9)
        monkeypatch.setattr(claims, "os", FaultyOs(utime=set_back))
        with Cache(cache.root) as worker:
            assert worker.blobs.claim(digest, size)
            made, _ = worker.blobs.put(b"made")
        prune(cache, ALL)
        assert is_here(cache, digest)
        assert is_here(cache, made)


HOLD = """
import os, sys
from hostbuild.points import set_hook
from hostbuild.store.cache import Cache
cache = Cache(sys.argv[1])
if sys.argv[2]:
    set_hook(lambda name: os.kill(os.getpid(), 9) if name == sys.argv[2] else None)
cache.claims.begin()
print("claimed", flush=True)
sys.stdin.readline()
"""


def test_claims_of_a_killed_process_do_not_count_and_are_removed(cache: Cache) -> None:
    process = start(HOLD, cache.root, "")
    wait_for_line(process, "claimed")
    (claim,) = read_claims(cache.claims.directory)
    assert claim.live
    assert claim.owner == str(process.pid)
    assert earliest_claim(cache.claims.directory) == claim.start == os.stat(claim.path).st_mtime_ns
    assert remove_dead_claims(cache.claims.directory) == []
    kill(process)
    assert earliest_claim(cache.claims.directory) is None
    assert [each.path for each in remove_dead_claims(cache.claims.directory, dry_run=True)] == [claim.path]
    assert len(claim_files(cache)) == 1
    assert [each.path for each in remove_dead_claims(cache.claims.directory)] == [claim.path]
    assert claim_files(cache) == []


def test_a_process_killed_as_it_began_to_claim_claims_nothing(cache: Cache) -> None:
    process = start(HOLD, cache.root, "claim-made")
    assert process.wait() == -9
    kill(process)
    assert len(claim_files(cache)) == 1
    digest, _ = put_old(cache, b"data")
    prune(cache, ALL)
    assert not is_here(cache, digest)


def test_a_claim_that_a_cleaner_took_for_dead_is_made_again(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cleaner comes between the creation of the file and its lock."""
    taken: list[str] = []
    real = locks.lock_descriptor

    def late(descriptor: int, path: str, *, shared: bool = False) -> bool:
        if not taken:
            taken.append(path)
            assert [each.path for each in remove_dead_claims(cache.claims.directory)] == [path]
        return real(descriptor, path, shared=shared)

    monkeypatch.setattr(locks, "lock_descriptor", late)
    assert cache.claims.begin()
    (claim,) = read_claims(cache.claims.directory)
    assert claim.live
    assert claim.path != taken[0]


def test_threads_share_one_claim(cache: Cache) -> None:
    digests = [put_old(cache, b"%d" % each) for each in range(20)]
    with Cache(cache.root) as builder:
        threads = [threading.Thread(target=builder.blobs.claim, args=each) for each in digests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(claim_files(cache)) == 1
        assert builder.blobs.claimed == dict(digests)
        builder.close()
        builder.close()


def test_a_cache_that_nobody_closed_leaves_no_claim(cache: Cache) -> None:
    code = "import sys; from hostbuild.store.cache import Cache; Cache(sys.argv[1]).blobs.put(b'x')"
    finish(start(code, cache.root))
    assert claim_files(cache) == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_cache_is_used_without_claims(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    digest, size = put_old(cache, b"data")
    cache.keys.put(KEY, {"digest": str(digest), "size": size})
    monkeypatch.setattr(locks, "os", FaultyOs(open=failing(code)))
    assert cache.blobs.claim(digest, size)
    assert cache.recorded(KEY)
    assert claim_files(cache) == []


@pytest.mark.parametrize("module", ["locks", "claims"])
def test_a_claim_that_cannot_be_made_is_a_clear_error(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    digest, size = put_old(cache, b"data")
    target = {"locks": locks, "claims": claims}[module]
    monkeypatch.setattr(target, "os", FaultyOs(open=failing(errno.ENOSPC)))
    with pytest.raises(StoreError, match="no space is left"):
        cache.blobs.claim(digest, size)


def test_a_link_where_the_lock_belongs_is_refused(cache: Cache, tmp_path: Path) -> None:
    digest, size = put_old(cache, b"data")
    os.unlink(cache.claims.sweep_lock)
    os.symlink(tmp_path / "elsewhere", cache.claims.sweep_lock)
    with pytest.raises(StoreError, match="symbolic link"):
        cache.blobs.claim(digest, size)
    assert not (tmp_path / "elsewhere").exists()


def test_a_stopped_holder_of_the_lock_is_told_in_the_end(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, size = put_old(cache, b"data")
    monkeypatch.setattr(claims, "_PATIENCE", 0.05)
    held = lock_sweep(cache.claims.sweep_lock, shared=False)
    with pytest.raises(WaitTimeoutError, match=r"sweep\.lock"):
        cache.blobs.claim(digest, size)
    os.close(held)
    held = lock_sweep(cache.claims.sweep_lock, shared=True)
    assert cache.blobs.claim(digest, size)
    with pytest.raises(WaitTimeoutError, match=r"sweep\.lock"):
        prune(cache, ALL)
    os.close(held)


def test_a_damaged_blob_is_dropped_and_a_good_one_that_replaced_it_is_not(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, size = put_old(cache, b"data")
    assert not cache.blobs.drop_if_damaged(digest)
    assert not cache.blobs.drop_if_damaged(Digest.of(b"never"))
    path = cache.blobs.path(digest)
    os.chmod(path, 0o644)
    Path(path).write_bytes(b"dada")

    def replace_and_look(name: str) -> os.stat_result:
        os.unlink(name)
        Path(name).write_bytes(b"data")
        return os.lstat(name)

    with monkeypatch.context() as patched:
        patched.setattr(claims, "os", FaultyOs(lstat=replace_and_look))
        assert not cache.blobs.drop_if_damaged(digest)
    assert cache.blobs.claim(digest, size)
    Path(path).write_bytes(b"dada")
    assert cache.blobs.drop_if_damaged(digest)
    assert not os.path.exists(path)
    os.symlink("elsewhere", path)
    assert cache.blobs.drop_if_damaged(digest)
    assert not os.path.lexists(path)


def test_discarding_waits_for_who_looks(cache: Cache) -> None:
    digest, _ = put_old(cache, b"data")
    held = lock_sweep(cache.claims.sweep_lock, shared=True)
    thread = threading.Thread(target=cache.blobs.discard, args=(digest,))
    thread.start()
    time.sleep(0.05)
    assert is_here(cache, digest)
    os.close(held)
    thread.join()
    assert not is_here(cache, digest)


def test_the_use_of_a_record_is_noted_to_the_hour(cache: Cache) -> None:
    cache.keys.put(KEY, {"a": 1})
    path = cache.keys.path(KEY)
    recent = time.time() - 1800
    os.utime(path, (recent, recent))
    cache.keys.get(KEY)
    assert os.stat(path).st_mtime == pytest.approx(recent, abs=0.01)
    os.utime(path, (OLD, OLD))
    cache.keys.get(KEY, touch=False)
    assert os.stat(path).st_mtime == OLD
    cache.keys.get(KEY)
    assert os.stat(path).st_mtime > OLD

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import StoreError
from hostbuild.oci.digest import Digest
from hostbuild.points import set_hook
from hostbuild.store import verifying
from hostbuild.store.cache import Cache
from hostbuild.store.verifying import VerifyReport, verify
from tests.store.helpers import FaultyOs, failing, kill, start

KEY, OTHER = "ab" * 32, "cd" * 32


def fill(cache: Cache, count: int = 6) -> list[Digest]:
    with Cache(cache.root) as other:
        return [other.blobs.put(b"blob %d" % number)[0] for number in range(count)]


def damage(cache: Cache, digest: Digest, data: bytes) -> str:
    path = cache.blobs.path(digest)
    os.chmod(path, 0o644)
    Path(path).write_bytes(data)
    return path


def found(report: VerifyReport) -> dict[str, str]:
    return {each.path: each.why for each in report.damaged}


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_good_is_said_to_be_good(cache: Cache, threads: int) -> None:
    fill(cache)
    with cache.blobs.writer("sha512") as writer:
        writer.write(b"long")
        writer.commit(writer.digest, 4)
    report = verify(cache, threads=threads)
    assert (report.blobs, report.size, report.damaged, report.is_good) == (7, 40, (), True)
    assert verify(Cache(cache.root + ".new")).is_good


def test_each_kind_of_damage_is_named_and_repaired(cache: Cache, tmp_path: Path) -> None:
    digests = fill(cache)
    flipped = damage(cache, digests[0], b"blob 9")
    os.link(flipped, tmp_path / "in a layout")
    longer = damage(cache, digests[1], b"blob 1 and more")
    empty = damage(cache, digests[2], b"")
    link, folder = cache.blobs.path(digests[3]), cache.blobs.path(digests[4])
    os.unlink(link)
    os.symlink(tmp_path / "in a layout", link)
    os.unlink(folder)
    os.makedirs(os.path.join(folder, "below"))
    stray = os.path.join(cache.blobs.directory, "sha256", "00", "notes.txt")
    misplaced = os.path.join(cache.blobs.directory, "sha256", "00", "f" * 64)
    os.makedirs(os.path.dirname(stray), exist_ok=True)
    for path in (stray, misplaced, os.path.join(cache.blobs.directory, "sha256", "00", ".nfs0001")):
        Path(path).write_text("x")
    for key, digest in ((KEY, digests[0]), (OTHER, digests[5])):
        cache.keys.put(key, {"layers": [{"digest": str(digest), "size": 6}]})
    cache.keys.put("ef" * 32, {"digest": str(Digest.of(b"never")), "size": 5})
    wrong = "its bytes are not what its name says"
    strange = "a stray file: its name is no digest, or does not belong there"
    plain = "it is not a plain file"
    expected = {
        flipped: wrong,
        longer: wrong,
        empty: "it is empty",
        link: plain,
        folder: plain,
        stray: strange,
        misplaced: strange,
    }

    report = verify(cache, threads=2)
    assert found(report) == expected
    assert not report.is_good
    assert (report.absent, report.records_dropped) == (1, 0)
    assert {each.path: each.links for each in report.damaged if each.links} == {flipped: 1}
    assert all(os.path.lexists(path) for path in expected)

    report = verify(cache, threads=2, repair=True)
    assert found(report) == expected
    assert report.is_good
    assert (report.absent, report.records_dropped) == (1, 1)
    assert not any(os.path.lexists(path) for path in expected)
    assert (cache.keys.get(KEY), cache.keys.get(OTHER) is None) == (None, False)
    assert (tmp_path / "in a layout").read_bytes() == b"blob 9"
    assert verify(cache).damaged == ()
    assert cache.blobs.put(b"blob 0")[0] == digests[0]
    assert verify(cache).is_good


def test_a_blob_that_cannot_be_read_is_damaged(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    (digest,) = fill(cache, 1)
    monkeypatch.setattr(verifying, "os", FaultyOs(readv=failing(errno.EIO)))
    report = verify(cache)
    assert found(report) == {cache.blobs.path(digest): f"it cannot be read ({os.strerror(errno.EIO)})"}


def test_too_many_open_files_are_not_the_blobs_fault(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    (digest,) = fill(cache, 1)
    monkeypatch.setattr(verifying, "os", FaultyOs(readv=failing(errno.EMFILE)))
    with pytest.raises(StoreError, match="read a blob"):
        verify(cache, repair=True)
    assert os.path.exists(cache.blobs.path(digest))


def test_what_a_build_makes_good_meanwhile_stays(cache: Cache) -> None:
    (digest,) = fill(cache, 1)
    path = damage(cache, digest, b"wrong!")

    def build(name: str) -> None:
        set_hook(None)
        with Cache(cache.root) as builder:
            assert builder.blobs.drop_if_damaged(digest)
            builder.blobs.put(b"blob 0")

    set_hook(lambda name: build(name) if name == "repair-before-discard" else None)
    assert verify(cache, repair=True).damaged == ()
    assert Path(path).read_bytes() == b"blob 0"


def test_what_a_prune_takes_meanwhile_is_no_damage(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(cache)

    def vanish(*arguments: Any) -> int:
        raise FileNotFoundError(errno.ENOENT, "gone")

    monkeypatch.setattr(verifying, "os", FaultyOs(open=vanish))
    report = verify(cache)
    assert (report.blobs, report.damaged) == (0, ())


VERIFY = """
import os, sys
from hostbuild.points import set_hook
from hostbuild.store.cache import Cache
from hostbuild.store.verifying import verify
set_hook(lambda name: os.kill(os.getpid(), 9) if name == "repair-before-discard" else None)
verify(Cache(sys.argv[1]), repair=True)
"""


def test_a_killed_repair_loses_nothing_and_is_done_again(cache: Cache) -> None:
    digests = fill(cache)
    path = damage(cache, digests[0], b"wrong!")
    process = start(VERIFY, cache.root)
    assert process.wait() == -9
    kill(process)
    assert found(verify(cache, repair=True)) == {path: "its bytes are not what its name says"}
    report = verify(cache)
    assert (report.blobs, report.is_good) == (5, True)

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import CorruptBlobError
from hostbuild.oci.digest import Digest
from hostbuild.store import rechecking
from hostbuild.store.cache import Cache

KEY = "ab" * 32


@pytest.fixture
def made(cache: Cache) -> str:
    """The path of a blob that a recipe gave."""

    def make() -> dict[str, Any]:
        digest, size = cache.blobs.put(b"the bytes")
        return {"digest": str(digest), "size": size}

    value, _ = cache.produce(KEY, make)
    return cache.blobs.path(Digest.parse(value["digest"]))


def later(cache: Cache, seconds: float) -> None:
    """Have the record say that the bytes were seen so long ago."""
    path = Path(cache.keys.path(KEY))
    record = json.loads(path.read_text())
    record["seen"]["time"] -= int(seconds)
    path.write_text(json.dumps(record))


def again(cache: Cache) -> Cache:
    """Another process's look at the same cache."""
    return Cache(cache.root)


def exchange(path: str, data: bytes) -> None:
    """Another file of the same size and times in its place."""
    found = os.stat(path)
    keep = f"{path}.keep"
    os.rename(path, keep)  # so that its inode is not given to the new one
    Path(path).write_bytes(data)
    os.chmod(path, 0o444)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def damage(path: str) -> None:
    os.chmod(path, 0o600)
    Path(path).write_bytes(b"the bytEs")
    os.chmod(path, 0o444)


def test_what_was_seen_today_is_not_read_again(
    cache: Cache, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rechecking, "is_whole", lambda *_: pytest.fail("it was read"))
    assert again(cache).recorded(KEY) is not None


def test_a_blob_that_was_exchanged_is_seen_at_once(cache: Cache, made: str) -> None:
    exchange(made, b"the bytEs")
    with pytest.raises(CorruptBlobError) as caught:
        again(cache).recorded(KEY)
    assert caught.value.extra["digest"] == str(Digest.of(b"the bytes"))
    assert again(cache).recorded(KEY, claim=False) is not None, "a look reads nothing"


def test_the_same_bytes_in_another_file_are_all_right(cache: Cache, made: str) -> None:
    exchange(made, b"the bytes")
    assert again(cache).recorded(KEY) is not None
    record = json.loads(Path(cache.keys.path(KEY)).read_text())
    assert record["seen"]["inodes"] == [os.stat(made).st_ino]


def test_lost_bits_are_seen_within_a_day(cache: Cache, made: str) -> None:
    damage(made)
    assert again(cache).recorded(KEY) is not None
    later(cache, rechecking.CHECK_AGE + 1)
    with pytest.raises(CorruptBlobError):
        again(cache).recorded(KEY)


@pytest.mark.parametrize("seconds", [rechecking.CHECK_AGE + 1, -2 * rechecking.CHECK_AGE])
def test_what_is_good_is_noted(cache: Cache, made: str, seconds: float) -> None:
    later(cache, seconds)
    assert again(cache).recorded(KEY) is not None
    record = json.loads(Path(cache.keys.path(KEY)).read_text())
    assert abs(record["seen"]["time"] - time.time()) < 3600


@pytest.mark.parametrize("seen", [None, [], {}, {"time": "x"}, {"time": 1, "inodes": 3}])
def test_a_record_that_does_not_tell_is_looked_into(cache: Cache, made: str, seen: object) -> None:
    path = Path(cache.keys.path(KEY))
    path.write_text(json.dumps({**json.loads(path.read_text()), "seen": seen}))
    damage(made)
    with pytest.raises(CorruptBlobError):
        again(cache).recorded(KEY)

"""Blobs whose pieces are hashed on a thread while they are written."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from hostbuild.errors import StoreError
from hostbuild.oci.digest import Digest
from hostbuild.store.cache import Cache

LARGE = 300 << 10


def hashing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hashing"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_pieces_of_all_sizes_in_order(algorithm: str, tmp_path: Path) -> None:
    """The buffer is used again for each piece, as a download does it."""
    expected = hashlib.new(algorithm)
    buffer = memoryview(bytearray(LARGE))
    with Cache(tmp_path / "cache") as cache, cache.blobs.writer(algorithm, beside=True) as writer:
        for number, size in enumerate((LARGE, 10, LARGE, LARGE, 0, 1000, LARGE - 1)):
            buffer[:size] = bytes([number]) * size
            expected.update(buffer[:size])
            assert writer.write(buffer[:size]) == size
        digest = Digest(algorithm, expected.hexdigest())
        assert writer.digest == digest
        writer.commit(digest, writer.size)
        cache.blobs.verify(digest, writer.size)
    assert hashing_threads() == []


def test_small_pieces_need_no_thread(tmp_path: Path) -> None:
    with Cache(tmp_path / "cache") as cache, cache.blobs.writer(beside=True) as writer:
        writer.write(bytes(1000))
        assert hashing_threads() == []


def test_a_full_disk_is_told_and_ends_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Cache(tmp_path / "cache") as cache:

        def full(descriptor: int, data: memoryview) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.write", full)
        with pytest.raises(StoreError), cache.blobs.writer(beside=True) as writer:
            writer.write(bytes(LARGE))
    assert hashing_threads() == []

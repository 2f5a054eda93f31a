from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from hostbuild.errors import StoreError
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from hostbuild.store.seals import Seal, open_seal
from tests.store.helpers import build_id, make_build

RECORD = {"buildId": "0" * 64, "warnings": ["\udcff", "ü"]}


def test_a_seal_is_of_one_record_one_index_and_one_secret() -> None:
    seal = Seal(b"x" * 32)
    sealed = {**RECORD, "seal": seal.of(RECORD, b"index")}
    assert seal.fits(sealed, b"index")
    assert not seal.fits(sealed, b"other")
    assert not seal.fits({**sealed, "more": 1}, b"index")
    assert not seal.fits(RECORD, b"index")
    assert not Seal(b"y" * 32).fits(sealed, b"index")
    assert not Seal(None).fits({**RECORD, "seal": ""}, b"index")


def test_the_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    assert open_seal(str(tmp_path), create=False).of(RECORD, b"") == ""
    assert list(tmp_path.iterdir()) == []
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(open_seal(str(tmp_path)).of(RECORD, b"")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", ["torn", "long", "link"])
def test_a_secret_that_is_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "secret"
    if damage == "link":
        path.symlink_to("/dev/zero")
        with pytest.raises(StoreError, match="symbolic link"):
            open_seal(str(tmp_path))
        return
    path.write_bytes(b"" if damage == "torn" else bytes(33))
    seal = open_seal(str(tmp_path)).of(RECORD, b"")
    assert seal
    assert open_seal(str(tmp_path)).of(RECORD, b"") == seal


def test_only_sealed_builds_are_found(tmp_path: Path, cache: Cache) -> None:
    root = tmp_path / ".func"
    ours, others = BuildDir(root, Seal(b"x" * 32)), BuildDir(root, Seal(b"y" * 32))
    make_build(ours, cache, 1)
    make_build(BuildDir(root), cache, 2)
    one, two = build_id(1), build_id(2)
    assert ours.find(one)
    assert not others.find(one)
    assert not ours.find(two)
    assert BuildDir(root).find(one)
    assert BuildDir(root).find(two)
    assert ours.pin(two) is None
    make_build(others, cache, 1)
    assert others.find(one)
    assert not ours.find(one)


def test_a_blob_that_can_be_written_was_replaced(tmp_path: Path, cache: Cache) -> None:
    builds = BuildDir(tmp_path / ".func", Seal(b"x" * 32))
    make_build(builds, cache, 1)
    found = builds.find(build_id(1))
    assert found
    blob = next(Path(found).glob("oci/blobs/sha256/*"))
    data = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(bytes(len(data)))
    os.chmod(blob, 0o644)
    assert builds.find(build_id(1)) is None

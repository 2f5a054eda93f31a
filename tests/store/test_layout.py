from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from hostbuild.errors import CorruptBlobError, StoreError
from hostbuild.oci.digest import Digest
from hostbuild.points import set_hook
from hostbuild.store import copying
from hostbuild.store.cache import Cache
from hostbuild.store.copying import copy_file, link_or_copy
from hostbuild.store.layout import write_layout
from tests.store.helpers import FaultyOs, blobs_of, failing, index_of, tree


def check(directory: Path, cache: Cache, descriptors: list[tuple[Digest, int]]) -> None:
    assert json.loads((directory / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert (directory / "index.json").read_bytes() == index_of(descriptors)
    names = sorted(digest.hex for digest, _ in descriptors)
    assert sorted(os.listdir(directory / "blobs" / "sha256")) == names
    for digest, size in descriptors:
        assert (directory / "blobs" / "sha256" / digest.hex).read_bytes() == cache.blobs.read(digest, size)


def test_a_linked_layout_shares_the_cache_inodes(cache: Cache, tmp_path: Path) -> None:
    descriptors = blobs_of(cache, "x")
    write_layout(str(tmp_path / "oci"), cache.blobs, index_of(descriptors), [*descriptors, descriptors[0]])
    check(tmp_path / "oci", cache, descriptors)
    for digest, _ in descriptors:
        placed = os.stat(tmp_path / "oci" / "blobs" / "sha256" / digest.hex)
        assert placed.st_ino == os.stat(cache.blobs.path(digest)).st_ino
        assert placed.st_nlink == 2


@pytest.mark.parametrize(("umask", "mode"), [(0o000, 0o644), (0o022, 0o644), (0o077, 0o600)])
def test_a_layout_for_the_user_is_a_copy_of_its_own(
    cache: Cache, tmp_path: Path, umask: int, mode: int
) -> None:
    descriptors = blobs_of(cache, "x")
    before = os.umask(umask)
    try:
        write_layout(str(tmp_path / "oci"), cache.blobs, index_of(descriptors), descriptors, link=False)
    finally:
        os.umask(before)
    check(tmp_path / "oci", cache, descriptors)
    for digest, _ in descriptors:
        placed = os.stat(tmp_path / "oci" / "blobs" / "sha256" / digest.hex)
        assert placed.st_nlink == 1
        assert stat.S_IMODE(placed.st_mode) == mode
    assert not any(path.stat().st_mode & 0o022 for path in (tmp_path / "oci").rglob("*"))


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP])
def test_where_links_cannot_be_made_blobs_are_copied(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    descriptors = blobs_of(cache, "x")
    monkeypatch.setattr(copying, "os", FaultyOs(link=failing(code)))
    write_layout(str(tmp_path / "oci"), cache.blobs, index_of(descriptors), descriptors)
    check(tmp_path / "oci", cache, descriptors)
    for digest, _ in descriptors:
        placed = os.stat(tmp_path / "oci" / "blobs" / "sha256" / digest.hex)
        assert placed.st_nlink == 1
        assert stat.S_IMODE(placed.st_mode) == 0o444


def test_a_layout_on_another_disk(cache: Cache, small_disk: Path | None, tmp_path: Path) -> None:
    descriptors = blobs_of(cache, "x")
    directory = (small_disk or tmp_path) / "oci"
    write_layout(str(directory), cache.blobs, index_of(descriptors), descriptors)
    check(directory, cache, descriptors)


def test_a_full_disk_is_a_clear_error(
    cache: Cache, small_disk: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors = [cache.blobs.put(os.urandom(1_000_000))]
    directory = (small_disk or tmp_path) / "oci"
    if small_disk is None:
        monkeypatch.setattr(copying, "os", FaultyOs(write=failing(errno.ENOSPC)))
    with pytest.raises(StoreError, match="no space is left") as caught:
        write_layout(str(directory), cache.blobs, index_of(descriptors), descriptors, link=False)
    assert str(directory) in caught.value.what
    assert os.listdir(directory / "blobs" / "sha256") == []
    assert not (directory / "index.json").exists()


def test_an_absent_blob_and_one_of_another_size_are_named(cache: Cache, tmp_path: Path) -> None:
    absent = (Digest.of(b"absent"), 6)
    with pytest.raises(StoreError, match=str(absent[0])):
        write_layout(str(tmp_path / "a"), cache.blobs, b"{}", [absent])
    digest, size = cache.blobs.put(b"short")
    for link in (True, False):
        with pytest.raises(CorruptBlobError, match=f"{digest}.*5 bytes instead of 6"):
            write_layout(str(tmp_path / f"b{link}"), cache.blobs, b"{}", [(digest, size + 1)], link=link)
    with pytest.raises(ValueError, match="two sizes"):
        write_layout(str(tmp_path / "c"), cache.blobs, b"{}", [(digest, 5), (digest, 6)])


def test_a_directory_in_use_is_not_written(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(StoreError, match="not empty"):
        write_layout(str(tmp_path), cache.blobs, b"{}", [])


def test_index_json_comes_last(cache: Cache, tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {}

    def look(name: str) -> None:
        seen[name] = tree(tmp_path / "oci")

    set_hook(look)
    descriptors = blobs_of(cache, "x")
    seen.clear()
    write_layout(str(tmp_path / "oci"), cache.blobs, index_of(descriptors), descriptors)
    assert list(seen) == ["layout-partly-written", "layout-before-index", "layout-complete"]
    assert "index.json" not in (*seen["layout-partly-written"], *seen["layout-before-index"])
    assert len(seen["layout-before-index"]) == 6
    assert "index.json" in seen["layout-complete"]


def test_a_copy_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(os.urandom(3_000_001))
    assert copy_file(str(source), str(copy)) == 3_000_001
    assert copy.read_bytes() == source.read_bytes()
    with pytest.raises(FileExistsError):
        copy_file(str(source), str(copy))
    assert copy.read_bytes() == source.read_bytes()
    monkeypatch.setattr(copying, "os", FaultyOs(fsync=failing(errno.EIO)))
    with pytest.raises(OSError, match="Input/output"):
        copy_file(str(source), str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_a_link_in_place_of_a_blob_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "blob").symlink_to("secret")
    with pytest.raises(OSError, match="symbolic links"):
        copy_file(str(tmp_path / "blob"), str(tmp_path / "copy"))
    link_or_copy(str(tmp_path / "blob"), str(tmp_path / "linked"), mode=0o444)
    assert (tmp_path / "linked").is_symlink()


def test_a_planted_link_is_not_taken_for_a_blob(cache: Cache, tmp_path: Path) -> None:
    digest, size = cache.blobs.put(b"content")
    path = Path(cache.blobs.path(digest))
    path.unlink()
    (tmp_path / "secret").write_bytes(b"secrets")
    os.symlink("secrets", path)  # as long as the blob
    for link in (True, False):
        with pytest.raises(StoreError, match="not a plain file"):
            write_layout(str(tmp_path / f"oci{link}"), cache.blobs, b"{}", [(digest, size)], link=link)

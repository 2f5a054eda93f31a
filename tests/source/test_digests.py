from __future__ import annotations

import errno
import hashlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from hostbuild.errors import SourceChangedError, SourceError
from hostbuild.source import FileDigests, digests
from hostbuild.source.index import facts_of

OLD = 1_000_000_000


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written from here on was written long ago."""
    monkeypatch.setattr(digests, "RACY_NS", -(10**18))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The paths that are opened."""
    opened: list[bytes] = []
    real = digests.open_regular

    def note(path: bytes, *, follow: bool = False) -> int:
        opened.append(path)
        return real(path, follow=follow)

    monkeypatch.setattr(digests, "open_regular", note)
    return opened


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_files_of_any_size(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "file"
    path.write_bytes(data)
    content = FileDigests().read(os.fsencode(path))
    assert content.digest == sha256(data)
    assert facts_of(content.signature).size == size


def test_what_did_not_change_is_read_once(
    tmp_path: Path, reads: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    path = tmp_path / "file"
    path.write_text("one")
    memory = FileDigests()
    assert memory.of(str(path)) == memory.of(str(path), path.stat()) == sha256(b"one")
    assert len(reads) == 1
    path.write_text("longer")
    assert memory.of(str(path)) == sha256(b"longer")
    assert len(reads) == 2


def test_an_edit_that_keeps_size_and_mtime_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, (OLD, OLD))
    memory = FileDigests()
    assert memory.of(str(path)) == sha256(b"one")
    path.write_text("two")
    os.utime(path, (OLD, OLD))
    assert memory.of(str(path)) == sha256(b"two")


def test_a_file_that_was_just_written_is_always_read_again(tmp_path: Path, reads: list[bytes]) -> None:
    path = tmp_path / "file"
    memory = FileDigests()
    for number in range(50):
        # Within one tick of the file system's clock all of these have the same times and size.
        with path.open("r+b" if number else "wb") as stream:
            stream.write(b"%02d" % number)
        assert memory.of(str(path)) == sha256(b"%02d" % number)
    assert len(reads) == 50


def test_a_file_from_the_future_is_always_read_again(tmp_path: Path, reads: list[bytes]) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, (OLD * 10, OLD * 10))
    memory = FileDigests()
    assert memory.of(str(path)) == memory.of(str(path))
    assert len(reads) == 2


def test_the_memory_can_be_taken_out_and_put_back(
    tmp_path: Path, reads: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fil\udcffe"
    path.write_text("one")
    fresh = FileDigests()
    fresh.of(str(path))
    assert len(fresh.export()) == 0, "what was just written is not to be trusted later"
    settle(monkeypatch)
    first = FileDigests()
    first.of(str(path))
    assert first.export().find(os.fsencode(path))[:32].hex() == sha256(b"one")
    again = FileDigests(first.export)
    assert again.of(str(path)) == sha256(b"one")
    assert len(reads) == 2
    path.write_text("two")
    assert again.of(str(path)) == sha256(b"two")


def test_of_follows_links_and_read_does_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one")
    link = tmp_path / "link"
    link.symlink_to("file")
    assert FileDigests().of(str(link)) == sha256(b"one")
    with pytest.raises(SourceChangedError):
        FileDigests().read(os.fsencode(link))


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not a regular file"):
        FileDigests().of(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="not a regular file"):
        FileDigests().of(str(tmp_path / "pipe"))
    with pytest.raises(SourceError, match="cannot be read") as caught:
        FileDigests().of(str(tmp_path / "missing"))
    assert not isinstance(caught.value, SourceChangedError)


def test_a_file_that_vanished_has_changed(tmp_path: Path) -> None:
    with pytest.raises(SourceChangedError, match="missing"):
        FileDigests().read(os.fsencode(tmp_path / "missing"))


def while_reading(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], times: int) -> None:
    real, left = os.read, [times]

    def read(descriptor: int, size: int) -> bytes:
        data = real(descriptor, size)
        if left[0]:
            left[0] -= 1
            act()
        return data

    monkeypatch.setattr("os.read", read)


def test_a_file_that_is_written_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    while_reading(monkeypatch, lambda: path.write_text("another"), times=1)
    content = FileDigests().read(os.fsencode(path))
    assert (content.digest, facts_of(content.signature).size) == (sha256(b"another"), 7)


def test_a_file_that_never_comes_to_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_text("one")

    def grow() -> None:
        with path.open("a") as stream:
            stream.write("more")

    while_reading(monkeypatch, grow, times=1000)
    with pytest.raises(SourceChangedError) as caught:
        FileDigests().of(str(path))
    assert "log" in caught.value.what
    assert caught.value.fix


def test_too_many_open_files_are_not_the_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("one")

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceError) as caught:
        FileDigests().of(str(tmp_path / "file"))
    assert "ulimit -n" in caught.value.fix
    assert not isinstance(caught.value, SourceChangedError)


def test_one_byte_of_a_large_file_and_constant_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    size = 96 << 20
    path = tmp_path / "large"
    with path.open("wb") as stream:
        stream.truncate(size)
    os.utime(path, (OLD, OLD))
    memory = FileDigests()
    tracemalloc.start()
    try:
        before = memory.of(str(path))
        with path.open("r+b") as stream:
            stream.seek(size - 1)
            stream.write(b"x")
        os.utime(path, (OLD, OLD))
        assert memory.of(str(path)) != before
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()

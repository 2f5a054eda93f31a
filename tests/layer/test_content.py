from __future__ import annotations

import errno
import functools
import io
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from hostbuild.errors import SourceChangedError, SourceError
from hostbuild.model import Entry
from hostbuild.records import replace
from tests.layer.helpers import file, layer

MIB = 1 << 20
SIZES = [1, 512, 4000, MIB - 1, MIB, MIB + 1, 3 * MIB, 3 * MIB - 1536]


def raw(path: Path) -> BinaryIO:
    return open(path, "rb", buffering=0)


def on_disk(path: Path, size: int, digest: str = "") -> Entry:
    return Entry(
        "a", "file", 0o644, size=size, open=functools.partial(raw, path), digest=digest, origin=str(path)
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("change", [-1, 1, -512, 512, 5 * MIB])
# The last one lets the file begin with a member, so that a whole one is read at once.
@pytest.mark.parametrize("before", [0, 700, MIB - 1024])
def test_file_of_another_size_is_named(tmp_path: Path, size: int, change: int, before: int) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(max(0, size + change)))
    with pytest.raises(SourceChangedError) as caught:
        layer([file("A", bytes(before)), on_disk(path, size)])
    assert str(path) in caught.value.what
    assert "bytes" in caught.value.why


@pytest.mark.parametrize("threads", [1, 2])
def test_file_that_was_empty_and_is_not(tmp_path: Path, threads: int) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x")
    with pytest.raises(SourceChangedError):
        layer([on_disk(path, 0)], threads=threads)


@pytest.mark.parametrize("size", [0, *SIZES])
def test_other_content_of_the_same_size_is_named(size: int) -> None:
    good = file("a", b"x" * size, digest=True)
    assert layer([good])[0].entries == 1
    other = "0" * 64
    with pytest.raises(SourceChangedError) as caught:
        layer([replace(good, digest=other)])
    assert "/src/a" in caught.value.what
    assert "content" in caught.value.why


def test_file_that_vanished(tmp_path: Path) -> None:
    with pytest.raises(SourceChangedError) as caught:
        layer([on_disk(tmp_path / "gone", 5)])
    assert str(tmp_path / "gone") in caught.value.what


def test_file_that_became_a_directory(tmp_path: Path) -> None:
    with pytest.raises(SourceChangedError):
        layer([on_disk(tmp_path, 5)])


def refuse(number: int) -> BinaryIO:
    raise OSError(number, os.strerror(number))


class Failing(io.BytesIO):
    """Gives some bytes, then an error, as a bad disk does."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 2 * MIB:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)


def test_file_that_cannot_be_opened_is_no_change() -> None:
    entry = replace(file("a", b"x"), open=functools.partial(refuse, errno.EACCES))
    with pytest.raises(SourceError) as caught:
        layer([entry])
    assert not isinstance(caught.value, SourceChangedError)
    assert "/src/a" in caught.value.what
    assert caught.value.why == "Permission denied"
    assert caught.value.fix


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ESTALE])
def test_file_that_is_another_thing_now_is_a_change(number: int) -> None:
    with pytest.raises(SourceChangedError):
        layer([replace(file("a", b"x"), open=functools.partial(refuse, number))])


def test_error_while_reading_names_the_file_and_closes_it() -> None:
    stream = Failing(bytes(4 * MIB))
    entry = replace(file("a", bytes(4 * MIB)), open=lambda: stream)
    with pytest.raises(SourceError) as caught:
        layer([entry], threads=2)
    assert "/src/a" in caught.value.what
    assert stream.closed


def test_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(8 * MIB))

    def shrink(data: bytes) -> None:
        os.truncate(path, 6 * MIB)

    from hostbuild.layer import write_layer

    with pytest.raises(SourceChangedError):
        write_layer([on_disk(path, 8 * MIB)], shrink)


def test_error_without_an_origin_names_the_path() -> None:
    with pytest.raises(SourceChangedError, match="'a'"):
        layer([replace(file("a", b"x"), size=3, origin="")])


def test_file_without_a_way_to_read_it() -> None:
    assert layer([Entry("a", "file", 0o644)])[0].entries == 1
    with pytest.raises(ValueError, match="no way to read"):
        layer([Entry("a", "file", 0o644, size=1)])

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import deflate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.layer import GZIP, LAYER_FORMAT, write_layer
from hostbuild.layer.writer import MAX_THREADS
from hostbuild.model import Entry
from hostbuild.records import replace
from tests.layer.helpers import contents, file, folder, layer, link, members

SMALL_MEMBERS = replace(GZIP, member_size=1024)


def sample() -> list[Entry]:
    return [
        folder("func"),
        file("func/a.txt", b"hello\n"),
        file("func/big", bytes(range(256)) * 12_000),
        file("func/empty"),
        link("func/link", "a.txt"),
        file("func/run", b"#!/bin/sh\n", mode=0o755),
    ]


def test_result_says_what_was_written() -> None:
    result, blob = layer(sample())
    archive = gzip.decompress(blob)
    assert result.media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert str(result.digest) == "sha256:" + hashlib.sha256(blob).hexdigest()
    assert result.size == len(blob)
    assert str(result.diff_id) == "sha256:" + hashlib.sha256(archive).hexdigest()
    assert result.diff_size == len(archive)
    assert result.entries == 6


def test_archive_holds_the_entries_and_nothing_of_this_machine() -> None:
    archive = gzip.decompress(layer(sample())[1])
    found = members(archive)
    assert [info.name for info in found] == [entry.path for entry in sample()]
    assert {(info.uid, info.gid, info.uname, info.gname, info.mtime) for info in found} == {
        (1000, 1000, "", "", 0)
    }
    assert [info.mode for info in found] == [0o755, 0o644, 0o644, 0o644, 0o777, 0o755]
    assert found[0].isdir()
    assert found[4].issym()
    assert found[4].linkname == "a.txt"
    assert contents(archive)["func/big"] == bytes(range(256)) * 12_000
    assert archive.endswith(bytes(1024))


def test_empty_layer_is_a_valid_archive() -> None:
    result, blob = layer([])
    assert gzip.decompress(blob) == bytes(1024)
    assert members(gzip.decompress(blob)) == []
    assert result.entries == 0


def test_same_bytes_as_ever() -> None:
    """A compressor or header that gives other bytes must change LAYER_FORMAT: caches rely on it."""
    text = b"".join(b"line %d of a text that compresses\n" % (number * number) for number in range(90_000))
    known = [*sample(), file("func/text", text), file("func/\u00fc\u00fc", b"x")]
    result, _ = layer(known, threads=2)
    assert LAYER_FORMAT == "tar1+gzip:libdeflate-stored:1:1048576"
    assert result.diff_id.hex == "9765f2fd44b4a1560bfd648c11aa4a586ab1ee2ffcc4f68efb1d91b2940f9030"
    assert result.digest.hex == "9fc08208e0b69f4398d93f5a537d2e2c53cdd57944d214697e95a1d8fa91e823"


@pytest.mark.parametrize("compression", [GZIP, SMALL_MEMBERS])
def test_bytes_do_not_depend_on_threads(compression: object) -> None:
    assert isinstance(compression, type(GZIP))
    data = os.urandom(300_000) + bytes(3_000_000)
    entries = [file("a", data), *(file(f"b{number:03}", data[: number * 37]) for number in range(200))]
    blobs = {layer(entries, threads=threads, compression=compression)[1] for threads in (1, 2, 4)}
    assert len(blobs) == 1


@pytest.mark.parametrize("step", [1, 511, 1000, 4096])
def test_bytes_do_not_depend_on_how_a_file_gives_them(step: int) -> None:
    data = bytes(range(251)) * 40
    whole = layer([file("a", data, digest=True)], compression=SMALL_MEMBERS)
    assert layer([file("a", data, digest=True, step=step)], compression=SMALL_MEMBERS) == whole


edges = st.sampled_from([0, 1, 511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 1536, 2560])
sizes = st.lists(edges | st.integers(0, 5000), max_size=6)


@settings(max_examples=150, deadline=None)
@given(sizes=sizes, threads=st.sampled_from([1, 2]), member=st.sampled_from([512, 1000, 1024, 4096]))
def test_any_sizes_come_back(sizes: list[int], threads: int, member: int) -> None:
    data = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    entries = [file(f"f{number}", content, digest=True) for number, content in enumerate(data)]
    compression = replace(GZIP, member_size=member)
    result, blob = layer(entries, threads=threads, compression=compression)
    archive = gzip.decompress(blob)
    assert contents(archive) == {f"f{number}": content for number, content in enumerate(data)}
    assert result.diff_size == len(archive) == 1024 + sum(512 + size + -size % 512 for size in sizes)


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (1 << 20) - 512, (2 << 20) - 512])
@pytest.mark.parametrize("threads", [1, 2])
def test_sizes_around_a_member(size: int, threads: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    archive = gzip.decompress(layer([file("a", data, digest=True), file("b", b"x")], threads=threads)[1])
    assert contents(archive) == {"a": data, "b": b"x"}


def test_members_have_a_fixed_input_size() -> None:
    result, blob = layer([file("a", bytes(5000))], compression=SMALL_MEMBERS)
    compress = GZIP.function()
    assert compress is not None
    pieces = []
    rest = blob
    while rest:
        plain = deflate.gzip_decompress(rest, 1024)
        again = compress(bytes(plain))
        assert rest.startswith(again)
        rest = rest[len(again) :]
        pieces.append(len(plain))
    assert pieces[:-1] == [1024] * (len(pieces) - 1)
    assert sum(pieces) == result.diff_size


def test_other_tools_decompress_it(tmp_path: Path) -> None:
    _, blob = layer(sample(), threads=2)
    path = tmp_path / "layer.tar.gz"
    path.write_bytes(blob)
    subprocess.run(["gzip", "-t", path], check=True)
    plain = subprocess.run(["gzip", "-dc", path], check=True, stdout=subprocess.PIPE).stdout
    assert plain == gzip.decompress(blob)
    with tarfile.open(path, "r:gz") as archive:
        assert archive.getnames() == [entry.path for entry in sample()]


def test_on_entry_is_told_each_entry_in_order() -> None:
    told: list[Entry] = []
    write_layer(sample(), lambda data: None, on_entry=told.append)
    assert told == sample()


def test_one_thread_starts_none() -> None:
    before = threading.active_count()
    seen: list[int] = []
    write_layer(sample(), lambda data: seen.append(threading.active_count()), threads=1)
    assert set(seen) == {before}


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_write_is_called_in_this_thread_and_its_error_passes(threads: int) -> None:
    before = threading.active_count()

    def full(data: bytes) -> None:
        assert threading.current_thread() is threading.main_thread()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_layer([file("a", bytes(9_000_000))], full, threads=threads)
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [1, 2])
def test_error_of_the_entries_passes_and_ends_the_threads(threads: int) -> None:
    before = threading.active_count()

    def broken() -> Iterator[Entry]:
        yield file("a", bytes(5_000_000))
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        layer(broken(), threads=threads)
    assert threading.active_count() == before


def test_threads_are_bounded() -> None:
    seen: list[int] = []
    before = threading.active_count()
    entries = [file("a", bytes(500_000))]
    write_layer(
        entries, lambda data: seen.append(threading.active_count()), compression=SMALL_MEMBERS, threads=1000
    )
    assert 2 < max(seen) - before <= MAX_THREADS + 1


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="threads"):
        layer([], threads=0)

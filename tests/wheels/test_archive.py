"""The archive: what is not plainly a wheel is refused with a clear error, whatever is wrong with it."""

from __future__ import annotations

import io
import os
import stat
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostbuild.errors import WheelError
from hostbuild.wheels import archive
from hostbuild.wheels.install import install_entries
from hostbuild.wheels.wheel import read_wheel
from tests.wheels.handmade import FILENAME, INFO, contents, make_wheel, member, record_of, row, write_zip

BIG = bytes(range(256)) * 64
FILES: dict[str, bytes | str] = {"demo/__init__.py": "X = 1\n", "demo/big.bin": BIG}


def read_all(path: Path, origin: str = FILENAME) -> dict[str, bytes]:
    """Every file of the wheel, read to its end."""
    wheel = read_wheel(str(path), origin)
    found = {}
    for file in wheel.files:
        with wheel.open(file) as stream:
            found[file.path] = stream.read()
    return found


def refusal(path: Path, origin: str = FILENAME) -> WheelError:
    with pytest.raises(WheelError) as caught:
        read_all(path, origin)
    assert origin in caught.value.what
    assert caught.value.why
    assert caught.value.fix
    assert caught.value.extra["wheel"] == origin
    return caught.value


def patched(path: Path, change: Callable[[bytearray], object]) -> Path:
    """The file after a change of its bytes."""
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def directory_entry(data: bytearray, name: str) -> int:
    """Where the directory's entry for a member begins."""
    return data.rindex(name.encode()) - 46


def test_a_right_wheel_is_read(tmp_path: Path) -> None:
    assert read_all(make_wheel(tmp_path, FILES)) == contents(FILES)


def test_members_may_be_stored_and_of_zip64(tmp_path: Path) -> None:
    whole = contents(FILES)
    path = tmp_path / FILENAME
    with zipfile.ZipFile(path, "w") as written:
        for name, data in {**whole, f"{INFO}/RECORD": record_of(whole).encode()}.items():
            with written.open(name, "w", force_zip64=True) as stream:
                stream.write(data)
    assert read_all(path) == whole


def test_a_directory_and_an_end_record_of_zip64_are_read(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, FILES)
    data = path.read_bytes()
    end = data.rindex(b"PK\x05\x06")
    _, _, _, _, count, size, offset, _ = struct.unpack("<4s4H2LH", data[end:])
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    place = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(data[:end] + wide + place + last)
    assert read_all(path) == contents(FILES)
    path.write_bytes(data[:end] + place + last)
    assert "ZIP64" in refusal(path).why


def test_a_comment_and_directories_do_not_disturb(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, FILES, extra=[(member("demo/sub/", stat.S_IFDIR | 0o755), b"")])
    with zipfile.ZipFile(path, "a") as opened:
        opened.comment = b"PK\x05\x06 is what an end record begins with"
    assert read_all(path) == contents(FILES)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("/etc/passwd", "absolute"),
        ("../../evil.py", "'..'"),
        ("demo/../../evil.py", "'..'"),
        ("./demo/evil.py", "'.'"),
        ("demo//evil.py", "''"),
        ("..\\evil.py", "backslash"),
        ("C:/evil.py", "drive"),
        ("demo/evil\0.py", "character"),
        ("demo/evil\n.py", "character"),
        ("x" * 300, "255 bytes"),
        ("x/" * 30_000 + "x", "bytes, more than"),
        ("demo/__init__.py/x", "cannot be there besides"),
        ("DEMO/__init__.py", "cannot be there besides"),
        ("demo/__init__.py", "twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_names_are_refused(tmp_path: Path, name: str, word: str) -> None:
    whole = {**contents(FILES), name: b"evil"}
    error = refusal(make_wheel(tmp_path, FILES, record=record_of(whole), extra=[(name, b"evil")]))
    assert word in error.why
    assert len(error.why) < 500
    assert error.extra["member"]


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {**FILES, "demo/qqq.py": b""})

    def change(data: bytearray) -> None:
        data[:] = data.replace(b"qqq", b"\xff\xfeq")

    assert "UTF-8" in refusal(patched(path, change)).why


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (stat.S_IFLNK, "symbolic link"),
        (stat.S_IFIFO, "plain file"),
        (stat.S_IFCHR, "plain file"),
        (stat.S_IFBLK, "plain file"),
        (stat.S_IFSOCK, "plain file"),
        (stat.S_IFDIR, "plain file"),
    ],
)
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: int, word: str) -> None:
    error = refusal(make_wheel(tmp_path, {**FILES, "demo/x": b"/etc"}, modes={"demo/x": kind | 0o777}))
    assert word in error.why
    assert error.extra["member"] == "demo/x"


def test_a_directory_by_name_has_no_content(tmp_path: Path) -> None:
    assert "directory" in refusal(make_wheel(tmp_path, FILES, extra=[("demo/d/", b"content")])).why


@pytest.mark.parametrize(
    ("at", "size", "value", "word"),
    [
        (8, 2, 0x0001, "encrypted"),
        (8, 2, 0x0040, "encrypted"),
        (8, 2, 0x0020, "wheels use"),
        (10, 2, 12, "bzip2"),
        (10, 2, 14, "LZMA"),
        (10, 2, 77, "method 77"),
        (10, 2, 0, "another way"),
        (16, 4, 99, "checksum"),
        (24, 4, 99, "RECORD"),
        (20, 4, 1 << 20, "overlaps"),
        (42, 4, 5, "overlaps"),
        (46, 1, ord("e"), "RECORD"),
        (34, 2, 1, "wheels use"),
    ],
)
def test_a_directory_that_lies_is_refused(tmp_path: Path, at: int, size: int, value: int, word: str) -> None:
    """The place is within the directory's entry of one member (APPNOTE 4.3.12)."""

    def change(data: bytearray) -> None:
        start = directory_entry(data, "demo/big.bin") + at
        data[start : start + size] = value.to_bytes(size, "little")

    assert word in refusal(patched(make_wheel(tmp_path, FILES), change)).why


def test_a_size_that_is_not_true_ends_when_it_is_read(tmp_path: Path) -> None:
    for size, word in ((99, "more than"), (1 << 16, "early")):
        name = "demo/big.bin"
        said = record_of(contents(FILES)).replace(f",{len(BIG)}\n", f",{size}\n")
        path = make_wheel(tmp_path, FILES, record=said)

        def change(data: bytearray, size: int = size, name: str = name) -> None:
            start = directory_entry(data, name) + 24
            data[start : start + 4] = size.to_bytes(4, "little")

        assert word in refusal(patched(path, change)).why


def test_another_name_where_the_member_is_stored_is_refused(tmp_path: Path) -> None:
    def change(data: bytearray) -> None:
        at = data.index(b"demo/big.bin")
        data[at : at + 4] = b"evil"

    assert "another name" in refusal(patched(make_wheel(tmp_path, FILES), change)).why


def test_damaged_data_is_refused(tmp_path: Path) -> None:
    def change(data: bytearray) -> None:
        at = data.index(b"demo/big.bin") + len("demo/big.bin") + 10
        data[at] ^= 0xFF

    assert refusal(patched(make_wheel(tmp_path, FILES), change)).extra["member"] == "demo/big.bin"


def test_data_that_two_members_share_is_refused(tmp_path: Path) -> None:
    """Overlapping members are how a small file holds petabytes."""
    path = make_wheel(tmp_path, {**FILES, "demo/big.bix": FILES["demo/big.bin"]})

    def change(data: bytearray) -> None:
        first, second = directory_entry(data, "demo/big.bin"), directory_entry(data, "demo/big.bix")
        data[second + 42 : second + 46] = data[first + 42 : first + 46]

    patched(path, change)
    with pytest.raises(WheelError, match="overlaps"):  # before any of it is unpacked
        read_wheel(str(path), FILENAME)


def test_bytes_around_the_archive_are_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, FILES)
    data = path.read_bytes()
    for wrong in (b"#!/bin/sh\n" + data, data + b"x", data + data, b"x" + data[1:]):
        path.write_bytes(wrong)
        refusal(path)


@pytest.mark.parametrize("keep", [0, 1, 4, 21, 100, -1, -10, -22, -23, -100])
def test_a_truncated_wheel_is_refused(tmp_path: Path, keep: int) -> None:
    path = make_wheel(tmp_path, FILES)
    path.write_bytes(path.read_bytes()[:keep])
    assert refusal(path).extra["member"] == ""


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = make_wheel(tmp_path, {"demo.py": "1\n"}).read_bytes()
    path = tmp_path / "cut" / FILENAME
    path.parent.mkdir()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        refusal(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_change_of_bytes_gives_other_content_or_another_error(tmp_path: Path, data: st.DataObject) -> None:
    path = make_wheel(tmp_path, {"demo.py": "x = 1\n" * 9, "data.bin": b"\0" * 50})
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    with suppress(WheelError):
        wheel = read_wheel(str(path), FILENAME)
        for entry in install_entries(wheel, python="/usr/bin/python3").files:
            assert entry.open is not None
            with entry.open() as stream:
                assert len(stream.read()) == entry.size
        assert read_all(path)["demo.py"] == b"x = 1\n" * 9


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
def test_no_bytes_are_anything_but_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / FILENAME
    path.write_bytes(data)
    refusal(path)


@pytest.mark.parametrize(
    ("limit", "value", "word"),
    [
        ("MAX_UNPACKED", 10_000, "unpacks to"),
        ("MAX_MEMBERS", 3, "members"),
        ("MAX_DIRECTORY", 100, "members"),
    ],
)
def test_what_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, word: str
) -> None:
    path = make_wheel(tmp_path, FILES)
    monkeypatch.setattr(archive, limit, value)
    assert word in refusal(path).why


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / FILENAME
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    write_zip(path, [("demo/zeros", b"")])
    head = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 33, 0, len(zeros), 200 << 20, 10, 0)
    entry = struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 33, 0, len(zeros), 200 << 20, 10, 0, 0, 0, 0, 0, 0
    )
    body = head + b"demo/zeros" + zeros
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry) + 10, len(body), 0)
    path.write_bytes(body + entry + b"demo/zeros" + end)
    assert path.stat().st_size < 300_000
    assert "zip bomb" in refusal(path).why


def test_a_large_member_is_read_in_constant_memory(tmp_path: Path) -> None:
    size = 32 << 20
    data = bytes(size)
    whole = contents({"demo/zeros": data})
    path = make_wheel(tmp_path, {"demo/zeros": data}, record=record_of(whole))
    del whole, data
    wheel = read_wheel(str(path), FILENAME)
    (file,) = (file for file in wheel.files if file.path == "demo/zeros")
    tracemalloc.start()
    try:
        with wheel.open(file) as stream:
            count = 0
            while piece := stream.read(1 << 20):
                count += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == size
    assert peak < 8 << 20


def test_reading_leaves_nothing_open(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {**FILES, "demo/large": os.urandom(3 << 20)})
    before = len(os.listdir("/proc/self/fd"))
    read_all(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_large_member_that_is_not_what_record_says_is_refused(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    whole = contents({"demo/large": data})
    lines = record_of(whole).replace(row("demo/large", data), row("demo/large", data[::-1]))
    error = refusal(make_wheel(tmp_path, {"demo/large": data}, record=lines))
    assert "SHA-256" in error.why
    assert error.extra["member"] == "demo/large"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "plain file" in refusal(tmp_path).why
    assert "read" in refusal(tmp_path / "absent").why
    os.mkfifo(tmp_path / "pipe")
    assert "plain file" in refusal(tmp_path / "pipe").why


def test_zipfile_reads_the_same(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, FILES)
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as opened:
        theirs = {name: opened.read(name) for name in opened.namelist()}
    del theirs[f"{INFO}/RECORD"]
    assert read_all(path) == theirs

"""What an ELF file says of itself, read from right, damaged and hostile ones."""

from __future__ import annotations

import io
import os
import struct
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import ElfError
from hostbuild.oci.platform import Platform
from hostbuild.wheels.elf import Elf, read_elf
from hostbuild.wheels.machinecode import find_machine_code, why_unfit
from hostbuild.wheels.target import Target
from hostbuild.wheels.wheel import read_wheel
from tests.wheels.elves import LOADED_AT, Made, elf
from tests.wheels.handmade import make_wheel

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FULL = Made(
    needed=("libm.so.6", "libc.so.6"),
    soname="libdemo.so.1",
    runpath="$ORIGIN/../demo.libs:/opt/lib",
    rpath="/not/this",
    interpreter="/lib/ld-linux-aarch64.so.1",
    versions={"libc.so.6": ("GLIBC_2.17", "GLIBC_2.34"), "libm.so.6": ("GLIBC_2.29",)},
    defines=("DEMO_1.0", "DEMO_1.1"),
)


class Forward(io.RawIOBase):
    """A stream that cannot go back, and counts."""

    opened = 0

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        Forward.opened += 1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._stream.readinto(buffer)


def opener(data: bytes) -> Callable[[], BinaryIO]:
    return lambda: io.BufferedReader(Forward(data))


def read(data: bytes) -> Elf:
    found = read_elf(data, "demo.so")
    assert found is not None
    assert read_elf(opener(data), "demo.so") == found
    return found


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_all_that_a_file_says(bits: int, order: str) -> None:
    assert read(elf(FULL._replace(bits=bits, order=order))) == Elf(
        machine="aarch64",
        bits=bits,
        kind="shared",
        is_big_endian=order == ">",
        interpreter="/lib/ld-linux-aarch64.so.1",
        soname="libdemo.so.1",
        needed=("libm.so.6", "libc.so.6"),
        search=("$ORIGIN/../demo.libs", "/opt/lib"),
        versions=(
            ("libc.so.6", "GLIBC_2.17"),
            ("libc.so.6", "GLIBC_2.34"),
            ("libm.so.6", "GLIBC_2.29"),
        ),
        defines=("DEMO_1.0", "DEMO_1.1"),
    )


def test_a_file_that_says_little() -> None:
    assert read(elf(Made(machine=4711, kind=9))) == Elf("machine 4711", 64, "other")
    assert read(elf(Made(rpath="/old"))).search == ("/old",)
    assert read(elf(Made(kind=2))).kind == "program"


@pytest.mark.parametrize(
    ("flags", "hard"), [(0x05000400, True), (0x05000200, False), (0x05000000, None), (0, None)]
)
def test_how_arm_passes_floating_point_numbers(flags: int, hard: bool | None) -> None:
    assert read(elf(Made(bits=32, machine=40, flags=flags))).hard_float is hard
    assert read(elf(Made(flags=flags))).hard_float is None


def test_tables_that_lie_far_apart_are_read_in_few_passes_and_little_memory() -> None:
    names = tuple(f"lib{number}.so" for number in range(500))
    data = elf(Made(needed=names, versions={"libc.so.6": ("GLIBC_2.17",)}, gap=6 << 20))
    Forward.opened = 0
    tracemalloc.start()
    try:
        found = read_elf(opener(data), "demo.so")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found is not None
    assert (found.needed, found.versions) == (names, (("libc.so.6", "GLIBC_2.17"),))
    assert Forward.opened <= 4
    assert peak < 12 << 20


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"MZ" * 100, b"#!/bin/sh\n", bytes(1000)])
def test_what_is_no_elf_file_is_none(data: bytes) -> None:
    assert read_elf(data, "x") is None
    assert read_elf(opener(data), "x") is None


def changed(at: int, form: str, value: int, data: bytes | None = None) -> bytes:
    made = bytearray(data or elf(FULL))
    struct.pack_into(form, made, at, value)
    return bytes(made)


LOAD, DYNAMIC = 64, 64 + 56


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF",
        elf(FULL)[:60],
        elf(FULL)[:100],
        elf(FULL)[:-40],
        changed(4, "B", 3),
        changed(5, "B", 0),
        changed(32, "<Q", 1 << 63),
        changed(54, "<H", 1),
        changed(56, "<H", 0xFFFF),
        changed(DYNAMIC + 8, "<Q", 1 << 62),
        changed(DYNAMIC + 32, "<Q", 1 << 62),
        changed(LOAD + 16, "<Q", 1 << 62),
        changed(LOAD + 32, "<Q", 0),
        elf(FULL).replace(struct.pack("<QQ", 1, 1), struct.pack("<QQ", 1, 1 << 40)),
        elf(FULL).replace(struct.pack("<Q", 10), struct.pack("<Q", 0xAAAA)),
    ],
)
def test_damaged_files_are_errors(data: bytes) -> None:
    for source in (data, opener(data)):
        with pytest.raises(ElfError, match=r"demo\.so"):
            read_elf(source, "demo.so")


def test_versions_that_go_in_circles_end() -> None:
    """Each of thousands of records may point to the same thousands of others."""
    count = 4096
    need = struct.pack("<HHIII", 1, 0xFFFF, 1, 16, 16) * (count - 1) + struct.pack("<HHIII", 1, 1, 1, 16, 0)
    data = elf(Made(versions={"lib" * 9: ("version",)}))
    hostile = bytearray(data + bytes(-len(data) % 16) + need)
    at = hostile.index(struct.pack("<Q", 0x6FFFFFFE))
    struct.pack_into("<Q", hostile, at + 8, LOADED_AT + len(hostile) - len(need))
    struct.pack_into("<Q", hostile, LOAD + 32, len(hostile))
    with pytest.raises(ElfError, match="more than 4096 versions"):
        read_elf(bytes(hostile), "x")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_change_of_bytes_gives_another_error(data: st.DataObject) -> None:
    raw = bytearray(elf(FULL._replace(bits=data.draw(st.sampled_from([32, 64])))))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ElfError):
        found = read_elf(bytes(raw), "x")
        assert read_elf(opener(bytes(raw)), "x") == found


def test_a_program_of_this_machine() -> None:
    path = os.path.realpath(sys.executable)
    found = read_elf(Path(path).read_bytes(), path)
    assert found is not None
    assert (found.machine, found.bits) == (os.uname().machine, 64)
    assert found.interpreter.startswith("/lib")
    assert any(name.startswith("libc.") for name in found.needed)
    assert any(version.startswith("GLIBC_2.") for _, version in found.versions)


def target(platform: str, libc: str = "glibc", version: str = "2.36") -> Target:
    return Target(Platform.parse(platform), "3.13.5", libc, version, "/usr/bin/python3.13")


ARM = FULL._replace(bits=32, machine=40, flags=0x05000400)


@pytest.mark.parametrize(
    ("made", "wanted", "words"),
    [
        (FULL, target("linux/arm64"), ()),
        (FULL, target("linux/arm64", version="2.34"), ()),
        (FULL, target("linux/arm64", version="2.31"), ("needs glibc 2.34",)),
        (FULL, target("linux/arm64", "musl", "1.2.5"), ("needs glibc, and the base has musl",)),
        (Made(), target("linux/arm64", "musl", "1.2.5"), ()),
        (FULL, target("linux/amd64"), ("for aarch64",)),
        (FULL._replace(machine=62), target("linux/amd64"), ()),
        (FULL._replace(machine=62, bits=32), target("linux/amd64"), ("32 bits",)),
        (ARM, target("linux/arm/v7"), ()),
        (ARM._replace(flags=0x05000200), target("linux/arm/v7"), ("soft-float",)),
        (ARM._replace(flags=0x05000200), target("linux/arm/v5"), ()),
        (ARM, target("linux/arm64"), ("for arm ",)),
        (FULL, target("linux/arm/v7"), ("for aarch64",)),
        (FULL._replace(machine=22, order=">"), target("linux/s390x"), ()),
        (FULL._replace(machine=22), target("linux/s390x"), ("for s390",)),
    ],
)
def test_what_a_target_cannot_load(made: Made, wanted: Target, words: tuple[str, ...]) -> None:
    reasons = why_unfit(read(elf(made)), wanted)
    assert len(reasons) == len(words)
    assert all(word in reason for word, reason in zip(words, reasons, strict=True))


def test_machine_code_in_a_wheel_is_found_whatever_it_is_called(tmp_path: Path) -> None:
    data = elf(FULL)
    path = make_wheel(
        tmp_path,
        {
            "demo/a.so": data,
            "demo/data.txt": data + bytes(3 << 20),
            "demo/broken.so": data[:100],
            "demo/win.pyd": b"MZ" + bytes(100),
            "demo/mac.so": b"\xcf\xfa\xed\xfe" + bytes(100),
            "demo/lib.a": b"!<arch>\n" + bytes(100),
            "demo/code.py": "print()\n",
        },
    )
    found = {code.path: code for code in find_machine_code(read_wheel(str(path), path.name))}
    assert {path: code.system for path, code in found.items()} == {
        "demo/a.so": "ELF",
        "demo/broken.so": "ELF",
        "demo/data.txt": "ELF",
        "demo/lib.a": "archive",
        "demo/mac.so": "macOS",
        "demo/win.pyd": "Windows",
    }
    assert found["demo/a.so"].elf == found["demo/data.txt"].elf == read(data)
    assert found["demo/broken.so"].elf is None
    assert found["demo/broken.so"].fault

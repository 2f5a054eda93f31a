"""ELF files made by hand: a header, program headers, and a dynamic section with what it points to."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LOADED_AT = 0x10000


class Made(NamedTuple):
    """What a made file is to say."""

    bits: int = 64
    order: str = "<"
    machine: int = 183
    kind: int = 3
    flags: int = 0
    needed: Sequence[str] = ()
    soname: str = ""
    runpath: str = ""
    rpath: str = ""
    interpreter: str = ""
    versions: Mapping[str, Sequence[str]] = {}
    defines: Sequence[str] = ()
    #: Bytes between the tables, so that what is read lies far apart.
    gap: int = 0


class _Names:
    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        offset = len(self.data)
        self.data += text.encode() + b"\0"
        return offset


def elf(made: Made) -> bytes:
    """The file."""
    wide, order, names = made.bits == 64, made.order, _Names()
    word = "Q" if wide else "I"
    header_size, segment_size = (64, 56) if wide else (52, 32)
    tags: list[tuple[int, int]] = [(1, names.add(text)) for text in made.needed]
    tags += [
        (tag, names.add(text))
        for tag, text in ((14, made.soname), (29, made.runpath), (15, made.rpath))
        if text
    ]
    need = _verneed(made, names)
    defined = _verdef(made, names)
    place = header_size + 3 * segment_size
    body = b""

    def put(data: bytes) -> int:
        nonlocal body
        body += bytes(made.gap)
        at = place + len(body)
        body += data
        return at

    interpreter = made.interpreter.encode() + b"\0" if made.interpreter else b""
    interpreter_at = put(interpreter)
    tags += [(5, LOADED_AT + put(names.data)), (10, len(names.data))]
    if need:
        tags += [(0x6FFFFFFE, LOADED_AT + put(need)), (0x6FFFFFFF, len(made.versions))]
    if defined:
        tags += [(0x6FFFFFFC, LOADED_AT + put(defined)), (0x6FFFFFFD, 1 + len(made.defines))]
    dynamic = b"".join(struct.pack(f"{order}2{word}", *tag) for tag in (*tags, (0, 0)))
    dynamic_at = put(dynamic)
    end = place + len(body)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    header = ident + struct.pack(
        f"{order}HHI3{word}I6H",
        *(made.kind, made.machine, 1, 0, header_size, 0, made.flags, header_size, segment_size, 3, 0, 0, 0),
    )
    segments = (
        _segment(made, 1, 0, end),
        _segment(made, 2, dynamic_at, len(dynamic)),
        _segment(made, 3 if interpreter else 4, interpreter_at, len(interpreter)),
    )
    return header + b"".join(segments) + body


def _segment(made: Made, kind: int, offset: int, size: int) -> bytes:
    address = LOADED_AT + offset
    if made.bits == 64:
        return struct.pack(f"{made.order}IIQQQQQQ", kind, 4, offset, address, address, size, size, 8)
    return struct.pack(f"{made.order}8I", kind, offset, address, address, size, size, 4, 4)


def _verneed(made: Made, names: _Names) -> bytes:
    data = b""
    libraries = list(made.versions.items())
    for number, (library, versions) in enumerate(libraries):
        size = 16 * (1 + len(versions))
        following = size if number + 1 < len(libraries) else 0
        data += struct.pack(f"{made.order}HHIII", 1, len(versions), names.add(library), 16, following)
        for place, version in enumerate(versions):
            last = place + 1 == len(versions)
            data += struct.pack(f"{made.order}IHHII", 0, 0, 2, names.add(version), 0 if last else 16)
    return data


def _verdef(made: Made, names: _Names) -> bytes:
    if not made.defines:
        return b""
    data = b""
    for number, version in enumerate((made.soname, *made.defines)):
        following = 28 if number < len(made.defines) else 0
        data += struct.pack(f"{made.order}HHHHIII", 1, int(not number), number + 1, 1, 0, 20, following)
        data += struct.pack(f"{made.order}II", names.add(version), 0)
    return data

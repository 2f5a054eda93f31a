"""What an ELF file says of itself: for which machine it is, and which versions of which libraries it needs.

Our own reader of the program headers and the dynamic section, which is what the dynamic loader reads;
sections may be stripped. Sources: System V ABI, "Object Files" and "Dynamic Linking"; LSB Core, "Symbol
Versioning"; ELF for the Arm Architecture, 5.2. The file may be hostile: all that is read is bounded, and
nothing that it says is followed outside of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO, NamedTuple, Self

from hostbuild.errors import ElfError
from hostbuild.oci.quoting import quote

MAGIC = b"\x7fELF"

#: Names as uname has them, for the numbers that Linux images meet.
MACHINES = {
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv",
    258: "loongarch",
}
_ARM = 40
_KINDS = {1: "object", 2: "program", 3: "shared", 4: "core"}

#: Bounds; the largest libraries in use stay far below.
_MAX_SEGMENTS = 512
_MAX_DYNAMIC = 1 << 20
_MAX_NAMES = 4096
_MAX_NAME = 4096
_MAX_VERSIONS = 1 << 18

#: How much of the beginning is kept: tables mostly lie there, and are read after what points to them.
_KEPT = 4 << 20
_PIECE = 1 << 18

_ARM_SOFT, _ARM_HARD = 0x200, 0x400

_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS, _STRINGS_SIZE, _SONAME, _RPATH, _RUNPATH = 1, 5, 10, 14, 15, 29
_VERDEF, _VERNEED = 0x6FFFFFFC, 0x6FFFFFFE
_IS_BASE = 1


class Elf(NamedTuple):
    """What a file says.

    `machine` is one of MACHINES, or "machine N"; `bits` 32 or 64; `kind` "program" (at a fixed address),
    "shared" (a library, an extension module, a program that can be moved), "object", "core" or "other".
    `hard_float` is for ARM only, None where the file does not tell. `interpreter` is the loader of a program.
    `search` are the directories of DT_RUNPATH, else of DT_RPATH, as they stand. `versions` are (library,
    version) in its order, as ("libc.so.6", "GLIBC_2.17"); `defines` the versions that it has for others.
    """

    machine: str
    bits: int
    kind: str
    is_big_endian: bool = False
    hard_float: bool | None = None
    interpreter: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    defines: tuple[str, ...] = ()


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def read_elf(source: bytes | Callable[[], BinaryIO], origin: str) -> Elf | None:
    """What the file says, or None where it is no ELF file; `origin` is what the error calls it.

    `source` is all its bytes, or opens a stream of them, which need not be seekable: it is opened again where
    something earlier is wanted, and memory is bounded. Raises ElfError for a damaged file and for one with
    more than we read, and what the stream raises.
    """
    with _Reader(source, origin) as reader:
        return _read(reader)


def _read(reader: _Reader) -> Elf | None:
    ident = reader.up_to(0, 64)
    if not ident.startswith(MAGIC):
        return None
    if len(ident) < 52 or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise reader.error("its header is damaged")
    is_wide, order = ident[4] == 2, "<" if ident[5] == 1 else ">"
    if is_wide and len(ident) < 64:
        raise reader.error("its header is damaged")
    header = struct.unpack_from(f"{order}HHI{'QQQ' if is_wide else 'III'}IHHH", ident, 16)
    kind, machine, _, _, table, _, flags, _, entry_size, count = header
    elf = Elf(
        MACHINES.get(machine, f"machine {machine}"),
        64 if is_wide else 32,
        _KINDS.get(kind, "other"),
        is_big_endian=order == ">",
        hard_float=_hard_float(flags) if machine == _ARM else None,
    )
    if not count:
        return elf
    if count > _MAX_SEGMENTS or entry_size != (56 if is_wide else 32):
        raise reader.error(f"it has {count} program headers of {entry_size} bytes")
    segments = _segments(reader.at(table, count * entry_size), order, is_wide=is_wide)
    dynamic = _Dynamic(reader, segments, order, is_wide=is_wide)
    return dynamic.describe(elf._replace(interpreter=_interpreter(reader, segments)))


def _hard_float(flags: int) -> bool | None:
    if flags & _ARM_HARD:
        return True
    return False if flags & _ARM_SOFT else None


def _segments(data: bytes, order: str, *, is_wide: bool) -> list[_Segment]:
    # Type, flags, offset, virtual and physical address, size in the file, and what does not matter here; in a
    # narrow file the flags come later.
    form, places = ("IIQQQQQQ", (0, 2, 3, 5)) if is_wide else ("8I", (0, 1, 2, 4))
    return [
        _Segment(*(int(each[place]) for place in places)) for each in struct.iter_unpack(order + form, data)
    ]


def _interpreter(reader: _Reader, segments: Sequence[_Segment]) -> str:
    for segment in segments:
        if segment.kind == _INTERPRETER and 0 < segment.size <= _MAX_NAME:
            return reader.at(segment.offset, segment.size).partition(b"\0")[0].decode("utf-8", "replace")
    return ""


class _Dynamic:
    """The dynamic section, and the tables that it points to."""

    def __init__(self, reader: _Reader, segments: Sequence[_Segment], order: str, *, is_wide: bool) -> None:
        self._reader = reader
        self._segments = segments
        self._order = order
        self._tags: dict[int, list[int]] = {}
        for segment in segments:
            if segment.kind == _DYNAMIC:
                self._read_tags(segment, f"{order}{'QQ' if is_wide else 'II'}")
                break

    def describe(self, elf: Elf) -> Elf:
        """`elf` with what the section says."""
        needed = self._tags.get(_NEEDED, [])
        search = (self._tags.get(_RUNPATH) or self._tags.get(_RPATH, []))[:1]
        soname = self._tags.get(_SONAME, [])[:1]
        versions = list(islice(self._needed_versions(), _MAX_NAMES + 1))
        defines = list(self._defined_versions())
        if len(versions) > _MAX_NAMES:
            raise self._reader.error(f"it needs more than {_MAX_NAMES} versions of libraries")
        wanted = {*needed, *search, *soname, *defines, *(offset for pair in versions for offset in pair)}
        names = self._names(wanted)
        return elf._replace(
            soname=names[soname[0]] if soname else "",
            needed=tuple(names[offset] for offset in needed),
            search=tuple(part for offset in search for part in names[offset].split(":") if part),
            versions=tuple((names[library], names[version]) for library, version in versions),
            defines=tuple(names[offset] for offset in defines),
        )

    def _read_tags(self, segment: _Segment, form: str) -> None:
        size = segment.size - segment.size % struct.calcsize(form)
        if size > _MAX_DYNAMIC:
            raise self._reader.error(f"its dynamic section has {size} bytes")
        for tag, value in struct.iter_unpack(form, self._reader.at(segment.offset, size)):
            if tag == 0:
                break
            self._tags.setdefault(tag, []).append(value)

    def _place(self, tag: int) -> int | None:
        """Where in the file the table lies whose address the tag has."""
        addresses = self._tags.get(tag)
        if not addresses:
            return None
        for segment in self._segments:
            if segment.kind == _LOAD and 0 <= addresses[0] - segment.address < segment.size:
                return addresses[0] - segment.address + segment.offset
        raise self._reader.error("its dynamic section points to what is not in the file")

    def _names(self, offsets: set[int]) -> dict[int, str]:
        if not offsets:
            return {}
        place = self._place(_STRINGS)
        size = self._tags.get(_STRINGS_SIZE, [0])[0]
        if len(offsets) > _MAX_NAMES:
            raise self._reader.error(f"it names more than {_MAX_NAMES} libraries and versions")
        if place is None or max(offsets) >= size:
            raise self._reader.error("its dynamic section names what is not in its table of names")
        # In their order, so that a stream that cannot go back is read once.
        return {offset: self._name(place + offset) for offset in sorted(offsets)}

    def _name(self, place: int) -> str:
        name, end, _ = self._reader.up_to(place, _MAX_NAME + 1).partition(b"\0")
        if not end:
            raise self._reader.error("its table of names is damaged")
        return name.decode("utf-8", "replace")

    def _needed_versions(self) -> Iterator[tuple[int, int]]:
        """(library, version) as offsets of names: Elfxx_Verneed and Elfxx_Vernaux."""
        place = self._place(_VERNEED)
        if place is None:
            return
        table = self._reader.up_to(place, _MAX_VERSIONS)
        for at, (_, count, library, first, _) in self._chain(table, 0, "HHIII", _MAX_NAMES):
            for _, (_, _, _, name, _) in self._chain(table, at + first, "IHHII", count):
                yield library, name

    def _defined_versions(self) -> Iterator[int]:
        """Names of versions, without the file's own, which is among them: Elfxx_Verdef and Elfxx_Verdaux."""
        place = self._place(_VERDEF)
        if place is None:
            return
        table = self._reader.up_to(place, _MAX_VERSIONS)
        for at, (_, flags, _, count, _, first, _) in self._chain(table, 0, "HHHHIII", _MAX_NAMES):
            if not flags & _IS_BASE:
                for _, (name, _) in self._chain(table, at + first, "II", min(count, 1)):
                    yield name

    def _chain(self, table: bytes, at: int, form: str, count: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Records whose last field says how far the next one is; 0 ends them."""
        layout = struct.Struct(self._order + form)
        for _ in range(min(count, _MAX_NAMES)):
            if at + layout.size > len(table):
                raise self._reader.error("its table of versions is damaged")
            fields = layout.unpack_from(table, at)
            yield at, fields
            if not fields[-1]:
                return
            at += fields[-1]


class _Reader:
    """Reads at offsets, out of a stream that may only go forward."""

    def __init__(self, source: bytes | Callable[[], BinaryIO], origin: str) -> None:
        self._origin = origin
        self._open: Callable[[], BinaryIO] | None = None
        self._stream: BinaryIO | None = None
        self._position = 0
        self._window = b""
        if isinstance(source, bytes):
            self._head = source
        else:
            self._open = source
            self._stream = source()
            # What is no ELF file is looked at and left: few bytes are read of it.
            self._head = self._stream.read(64)
            self._position = len(self._head)
            if self._head.startswith(MAGIC):
                self._read_head(self._stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def error(self, why: str) -> ElfError:
        """The error for this file."""
        return ElfError(f"{quote(self._origin)} is no sound ELF file", why=why)

    def at(self, offset: int, size: int) -> bytes:
        """Just these bytes. Raises ElfError where the file ends before."""
        data = self.up_to(offset, size)
        if len(data) < size:
            raise self.error("it ends too early")
        return data

    def up_to(self, offset: int, size: int) -> bytes:
        """These bytes, or as many of them as there are."""
        if offset + size <= len(self._head) or self._open is None or self._stream is None:
            return self._head[offset : offset + size]
        if offset < self._position - len(self._window):
            self._stream.close()
            self._stream = self._open()
            self._position, self._window = 0, b""
        if offset > self._position:
            self._skip(self._stream, offset - self._position)
            self._window = b""
        if offset > self._position:
            return b""
        # What was read last is kept: the next wish may begin within it.
        self._window = self._window[len(self._window) - (self._position - offset) :]
        self._window += self._take(self._stream, max(size - len(self._window), 0))
        return self._window[:size]

    def _read_head(self, stream: BinaryIO) -> None:
        self._head += self._take(stream, _KEPT - len(self._head))

    def _take(self, stream: BinaryIO, size: int) -> bytes:
        pieces = []
        while size and (piece := stream.read(min(size, _PIECE))):
            pieces.append(piece)
            size -= len(piece)
            self._position += len(piece)
        return b"".join(pieces)

    def _skip(self, stream: BinaryIO, count: int) -> None:
        while count and (piece := stream.read(min(count, _PIECE))):
            count -= len(piece)
            self._position += len(piece)

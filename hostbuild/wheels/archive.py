"""The zip archive that a wheel is (PKWARE's APPNOTE.TXT 6.3.10): which members it has, and their bytes.

Our own reader, and a strict one. A wheel comes from elsewhere, so each thing that two programs could read in
two ways is refused: bytes before, between the parts and after the archive, names that differ between the
directory and the member, data that two members share. Memory is bounded by the directory, and does not
depend on the sizes of the members; nothing stays open between two readings.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

from hostbuild.errors import WheelError
from hostbuild.wheels.names import wheel_error

#: What a wheel may have at most: bytes of its directory, members, bytes when unpacked.
MAX_DIRECTORY = 16 << 20
MAX_MEMBERS = 100_000
MAX_UNPACKED = 16 << 30

#: Above this many bytes a wheel that unpacks to more than MAX_RATIO times its size is a zip bomb; deflate
#: reaches 1032, and what people ship stays below 20.
BOMB_FROM = 128 << 20
MAX_RATIO = 100

STORED, DEFLATED = 0, 8

_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "zstd", 95: "xz"}

_END = struct.Struct("<4s4H2LH")
_END_MARK = b"PK\x05\x06"
_END64_PLACE = struct.Struct("<4sLQL")
_END64_PLACE_MARK = b"PK\x06\x07"
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_MARK = b"PK\x06\x06"
_ENTRY = struct.Struct("<4s6H3L5H2L")
_ENTRY_MARK = b"PK\x01\x02"
LOCAL = struct.Struct("<4s5H3L2H")
LOCAL_MARK = b"PK\x03\x04"

_MAX_COMMENT = 0xFFFF
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_PATCHED = 0x0020
_UTF8 = 0x0800
_ZIP64 = 0x0001
_DIRECTORY_BIT = 0x10


class Member(NamedTuple):
    """A file in the archive, as the directory tells it.

    `size` and `packed` are bytes, `offset` is where its header is; `end` is where its data must have ended.
    """

    name: str
    size: int
    packed: int
    offset: int
    end: int
    crc: int
    method: int
    executable: bool
    raw_name: bytes


class _End(NamedTuple):
    """The end record: where the directory is, and how many entries it has."""

    entries: int
    offset: int
    size: int


def open_archive(path: str, label: str) -> int:
    """A descriptor of the plain file `path`. Raises WheelError, which calls it `label`."""
    try:
        # A pipe without a writer would make open(2) wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise wheel_error(label, f"it cannot be read: {error.strerror}", fix="make it readable") from error
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise wheel_error(label, "it is not a plain file", fix="name a file")


def read_exactly(descriptor: int, size: int, offset: int, label: str) -> bytes:
    """`size` bytes from `offset`. Raises WheelError where there are fewer, or the disk refuses."""
    pieces = []
    try:
        while size > 0 and (piece := os.pread(descriptor, size, offset)):
            pieces.append(piece)
            size -= len(piece)
            offset += len(piece)
    except OSError as error:
        raise wheel_error(label, f"it cannot be read: {error.strerror}", fix="check the disk") from error
    if size:
        raise _damaged(label, "it ends too early")
    return b"".join(pieces)


def read_members(descriptor: int, label: str) -> tuple[Member, ...]:
    """The files in the archive, in the order of their data; directories are left out.

    Names are as they stand, decoded, and not yet judged. Raises WheelError for an archive that is damaged,
    larger than the bounds above, encrypted, compressed with what wheels do not use, or ambiguous.
    """
    length = os.fstat(descriptor).st_size
    end = _find_end(descriptor, length, label)
    if end.size > MAX_DIRECTORY or end.entries > MAX_MEMBERS:
        raise wheel_error(label, f"it has {end.entries} members, or names too long for its directory")
    data = read_exactly(descriptor, end.size, end.offset, label)
    members = sorted(_entries(data, end.entries, label), key=lambda member: member.offset)
    _check_sizes(members, length, label)
    return tuple(_files(_bounded(members, end.offset, label), label))


def _find_end(descriptor: int, length: int, label: str) -> _End:
    tail_size = min(length, _END.size + _MAX_COMMENT)
    start = length - tail_size
    tail = read_exactly(descriptor, tail_size, start, label)
    at = len(tail) - _END.size
    while at >= 0:
        at = tail.rfind(_END_MARK, 0, at + len(_END_MARK))
        if at >= 0 and at + _END.size + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail):
            break
        at -= 1
    if at < 0:
        why = "it is cut off" if tail_size and _begins_as_zip(descriptor, label) else "it is no zip archive"
        raise _damaged(label, why)
    _, disk, first_disk, here, count, size, offset, _ = _END.unpack_from(tail, at)
    found = _End(count, offset, size)
    place = start + at
    if 0xFFFF in (disk, first_disk, here, count) or 0xFFFFFFFF in (size, offset):
        found, place = _find_end64(descriptor, place, label)
    elif disk or first_disk or here != count:
        raise _damaged(label, "it is one part of several")
    if found.offset + found.size != place:
        raise _damaged(label, "its directory is not where its end record says")
    return found


def _begins_as_zip(descriptor: int, label: str) -> bool:
    size = min(os.fstat(descriptor).st_size, 4)
    return read_exactly(descriptor, size, 0, label) == LOCAL_MARK


def _find_end64(descriptor: int, place: int, label: str) -> tuple[_End, int]:
    """The end record of ZIP64, whose locator stands right before the other end record."""
    place -= _END64_PLACE.size
    if place < 0:
        raise _damaged(label, "its end record of ZIP64 is missing")
    mark, disk, offset, disks = _END64_PLACE.unpack(read_exactly(descriptor, _END64_PLACE.size, place, label))
    if mark != _END64_PLACE_MARK or disk or disks > 1 or offset + _END64.size > place:
        raise _damaged(label, "its end record of ZIP64 is missing")
    fields = _END64.unpack(read_exactly(descriptor, _END64.size, offset, label))
    mark, size_of_record, _, _, disk, first_disk, here, count, size, start = fields
    if mark != _END64_MARK or disk or first_disk or here != count or offset + 12 + size_of_record != place:
        raise _damaged(label, "its end record of ZIP64 is damaged")
    return _End(count, start, size), offset


def _entries(data: bytes, count: int, label: str) -> Iterator[Member]:
    at = 0
    for _ in range(count):
        if len(data) - at < _ENTRY.size:
            raise _damaged(label, "its directory ends too early")
        fields = _ENTRY.unpack_from(data, at)
        mark, _, _, flags, method, _, _, crc, packed, size = fields[:10]
        named, extra, comment, disk, _, attributes, offset = fields[10:]
        at += _ENTRY.size
        raw_name = data[at : at + named]
        extras = data[at + named : at + named + extra]
        at += named + extra + comment
        if mark != _ENTRY_MARK or at > len(data):
            raise _damaged(label, "its directory is damaged")
        name = _decode(raw_name, label)
        size, packed, offset = _wide(extras, size, packed, offset, (label, name))
        _check_kind(flags, method, disk, (label, name))
        mode = attributes >> 16
        _check_mode(mode, attributes, (label, name))
        executable = stat.S_ISREG(mode) and bool(mode & 0o111)
        yield Member(name, size, packed, offset, 0, crc, method, executable, raw_name)
    if at != len(data):
        raise _damaged(label, "its directory holds more than its entries")


def _decode(raw: bytes, label: str) -> str:
    # Names of wheels are UTF-8, whatever the archive's flag says ("File format", "the archive's file names").
    try:
        return raw.decode()
    except UnicodeDecodeError:
        shown = raw.decode("latin-1")
        raise wheel_error(label, "has a name that is not UTF-8", shown) from None


def _wide(extras: bytes, size: int, packed: int, offset: int, where: tuple[str, str]) -> tuple[int, int, int]:
    """The numbers of ZIP64 where the short ones say that they are too large (APPNOTE 4.5.3)."""
    numbers = [size, packed, offset]
    wanted = [place for place, number in enumerate(numbers) if number == 0xFFFFFFFF]
    if not wanted:
        return size, packed, offset
    at = 0
    while at + 4 <= len(extras):
        kind, length = struct.unpack_from("<HH", extras, at)
        at += 4
        if kind == _ZIP64:
            if length < 8 * len(wanted) or at + length > len(extras):
                break
            for number, place in enumerate(wanted):
                numbers[place] = int.from_bytes(extras[at + 8 * number : at + 8 * number + 8], "little")
            return numbers[0], numbers[1], numbers[2]
        at += length
    raise wheel_error(where[0], "lacks its sizes of ZIP64", where[1])


def _check_kind(flags: int, method: int, disk: int, where: tuple[str, str]) -> None:
    label, name = where
    if flags & _ENCRYPTED:
        raise wheel_error(label, "is encrypted", name)
    if flags & _PATCHED or disk not in (0, 0xFFFF):
        raise wheel_error(label, "is not stored in a way that wheels use", name)
    if method not in (STORED, DEFLATED):
        shown = _METHODS.get(method, f"method {method}")
        raise wheel_error(label, f"is compressed with {shown}; wheels use deflate, or nothing", name)


def _check_mode(mode: int, attributes: int, where: tuple[str, str]) -> None:
    kind = stat.S_IFMT(mode)
    label, name = where
    if kind == stat.S_IFLNK:
        raise wheel_error(label, "is a symbolic link", name)
    if name.endswith("/"):
        return
    if kind not in (0, stat.S_IFREG):
        raise wheel_error(label, "is not a plain file", name)
    if not kind and attributes & _DIRECTORY_BIT:
        raise wheel_error(label, "says that it is a directory, and its name does not", name)


def _check_sizes(members: list[Member], length: int, label: str) -> None:
    total = sum(member.size for member in members)
    if total > MAX_UNPACKED:
        raise wheel_error(label, f"it unpacks to {total} bytes, more than {MAX_UNPACKED}")
    if total > BOMB_FROM and total > MAX_RATIO * length:
        raise wheel_error(label, f"it is a zip bomb: {length} bytes unpack to {total}")


def _bounded(members: list[Member], directory: int, label: str) -> Iterator[Member]:
    """The members with the places where each must end: where the next one begins."""
    if members and members[0].offset:
        raise _damaged(label, f"{members[0].offset} bytes stand before its first member")
    for place, member in enumerate(members):
        end = members[place + 1].offset if place + 1 < len(members) else directory
        if member.offset + LOCAL.size + len(member.raw_name) + member.packed > end:
            raise wheel_error(label, "overlaps with what comes after it", member.name)
        yield member._replace(end=end)


def _files(members: Iterator[Member], label: str) -> Iterator[Member]:
    for member in members:
        if member.name.endswith("/"):
            if member.size:
                raise wheel_error(label, "is a directory and has content", member.name)
        else:
            yield member


def _damaged(label: str, why: str) -> WheelError:
    return wheel_error(label, why, fix="fetch it anew; if it comes the same way, its makers must mend it")

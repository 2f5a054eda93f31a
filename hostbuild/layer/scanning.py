"""Walks over the headers of a tar file by their offsets: what lies where, without reading what lies between.

ustar and pax (POSIX.1-2001), GNU's long names and large numbers, and the older headers before them. `tarfile`
keeps an object of a kilobyte for each entry and takes damage in mid-archive for the end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from hostbuild.errors import LocalImageError
from hostbuild.layer.header import BLOCK
from hostbuild.oci.quoting import quote

Kind = Literal["file", "link", "hardlink", "sparse", "other", "end"]

_ZEROS = bytes(BLOCK)
#: Bytes that extended headers may have: a name is at most a few thousand.
_MAX_EXTENDED = 1 << 20
_MAX_SIZE = 2**63 - 1

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"\xfd7zXZ\x00": ("xz", "unxz"),
    b"BZh": ("bzip2", "bunzip2"),
}

_KINDS: dict[bytes, Kind] = {b"0": "file", b"\0": "file", b"7": "file", b"1": "hardlink", b"2": "link"}
#: Entries that have no bytes whatever their size field says: links, devices, directories, fifos.
_WITHOUT_BYTES = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})
_PAX = frozenset({b"x", b"X"})
_PAX_GLOBAL = b"g"
_GNU_NAME, _GNU_TARGET, _GNU_SPARSE = b"L", b"K", b"S"


class Found(NamedTuple):
    """One entry: its bytes lie at `offset` and are `size`. The kind "end" is the archive's end mark."""

    name: str
    kind: Kind
    offset: int
    size: int
    target: str = ""


def scan(descriptor: int, label: str) -> Iterator[Found]:
    """The entries of the plain file that `descriptor` reads, in their order; `label` is it in errors.

    After the end mark comes nothing, whatever lies behind it. Raises LocalImageError for what is no tar
    archive, compressed, damaged, or ends before an entry's bytes do; OSError where it cannot be read.
    """
    total = os.fstat(descriptor).st_size
    _refuse_compressed(os.pread(descriptor, 8, 0), label)
    offset = 0
    extended: dict[str, bytes] = {}
    while offset < total:
        block = os.pread(descriptor, BLOCK, offset)
        if len(block) < BLOCK:
            raise _cut(label, f"its last header has {len(block)} bytes instead of {BLOCK}")
        if block == _ZEROS:
            yield Found("", "end", offset, 0)
            return
        if not _has_checksum(block):
            raise _damaged(label, offset)
        start = offset + BLOCK
        kind = block[156:157]
        size = _size(block, extended, label, offset)
        if kind == _GNU_SPARSE:
            start = _after_sparse_maps(descriptor, block, start, label)
        end = start + (0 if kind in _WITHOUT_BYTES else size)
        if end > total:
            raise _cut(
                label, f"{quote(_name(block, extended))} should end at byte {end}, the file at {total}"
            )
        if kind in _PAX or kind in {_GNU_NAME, _GNU_TARGET}:
            if size > _MAX_EXTENDED:
                raise _damaged(label, offset, f"an extended header of {size} bytes")
            _extend(extended, kind, os.pread(descriptor, size, start), label, offset)
        elif kind != _PAX_GLOBAL:  # what holds for the whole archive is a comment, or another's business
            yield _found(block, extended, kind, start, size)
            extended = {}
        offset = end + -end % BLOCK
    if extended or not total:
        raise _cut(label, "it ends after an extended header" if total else "it is empty")


def _found(block: bytes, extended: dict[str, bytes], kind: bytes, start: int, size: int) -> Found:
    name = _name(block, extended)
    target = _text(extended.get("linkpath") or block[157:257].partition(b"\0")[0])
    what = _KINDS.get(kind, "other")
    if kind == _GNU_SPARSE or any(key.startswith("GNU.sparse.") for key in extended):
        what = "sparse"
    elif what == "file" and name.endswith("/"):  # how directories were written before there was a type
        what = "other"
    return Found(name, what, start, size, target)


def _name(block: bytes, extended: dict[str, bytes]) -> str:
    told = extended.get("GNU.sparse.name") or extended.get("path")
    if told:
        return _text(told)
    name = block[:100].partition(b"\0")[0]
    # GNU's own headers ("ustar" and two spaces) have times where POSIX has the prefix.
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _size(block: bytes, extended: dict[str, bytes], label: str, offset: int) -> int:
    told = extended.get("size")
    if told is not None:
        size = int(told) if re.fullmatch(rb"[0-9]{1,19}", told) else -1
    else:
        size = _number(block[124:136])
    if not 0 <= size <= _MAX_SIZE:
        raise _damaged(label, offset, "a size that is no number")
    return size


def _number(field: bytes) -> int:
    """A header's number: octal digits, or GNU's binary form with the first bit set; -1 for neither."""
    if field[0] & 0x80:
        return -1 if field[0] & 0x40 else int.from_bytes(bytes([field[0] & 0x3F]) + field[1:], "big")
    text = field.partition(b"\0")[0].strip(b" ")
    if text.strip(b"01234567"):
        return -1
    return int(text, 8) if text else 0


def _has_checksum(block: bytes) -> bool:
    """Whether the header's checksum is right; its own eight bytes count as spaces.

    Some old programs summed signed bytes; POSIX asks readers for nothing there, others take both.
    """
    told = _number(block[148:156])
    total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    if told == total:
        return True
    high = sum(byte > 127 for byte in block[:148] + block[156:])
    return told == total - 256 * high


def _after_sparse_maps(descriptor: int, block: bytes, start: int, label: str) -> int:
    """GNU's old sparse header may go on for several blocks; where the bytes begin."""
    goes_on = block[482:483] not in {b"", b"\0"}
    while goes_on:
        more = os.pread(descriptor, BLOCK, start)
        if len(more) < BLOCK:
            raise _cut(label, "it ends in the header of a sparse file")
        start += BLOCK
        goes_on = more[504:505] != b"\0"
    return start


def _extend(extended: dict[str, bytes], kind: bytes, body: bytes, label: str, offset: int) -> None:
    if kind == _GNU_NAME:
        extended["path"] = body.partition(b"\0")[0]
    elif kind == _GNU_TARGET:
        extended["linkpath"] = body.partition(b"\0")[0]
    else:
        extended.update(_records(body, label, offset))


def _records(body: bytes, label: str, offset: int) -> Iterator[tuple[str, bytes]]:
    """The records of a pax header: each its own length in decimal, a space, key=value, a line's end."""
    position = 0
    while position < len(body):
        digits = body[position : position + 20].partition(b" ")[0]
        length = int(digits) if re.fullmatch(rb"[0-9]{1,19}", digits) else 0
        record = body[position : position + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if len(record) != length or not record.endswith(b"\n") or not equals:
            raise _damaged(label, offset, "an extended header that is none")
        yield _text(key), value
        position += length


def _refuse_compressed(start: bytes, label: str) -> None:
    for magic, (name, program) in _COMPRESSED.items():
        if start.startswith(magic):
            raise LocalImageError(
                f"{label!r} is compressed with {name}",
                why="an archive is read in any order, without unpacking it",
                fix=f"decompress it first ({program}), and name the tar file",
            )


def _damaged(label: str, offset: int, what: str = "no header") -> LocalImageError:
    if not offset:
        return LocalImageError(f"{label!r} is not a tar archive", why=f"at its begin is {what}")
    return LocalImageError(
        f"{label!r} is damaged", why=f"there is {what} at byte {offset}", fix="write the archive anew"
    )


def _cut(label: str, why: str) -> LocalImageError:
    return LocalImageError(f"{label!r} was cut short", why=why, fix="write or copy the archive anew")

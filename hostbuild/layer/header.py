"""Tar headers: ustar (POSIX.1-1988), with pax extended headers (POSIX.1-2001) only where ustar is too small.

A pax header costs 1 KiB an entry, so it is written only for a name or link target that does not fit or is
not ASCII, for a size from 8 GiB and for an owner above 2,097,151. Names that are not UTF-8 are written as
they are; where they need a pax record, `hdrcharset=BINARY` says so, as POSIX has it.

The modification time is always 0: a layer must not change because of a checkout, a commit or a clock, and 0
is what programs take as "not known" (Go's `http.FileServer` then sends no Last-Modified). User and group
names are empty: they mean nothing outside of the machine where they were looked up.
"""

from __future__ import annotations

from functools import lru_cache
from zlib import adler32

BLOCK = 512
#: The end of an archive is two blocks of zeros.
END = bytes(2 * BLOCK)

#: The largest numbers that fit the octal fields.
MAX_SIZE = 0o77777777777
MAX_ID = 0o7777777
_MAX_PAX_ID = (1 << 31) - 1

_NAME = 100
_PREFIX = 155

FILE = b"0"
LINK = b"2"
DIRECTORY = b"5"
_EXTENDED = b"x"

# From the link target's end to the prefix: magic, version, uname, gname, devmajor, devminor.
_MAGIC = b"ustar\x0000" + bytes(64) + b"0000000\x00" * 2
_MTIME = b"%011o\0" % 0
_PAX_NAME = b"././@PaxHeader"


def header(path: bytes, kind: bytes, owner: Owner, size: int = 0, target: bytes = b"") -> bytes:
    """The header blocks of one entry, pax blocks included.

    `path` has no trailing slash, `kind` is one of this module's type flags, `size` is bytes, `target` a
    link's raw text. Raises ValueError for a negative size.
    """
    name = path + b"/" if kind == DIRECTORY else path
    if len(name) <= _NAME and 0 <= size <= MAX_SIZE and not target and name.isascii() and owner.fits:
        return _ustar(name, owner, size, _PLAIN_TAILS[kind])
    return _large(name, kind, owner, size, target)


class Owner:
    """The header's fields for mode, uid and gid, which nearly all entries of a layer share."""

    __slots__ = ("fields", "fits", "gid", "uid")

    def __init__(self, mode: int, uid: int, gid: int) -> None:
        if not 0 <= mode <= 0o7777:
            raise ValueError(f"mode {mode:#o} is not permission bits")
        for number in (uid, gid):
            if not 0 <= number <= _MAX_PAX_ID:
                raise ValueError(f"owner {number} is not between 0 and {_MAX_PAX_ID}")
        self.uid = uid
        self.gid = gid
        self.fits = uid <= MAX_ID and gid <= MAX_ID
        self.fields = b"%07o\0%07o\0%07o\0" % (
            mode,
            uid if uid <= MAX_ID else 0,
            gid if gid <= MAX_ID else 0,
        )


@lru_cache(maxsize=256)
def owner_fields(mode: int, uid: int, gid: int) -> Owner:
    """The fields for an owner; raises ValueError for numbers that no header can hold."""
    return Owner(mode, uid, gid)


def _tail(kind: bytes, target: bytes = b"", prefix: bytes = b"") -> tuple[bytes, int]:
    """A header from the type flag on, and what the checksum has without the first 136 bytes."""
    # The prefix's field and the twelve unused bytes after it are filled alike.
    tail = kind + target.ljust(_NAME, b"\0") + _MAGIC + prefix.ljust(_PREFIX + 12, b"\0")
    # The checksum's own eight bytes count as spaces.
    return tail, sum(_MTIME) + 8 * 0x20 + sum(tail)


_PLAIN_TAILS = {kind: _tail(kind) for kind in (FILE, LINK, DIRECTORY, _EXTENDED)}


def _ustar(name: bytes, owner: Owner, size: int, tail: tuple[bytes, int]) -> bytes:
    head = b"%b%b%011o\0" % (name.ljust(_NAME, b"\0"), owner.fields, size)
    # The low half of Adler-32 is one more than the sum of so few bytes, and ten times faster than `sum`.
    checksum = (adler32(head) & 0xFFFF) - 1 + tail[1]
    return b"%b%b%06o\0 %b" % (head, _MTIME, checksum, tail[0])


def _large(name: bytes, kind: bytes, owner: Owner, size: int, target: bytes) -> bytes:
    """The headers of an entry that is a link or may not fit one plain header."""
    if size < 0:
        raise ValueError(f"size {size} is negative")
    records: dict[bytes, bytes] = {}
    prefix = b""
    if not _fits(name, _NAME):
        head, tail = _split(name) if _fits(name, _NAME + 1 + _PREFIX) else (b"", b"")
        if tail:
            prefix, name = head, tail
        else:
            records[b"path"] = name
            name = _cut(name)
    if not _fits(target, _NAME):
        records[b"linkpath"] = target
        target = _cut(target)
    if size > MAX_SIZE:
        records[b"size"] = b"%d" % size
        size = 0
    if owner.uid > MAX_ID:
        records[b"uid"] = b"%d" % owner.uid
    if owner.gid > MAX_ID:
        records[b"gid"] = b"%d" % owner.gid
    plain = _ustar(name, owner, size, _tail(kind, target, prefix))
    return _extended(records) + plain if records else plain


def _fits(text: bytes, room: int) -> bool:
    """Whether a header's field of `room` bytes may hold it: ASCII, or bytes that no charset explains."""
    return len(text) <= room and (text.isascii() or not _is_utf8(text))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Cuts a name at a slash into ustar's prefix and name; two empty ones where it cannot be."""
    # A directory's last slash stays in the name, which must not be empty.
    at = name.find(b"/", max(len(name) - _NAME - 1, 1), len(name) - 1)
    return (name[:at], name[at + 1 :]) if 0 < at <= _PREFIX else (b"", b"")


def _cut(text: bytes) -> bytes:
    """What stands in the plain field when a pax record holds the truth."""
    return text[:_NAME].rstrip(b"/") if len(text) > _NAME else text


def _extended(records: dict[bytes, bytes]) -> bytes:
    if not all(_is_utf8(value) for value in records.values()):
        records = {b"hdrcharset": b"BINARY", **records}
    body = b"".join(_record(key, value) for key, value in records.items())
    head = _ustar(_PAX_NAME, owner_fields(0o644, 0, 0), len(body), _PLAIN_TAILS[_EXTENDED])
    return b"".join((head, body, bytes(-len(body) % BLOCK)))


def _record(key: bytes, value: bytes) -> bytes:
    """One record: its whole length in decimal, the length's own digits included, then key=value."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)

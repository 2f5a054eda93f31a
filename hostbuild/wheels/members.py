"""The bytes of one member of a wheel: as a stream in constant memory, checked by its end."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from hostbuild.wheels.archive import DEFLATED, LOCAL, LOCAL_MARK, Member, open_archive, read_exactly
from hostbuild.wheels.names import wheel_error

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from hostbuild.errors import WheelError

#: Members up to here, packed and not, are read by one call.
SMALL = 1 << 20
_PIECE = 128 * 1024


def open_member(path: str, label: str, member: Member, digest: str = "") -> BinaryIO:
    """The bytes of `member` of the wheel at `path`, which messages call `label`.

    Reading raises WheelError where what comes out has not the size and checksum that the archive tells, or
    not the SHA-256 `digest` (hex; "" is not checked); for small members opening does.
    """
    descriptor = open_archive(path, label)
    try:
        content = _Content(descriptor, label, member, digest)
        if member.size > SMALL or member.packed > SMALL:
            return io.BufferedReader(_MemberStream(descriptor, content), _PIECE)
        pieces = list(iter(lambda: content.take(SMALL), b""))
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return io.BytesIO(b"".join(pieces))


class _Content:
    """A member's bytes from its first on; what was promised is checked as soon as the last one is there."""

    def __init__(self, descriptor: int, label: str, member: Member, digest: str) -> None:
        self._descriptor = descriptor
        self._label = label
        self._member = member
        self._digest = digest
        self._hasher = hashlib.sha256() if digest else None
        self._position = self._find_data()
        self._data_end = self._position + member.packed
        if self._data_end > member.end:
            raise self._error("overlaps with what comes after it")
        self._next: Callable[[int], bytes] = self._stored
        if member.method == DEFLATED:
            self._next = partial(self._inflated, zlib.decompressobj(-zlib.MAX_WBITS))
        self._waiting = b""
        self._count = 0
        self._crc = 0
        if not member.size:
            self._finish()

    def take(self, limit: int) -> bytes:
        """Up to `limit` bytes, at least one until the end, then b"". Raises WheelError."""
        if self._count == self._member.size:
            return b""
        data = self._next(limit)
        if not data:
            raise self._error("ends too early")
        self._count += len(data)
        self._crc = zlib.crc32(data, self._crc)
        if self._hasher is not None:
            self._hasher.update(data)
        if self._count >= self._member.size:
            self._finish()
        return data

    def _find_data(self) -> int:
        """Where the data begins: after the member's own header, which must say the same as the directory."""
        member = self._member
        size = LOCAL.size + len(member.raw_name)
        header = read_exactly(self._descriptor, size, member.offset, self._label)
        mark, _, flags, method, *_, named, extra = LOCAL.unpack_from(header)
        if mark != LOCAL_MARK:
            raise self._error("is not where the directory says")
        if named != len(member.raw_name) or header[LOCAL.size :] != member.raw_name:
            raise self._error("has another name in the directory than where it is stored")
        if method != member.method or flags & 1:
            raise self._error("is stored in another way than the directory says")
        return member.offset + size + int(extra)

    def _stored(self, limit: int) -> bytes:
        size = min(limit, self._data_end - self._position)
        data = read_exactly(self._descriptor, size, self._position, self._label)
        self._position += size
        return data

    def _inflated(self, inflater: zlib._Decompress, limit: int) -> bytes:
        data = b""
        while not data and not inflater.eof:
            packed = self._waiting or self._stored(_PIECE)
            try:
                data = inflater.decompress(packed, limit)
            except zlib.error as error:
                raise self._error(f"is damaged ({error})") from error
            self._waiting = inflater.unconsumed_tail
            if not packed and not data:
                break
        return data

    def _finish(self) -> None:
        # One byte more is asked for: it also reads the mark of the end.
        if self._count > self._member.size or self._next(1):
            raise self._error(f"has more than the {self._member.size} bytes that the archive tells")
        if self._crc != self._member.crc:
            raise self._error("is damaged: its checksum is another one")
        if self._hasher is not None and self._hasher.hexdigest() != self._digest:
            raise self._error("is not what RECORD says: its SHA-256 is another one")

    def _error(self, why: str) -> WheelError:
        return wheel_error(self._label, why, self._member.name)


class _MemberStream(io.RawIOBase):
    """Owns the descriptor that its content reads from."""

    def __init__(self, descriptor: int, content: _Content) -> None:
        self._descriptor = descriptor
        self._content = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._content.take(len(view)) if len(view) else b""
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()

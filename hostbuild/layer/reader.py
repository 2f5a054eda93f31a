"""Reads layers, whoever wrote them: gzip or zstd of any number of members, or plain tar; ustar, pax, GNU
headers.
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, Literal, Self

from hostbuild.errors import InvalidDocumentError
from hostbuild.records import record

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MemberKind = Literal["file", "dir", "link", "hardlink", "fifo", "char", "block"]

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_UNREADABLE = (tarfile.TarError, EOFError, zlib.error, OSError)

_KINDS: dict[bytes, MemberKind] = {
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hardlink",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
}


@record
class Member:
    """One entry of a layer as it was read.

    `path` is as the archive has it, without "./" before it and "/" after it, bytes that are not UTF-8
    surrogate-escaped; the archive's root is "". It is not checked: it may be absolute or hold "..". `mode` is
    permission bits, `size` and `mtime` are bytes and seconds, `target` is what a link or hard link names.
    """

    path: str
    kind: MemberKind
    mode: int
    uid: int
    gid: int
    size: int
    mtime: float
    target: str


def read_layer(stream: BinaryIO) -> Iterator[tuple[Member, BinaryIO | None]]:
    """Yields each entry of a layer in the archive's order, with its content where it is a file.

    `stream` is the blob, compressed or not, from its start; it need not be seekable and is not closed. A
    content can be read until the next entry is asked for. Memory does not grow with the layer.
    Raises InvalidDocumentError, also from a content's `read`, for what is no tar archive, is cut short, has a
    damaged header, or is compressed in another way.
    """
    try:
        with ExitStack() as stack:
            plain = stack.enter_context(_plain(stream))
            # "r|" never seeks. tarfile's own decompression would stop after the first gzip member.
            archive = stack.enter_context(
                _Archive.open(
                    fileobj=plain, mode="r|", tarinfo=_Header, encoding="utf-8", errors="surrogateescape"
                )
            )
            while (info := archive.next()) is not None:
                content = archive.extractfile(info) if info.isreg() else None
                yield (
                    _member(info),
                    None if content is None else io.BufferedReader(_Pull(_checked(content.read))),
                )
    except _UNREADABLE as error:
        raise _invalid(error) from error


class _Archive(tarfile.TarFile):
    """A tar archive that does not remember its members, which would cost a kilobyte each."""

    members: list[tarfile.TarInfo]

    def next(self) -> tarfile.TarInfo | None:
        info = super().next()
        self.members = []
        return info


class _Header(tarfile.TarInfo):
    """A header whose damage is an error: tarfile takes a damaged one in mid-archive for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if not buf or buf.count(0) == tarfile.BLOCKSIZE:
            return super().frombuf(buf, encoding, errors)
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


class _Pull(io.RawIOBase):
    """A raw stream over a `read` function, after some bytes that were read already."""

    def __init__(self, read: Callable[[int], bytes], start: bytes = b"") -> None:
        self._read = read
        self._start = start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        if self._start:
            data, self._start = self._start[: len(view)], self._start[len(view) :]
        else:
            data = self._read(len(view))
        view[: len(data)] = data
        return len(data)


def _checked(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """The same function, with damage as our error."""

    def checked(size: int) -> bytes:
        try:
            return read(size)
        except _UNREADABLE as error:
            raise _invalid(error) from error

    return checked


def _plain(stream: BinaryIO) -> io.BufferedIOBase:
    """The archive in a blob, judged by its first bytes: media types are not always told truly."""
    start = b""
    while len(start) < len(_ZSTD_MAGIC) and (more := stream.read(len(_ZSTD_MAGIC) - len(start))):
        start += more
    whole = io.BufferedReader(_Pull(stream.read, start))
    if start.startswith(_ZSTD_MAGIC):
        return io.BufferedReader(_Pull(_unzstd(whole)))
    return gzip.GzipFile(fileobj=whole) if start.startswith(_GZIP_MAGIC) else whole


def _unzstd(stream: io.BufferedIOBase) -> Callable[[int], bytes]:
    """Reads what zstd frames hold; damage is an OSError, as gzip's is."""
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdError, ZstdFile
    else:
        from backports.zstd import ZstdError, ZstdFile

    file = ZstdFile(stream)

    def read(size: int) -> bytes:
        try:
            return file.read(size)
        except ZstdError as error:
            raise OSError(str(error)) from error

    return read


def _member(info: tarfile.TarInfo) -> Member:
    path = info.name
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return Member(
        path="" if path == "." else path.rstrip("/"),
        kind=_KINDS.get(info.type, "file"),
        mode=info.mode & 0o7777,
        uid=info.uid,
        gid=info.gid,
        size=info.size,
        mtime=info.mtime,
        target=info.linkname,
    )


def _invalid(error: Exception) -> InvalidDocumentError:
    return InvalidDocumentError("a layer cannot be read", why=str(error))

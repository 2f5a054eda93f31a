"""The libraries that compress: each as a function of one piece that depends on nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from hostbuild.errors import ToolMissingError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    Compress: TypeAlias = Callable[[ReadableBuffer], bytes]

#: libdeflate's bytes are the same on every CPU, and were the same in all versions of it that the package
#: `deflate` from 0.7 to 0.9 carries (1.20 to 1.25); a test holds the digest of a known layer, so that a
#: version that changes them is noticed and this renamed. "stored": see `_parts`.
GZIP = "libdeflate-stored"

#: Bytes that are judged at once: in a tree of mixed files the larger ones are found.
_BLOCK = 128 << 10
_LOOKS = (1, 3, 5, 7)  # eighths of a block
_LOOK = 256
#: So many of the 256 values are in nearly any 256 random bytes (on average 162, at most 20 fewer); text has
#: about 40, machine code 90, floating-point numbers 150.
_VALUES = 140
_SAMPLE = 2 << 10


def gzip_function(level: int) -> Compress:
    """libdeflate's, of levels 1 to 12."""
    from deflate import gzip_compress

    return _storing(lambda part: bytes(gzip_compress(part, level)))


def isal_function(level: int) -> Compress:
    """ISA-L's, of levels 1 and 2. Its bytes depend on the CPU's architecture, and on its version."""
    library = _isal("isal.igzip_lib")
    make, flag = library.compress, library.COMP_GZIP
    return _storing(lambda part: bytes(make(part, level, flag)))


def _storing(compress: Compress) -> Compress:
    """The same, but that what cannot be compressed is stored."""
    from deflate import gzip_compress

    def function(piece: ReadableBuffer) -> bytes:
        members = [
            bytes(gzip_compress(part, 0)) if stored else compress(part) for part, stored in _parts(piece)
        ]
        return members[0] if len(members) == 1 else b"".join(members)

    return function


def _parts(piece: ReadableBuffer) -> Iterator[tuple[memoryview, bool]]:
    """Cuts a piece into members, and says which are only stored: those of bytes that look random.

    Such are compressed already, or encrypted. libdeflate takes twice as long for them as for text, and
    storing them costs nothing.
    """
    view = memoryview(piece)
    start, stored = 0, False
    for at in range(0, len(view), _BLOCK):
        random = _is_random(view[at : at + _BLOCK])
        if random != stored:
            if at > start:
                yield view[start:at], stored
            start, stored = at, random
    yield view[start:], stored


def _is_random(block: memoryview) -> bool:
    """Whether compressing would gain nothing: samples decide, cheap ones first. Text is told by one look."""
    if len(block) < _BLOCK:
        return False
    places = [len(block) * eighth // 8 for eighth in _LOOKS]
    if any(len(set(block[at : at + _LOOK])) < _VALUES for at in places):
        return False
    from deflate import deflate_compress

    sample = b"".join(block[at : at + _SAMPLE] for at in places)
    return len(deflate_compress(sample, 1)) > len(sample) * 98 // 100


def isal_version() -> str:
    """The library by its version. Raises ToolMissingError where there is none."""
    return f"isal-{_isal('isal').ISAL_VERSION}"


def zstd_function(level: int) -> Compress:
    """zstd's, of levels 1 to 22: one frame that tells its content's size."""
    if sys.version_info >= (3, 14):
        from compression.zstd import compress
    else:
        from backports.zstd import compress

    def compress_piece(piece: ReadableBuffer) -> bytes:
        return compress(piece, level)

    return compress_piece


def zstd_version() -> str:
    """The library by its version: another one may give other bytes, which are as good."""
    if sys.version_info >= (3, 14):
        from compression.zstd import zstd_version as version
    else:
        from backports.zstd import zstd_version as version
    return f"zstd-{version}"


def _isal(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ToolMissingError(
            "the compression gzip:fast is not installed",
            why=f"it needs the Python package isal ({error})",
            fix="install hostbuild[fast], or choose gzip or zstd",
        ) from error

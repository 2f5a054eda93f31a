"""What decides a layer's bytes beside its entries: compressor, level, member size, tar dialect.

The archive is cut into pieces of a fixed size and each is compressed on its own, so that pieces can be
compressed in parallel and the bytes depend on nothing but the archive. A gzip file may be a sequence of
members (RFC 1952, 2.2), a zstd file one of frames (RFC 8878, 3), and every reader of layers takes them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.errors import UsageError
from hostbuild.layer import compressors
from hostbuild.oci.media_types import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from hostbuild.records import record

if TYPE_CHECKING:
    from hostbuild.layer.compressors import Compress

#: Bytes of the archive that go into one member. Smaller costs ratio (gzip, 256 KiB: 0.4 %), larger costs
#: memory and gains little (4 MiB: gzip 0.1 %, zstd 0.5 to 1.5 %).
MEMBER_SIZE = 1 << 20

#: The tar dialect of `header.py`; raised when the same entries would give another archive.
_TAR_VERSION = 1


class _Kind(NamedTuple):
    """A compression that can be chosen: its media type, and its levels (none: there is nothing to choose)."""

    media_type: str
    default: int
    highest: int


# Level 1 of libdeflate, because over 230 MB of source and binaries level 2 costs 1.3 times the time for 3 %
# of the size, level 3 1.5 times for 4 %, and level 6 2.4 times for 8 %. Level 3 of isal is left out: its
# bytes differ even between models of one family of CPUs.
_KINDS = {
    "gzip": _Kind(OCI_LAYER_GZIP, 1, 12),
    "gzip:fast": _Kind(OCI_LAYER_GZIP, 1, 2),
    "zstd": _Kind(OCI_LAYER_ZSTD, 1, 22),
    "uncompressed": _Kind(OCI_LAYER, 0, 0),
}

#: The names of all compressions, as `--compression` takes them.
COMPRESSIONS = tuple(_KINDS)


@record
class Compression:
    """How a layer is compressed: the name, the level, and how many bytes of the archive go into one member.

    Made by `compression_of`, which checks them.
    """

    name: str
    level: int
    member_size: int = MEMBER_SIZE

    @property
    def media_type(self) -> str:
        """The media type of a layer that is compressed so."""
        return _KINDS[self.name].media_type

    @property
    def key(self) -> str:
        """What goes into cache keys: the same entries and the same key give the same bytes.

        Raises ToolMissingError where the compressor is not installed.
        """
        if self.name == "uncompressed":
            return f"tar{_TAR_VERSION}"
        return f"tar{_TAR_VERSION}+{self.name}:{self._compressor()}:{self.level}:{self.member_size}"

    def _compressor(self) -> str:
        """The compressor, with all that its bytes depend on."""
        if self.name == "gzip":
            return compressors.GZIP
        if self.name == "zstd":
            return compressors.zstd_version()
        return f"{compressors.isal_version()}:{os.uname().machine}"

    def function(self) -> Compress | None:
        """The function that makes one compressed member of one piece of the archive; None for uncompressed.

        It runs without Python's global lock, depends on its argument only, and may be called from
        several threads. Raises ToolMissingError where the compressor is not installed.
        """
        if self.name == "gzip":
            return compressors.gzip_function(self.level)
        if self.name == "gzip:fast":
            return compressors.isal_function(self.level)
        return compressors.zstd_function(self.level) if self.name == "zstd" else None


def compression_of(name: str, level: int | None = None) -> Compression:
    """The compression of that name; `level` None means its default.

    Raises UsageError for a name or level that there is not, ToolMissingError where it is not installed.
    """
    kind = _KINDS.get(name)
    if kind is None:
        raise UsageError(
            f"there is no compression {name!r}",
            fix=f"write {', '.join(COMPRESSIONS[:-1])} or {COMPRESSIONS[-1]}",
        )
    if level is not None and not kind.highest:
        raise UsageError(
            f"there is no compression level {level}: layers are {name}",
            fix="leave the level out, or choose a compression",
        )
    if level is not None and not 1 <= level <= kind.highest:
        raise UsageError(
            f"{name} has no compression level {level}",
            why=f"its levels are 1 to {kind.highest}, {kind.default} unless another is given",
        )
    if name == "gzip:fast":
        compressors.isal_version()
    return Compression(name, kind.default if level is None else level)


#: What layers are compressed with unless something else is asked for: every tool reads it, and its bytes are
#: the same on every CPU.
GZIP = Compression("gzip", 1)

#: The key of the default.
LAYER_FORMAT = GZIP.key

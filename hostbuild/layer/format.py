"""What decides a layer's bytes beside its entries: compressor, level, member size, tar dialect.

The archive is cut into pieces of a fixed size and each is compressed on its own, so that pieces can be
compressed in parallel and the bytes depend on nothing but the archive. A gzip file may be a sequence of
members (RFC 1952, 2.2), and every reader of layers takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

#: Bytes of the archive that go into one member. Smaller costs ratio (256 KiB: 0.4 %), larger costs
#: memory and gains nothing that can be measured (4 MiB: 0.1 %).
MEMBER_SIZE = 1 << 20

#: The tar dialect of `header.py`; raised when the same entries would give another archive.
_TAR_VERSION = 1


@dataclass(frozen=True)
class Compression:
    """How a layer is compressed.

    `name` is what buildx calls it, `media_type` that of the result, `compressor` and `level` how it is
    made, `member_size` how many bytes of the archive go into one member.
    """

    name: Literal["gzip"]
    media_type: str
    compressor: str
    level: int
    member_size: int = MEMBER_SIZE

    @property
    def key(self) -> str:
        """What goes into cache keys: the same entries and the same key give the same bytes."""
        return f"tar{_TAR_VERSION}+{self.name}:{self.compressor}:{self.level}:{self.member_size}"

    def function(self) -> Callable[[bytes], bytes]:
        """The function that makes one compressed member of one piece of the archive.

        It runs without Python's global lock, depends on its argument only, and may be called from
        several threads.
        """
        from deflate import gzip_compress

        level = self.level

        def compress(piece: bytes) -> bytes:
            return bytes(gzip_compress(piece, level))

        return compress


# libdeflate's bytes are the same on every CPU, and were the same in all versions of it that the package
# `deflate` from 0.7 to 0.9 carries (1.20 to 1.25); a test holds the digest of a known layer, so that a
# version that changes them is noticed and `compressor` renamed. Level 1, because over 230 MB of source
# and binaries level 2 costs 1.3 times the time for 3 % of the size, level 3 1.5 times for 4 %, and
# level 6 2.4 times for 8 %.
GZIP = Compression(
    name="gzip",
    media_type="application/vnd.oci.image.layer.v1.tar+gzip",
    compressor="libdeflate",
    level=1,
)

#: Goes into the keys of layers and builds: what is written for the same entries changes only with it.
LAYER_FORMAT = GZIP.key

"""Layers: the only tar and compression code, writing and reading.

Writing is imported with the package and is light; reading, which needs tarfile, is when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostbuild.layer.format import GZIP, LAYER_FORMAT, Compression
from hostbuild.layer.writer import LayerResult, write_layer

if TYPE_CHECKING:
    from hostbuild.layer.reader import Member, read_layer
    from hostbuild.layer.unpacking import unpack

__all__ = [
    "GZIP",
    "LAYER_FORMAT",
    "Compression",
    "LayerResult",
    "Member",
    "read_layer",
    "unpack",
    "write_layer",
]


def __getattr__(name: str) -> Any:
    if name in {"Member", "read_layer"}:
        from hostbuild.layer import reader

        return getattr(reader, name)
    if name == "unpack":
        from hostbuild.layer import unpacking

        return unpacking.unpack
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

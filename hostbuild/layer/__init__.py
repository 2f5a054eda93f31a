"""Layers: the only tar and compression code, writing and reading.

`LAYER_FORMAT` goes into keys, so this package is imported even where no layer is written: only the formats
come with it, the rest when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hostbuild.layer.format import COMPRESSIONS, GZIP, LAYER_FORMAT, Compression, compression_of

if TYPE_CHECKING:
    from hostbuild.layer.reader import Member, read_layer
    from hostbuild.layer.unpacking import unpack
    from hostbuild.layer.writer import LayerResult, write_layer

__all__ = [
    "COMPRESSIONS",
    "GZIP",
    "LAYER_FORMAT",
    "Compression",
    "LayerResult",
    "Member",
    "compression_of",
    "read_layer",
    "unpack",
    "write_layer",
]

_HOMES = {
    "LayerResult": "writer",
    "Member": "reader",
    "read_layer": "reader",
    "unpack": "unpacking",
    "write_layer": "writer",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)

"""A wheel that is wanted: plans hold it, whether or not it is ever fetched."""

from __future__ import annotations

from typing import NamedTuple

from hostbuild.oci.digest import Digest


class WheelSource(NamedTuple):
    """A wheel that is wanted, as a lock names it.

    `location` is an http, https or file URL, or a path. `digest` may be None for files of this machine only;
    `size` is bytes, None where it is not known. Its repr shows no secret.
    """

    filename: str
    location: str
    digest: Digest | None = None
    size: int | None = None

    def __repr__(self) -> str:
        return f"WheelSource({self.filename!r}, digest={str(self.digest)!r}, size={self.size})"

"""The files that an image consists of, in a directory; `hostbuild.layer.archive` has them in an archive."""

from __future__ import annotations

import os
from typing import BinaryIO, Protocol

from hostbuild.errors import LocalImageError
from hostbuild.layer.slices import open_plain, slice_stream
from hostbuild.oci.quoting import quote


class Files(Protocol):
    """Files by their names, which are relative and have `/`; each method raises LocalImageError."""

    path: str

    def size(self, name: str) -> int | None:
        """Its size in bytes, None where there is none."""

    def open(self, name: str, offset: int = 0) -> BinaryIO:
        """Its bytes from `offset` on."""

    def read(self, name: str, limit: int) -> bytes:
        """All its bytes, at most `limit`."""

    def missing(self, name: str) -> LocalImageError:
        """The error for one that should be there."""

    def close(self) -> None:
        """Ends the use of it; what was opened can still be read."""


class DirectoryFiles:
    """The files below the directory `path`. Symbolic links are followed: who made it has made them."""

    def __init__(self, path: str) -> None:
        self.path = path

    def size(self, name: str) -> int | None:
        """Its size in bytes; None where there is none, or where it is a directory."""
        try:
            return os.stat(self._path(name)).st_size if os.path.isfile(self._path(name)) else None
        except FileNotFoundError:  # removed in between
            return None

    def open(self, name: str, offset: int = 0) -> BinaryIO:
        """Its bytes from `offset` on, as many as it has now. Raises LocalImageError."""
        path = self._path(name)
        if not os.path.lexists(path):
            raise self.missing(name)
        descriptor = open_plain(path)
        return slice_stream(descriptor, offset, os.fstat(descriptor).st_size, path)

    def read(self, name: str, limit: int) -> bytes:
        """All its bytes. Raises LocalImageError where there are more than `limit`."""
        with self.open(name) as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise LocalImageError(
                f"{self._path(name)!r} cannot be used", why=f"it has more than {limit} bytes"
            )
        return data

    def missing(self, name: str) -> LocalImageError:
        """The error for a file that belongs to the image and is not there."""
        return LocalImageError(
            f"{self.path!r} lacks a file that belongs to its image",
            why=f"there is no {quote(name)} in it",
            fix="write the layout anew",
        )

    def close(self) -> None:
        """Nothing is held."""

    def _path(self, name: str) -> str:
        return os.path.join(self.path, name)

"""Plain tar files that hold images: writing them, and reading single files out of them without unpacking.

What is written has the headers of `header.py`, so the same files give the same bytes. What is read may come
from anybody: names are looked up and never become paths on this machine, so links and `..` lead nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import BinaryIO, Self

from hostbuild.errors import LocalImageError
from hostbuild.layer import header
from hostbuild.layer.pieces import Piece, Pieces
from hostbuild.layer.scanning import scan
from hostbuild.layer.slices import open_plain, slice_stream, unreadable
from hostbuild.layer.writer import put_entries
from hostbuild.model import Entry
from hostbuild.oci.quoting import quote

#: Bytes that are copied at once; less costs calls, more gains nothing.
PIECE = 1 << 20
#: Entries that one archive may have: an image has a few dozen, and each costs memory.
MAX_MEMBERS = 1 << 20
_MAX_LINKS = 40


class _Plain(Pieces):
    """Hands everything on as it is."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        super().__init__(PIECE)
        self._write = write

    def take(self, piece: Piece) -> Piece:
        piece.verify()
        self._write(bytes(piece.view[: piece.size]))
        return piece


def write_archive(entries: Iterable[Entry], write: Callable[[bytes], object]) -> None:
    """Writes the entries as one uncompressed tar archive to `write`, in constant memory.

    The entries must come in the order of their paths' bytes, each path once. Times are 0 and there are no
    user names, as in layers: the bytes depend on the entries alone.

    Raises SourceError for a path that is unsafe or out of order. What `write`, `entries` and an entry's
    stream raise passes through, but an OSError of the stream, which becomes a SourceError.
    """
    pieces = _Plain(write)
    put_entries(entries, pieces)
    pieces.put(header.END)
    pieces.finish()


class ArchiveReader:
    """The files of the tar archive at `path`, found by one pass over its headers. A context manager.

    Links are resolved in the archive, never on this machine; entries with absolute names or `..` in them,
    and directories, devices and the like, are passed over. A file that stands in the archive twice cannot
    be opened: some programs take the first, some the last. `is_whole` says whether the archive has an end
    mark; one without may have been cut short between two files.

    Raises LocalImageError where there is no such file, where it is not a plain one (a pipe cannot be read
    twice), not a tar archive, compressed, damaged, or cut short.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = open_plain(path)
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str | None] = {}
        self._refused: dict[str, str] = {}
        try:
            self.is_whole = self._scan()
        except OSError as error:
            self.close()
            raise unreadable(path, error) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the archive; streams that were opened before stay usable. May be called twice."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    @property
    def members(self) -> dict[str, tuple[int, int]]:
        """Offset in the archive and size, both in bytes, of each file by its name; without links."""
        return dict(self._files)

    def find(self, name: str) -> tuple[int, int] | None:
        """Offset and size of the file `name`, through links in the archive; None where there is none.

        Raises LocalImageError for links in a circle or out of the archive, and for a file that is there
        and cannot be read (twice there, or sparse).
        """
        current: str | None = _clean(name)
        for _ in range(_MAX_LINKS):
            if current is None:
                raise self._error(name, "it is, or is a link to, a name outside of the archive")
            if current in self._refused:
                raise self._error(name, self._refused[current])
            if current not in self._links:
                return self._files.get(current)
            current = self._links[current]
        raise self._error(name, "its links lead in a circle")

    def size(self, name: str) -> int | None:
        """The size of the file `name` in bytes, None where there is none; see `find` for errors."""
        found = self.find(name)
        return None if found is None else found[1]

    def open(self, name: str, offset: int = 0) -> BinaryIO:
        """The bytes of the file `name` from `offset` on, as a stream of its own; see `find` for errors.

        The stream can be read from another thread, and after `close`.
        """
        found = self.find(name)
        if found is None:
            raise self.missing(name)
        start, size = found
        return slice_stream(os.dup(self._descriptor), start + min(offset, size), start + size, self.path)

    def read(self, name: str, limit: int) -> bytes:
        """The whole file `name`. Raises LocalImageError where it has more than `limit` bytes."""
        found = self.find(name)
        if found is None:
            raise self.missing(name)
        if found[1] > limit:
            raise self._error(name, f"it has {found[1]} bytes, at most {limit} are read")
        with self.open(name) as stream:
            return stream.read()

    def missing(self, name: str) -> LocalImageError:
        """The error for a file that should be in the archive and is not."""
        cut = "" if self.is_whole else " and the archive has no end mark: it was cut short"
        return LocalImageError(
            f"{self.path!r} lacks a file that belongs to its image",
            why=f"there is no {quote(name)} in it{cut}",
            fix="write the archive anew",
        )

    def _error(self, name: str, why: str) -> LocalImageError:
        return LocalImageError(
            f"{quote(name)} in {self.path!r} cannot be read", why=why, fix="write the archive anew"
        )

    def _scan(self) -> bool:
        is_whole = False
        count = 0
        for found in scan(self._descriptor, self.path):
            if found.kind == "end":
                is_whole = True
                break
            count += 1
            if count > MAX_MEMBERS:
                raise LocalImageError(
                    f"{self.path!r} is not an archive of an image",
                    why=f"it has more than {MAX_MEMBERS} entries",
                )
            name = _clean(found.name)
            if not name or found.kind == "other":
                continue
            if name in self._files or name in self._links or name in self._refused:
                self._refused[name] = "it is in the archive twice, and programs differ in which they take"
            elif found.kind == "file":
                self._files[name] = (found.offset, found.size)
            elif found.kind == "sparse":
                self._refused[name] = "it is stored without its holes (a sparse file), which is not read"
            else:
                # A symbolic link starts where it lies, a hard link at the archive's top.
                start = name.rpartition("/")[0] if found.kind == "link" else ""
                self._links[name] = _resolved(start, found.target)
        return is_whole


def _clean(name: str) -> str | None:
    """The name without `.` and needless slashes; None for one that is absolute or holds `..`."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return None if name.startswith("/") or ".." in parts else "/".join(parts)


def _resolved(start: str, target: str) -> str | None:
    """Where a link in the directory `start` leads, in the archive; None for out of it."""
    if target.startswith("/"):
        return None
    parts = start.split("/") if start else []
    for part in target.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)

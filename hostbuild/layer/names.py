"""The order of entries, and the names that may stand in a layer.

Entries come in the order of their paths' bytes, each path once. A directory then comes before what is in
it, and the order does not depend on locale, file system or the way a tree was walked.
"""

from __future__ import annotations

from hostbuild.errors import SourceError
from hostbuild.model import Entry

_NO_NAMES = frozenset({b"", b".", b".."})


class NameCheck:
    """Checks the entries of one layer one after the other, in constant memory."""

    __slots__ = ("_above", "_leaves", "_previous")

    def __init__(self) -> None:
        # The last directory part, checked already: neighbours share it.
        self._above = b""
        self._previous = b""
        # The earlier files and links whose name the current one begins with. Between "a" and "a/b" all
        # names begin with "a" in this order, so what does not fit can be forgotten.
        self._leaves: list[bytes] = []

    def check(self, entry: Entry) -> bytes:
        """The entry's path as bytes.

        Raises SourceError for a path that is unsafe, is not after the one before, or lies below a name
        that is no directory (which could lead an unpacking tool through a link).
        """
        try:
            path = entry.path.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise refused(
                entry, "it is not a file name: it holds surrogates that stand for no byte"
            ) from None
        above, slash, name = path.rpartition(b"/")
        if name in _NO_NAMES or b"\0" in name or (slash and not above):
            raise refused(entry, _unsafe(path))
        if above != self._above:
            if b"\0" in above or (above and not _NO_NAMES.isdisjoint(above.split(b"/"))):
                raise refused(entry, _unsafe(path))
            self._above = above
        if path <= self._previous:
            why = "it comes twice" if path == self._previous else "it comes after a later name"
            raise refused(entry, f"{why}: the names of a layer must be sorted by their bytes, each once")
        self._previous = path
        leaves = self._leaves
        while leaves and not path.startswith(leaves[-1]):
            leaves.pop()
        for leaf in leaves:
            if path[len(leaf)] == 0x2F:
                parent = leaf.decode("utf-8", "surrogateescape")
                raise refused(entry, f"{parent!r} in the same layer is not a directory")
        if entry.kind != "dir":
            leaves.append(path)
        return path


def _unsafe(path: bytes) -> str:
    if not path:
        return "its name is empty"
    if b"\0" in path:
        return "its name holds a zero byte"
    if path.startswith(b"/"):
        return "its name is absolute, and must be relative to the image's root"
    return "its name holds an empty, '.' or '..' component"


def refused(entry: Entry, why: str) -> SourceError:
    """The error for an entry that no layer may hold."""
    return SourceError(f"{entry.origin or entry.path!r} cannot be put into a layer", why=why)

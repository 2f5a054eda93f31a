"""Where symbolic links lead, as the kernel would find it, without ever leaving the source directory.

A link is judged by where it resolves, through other links too, and not by its text: with `d -> .`, the
link `l -> d/../x` leaves the directory. One that goes out and comes back leaves it as well, because out
there is another place in the image. Rules of resolution: path_resolution(7).
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable
from typing import Literal, NamedTuple

from hostbuild.errors import LinkEscapesError
from hostbuild.source.names import show

#: Linux's limit of links followed in one resolution (path_resolution(7)).
MAX_LINKS = 40

State = Literal["found", "missing", "loop"]
Kind = Literal["file", "dir", "link", "missing"]


class Resolution(NamedTuple):
    """Where a link leads: the path below the root ("" is the root itself), and whether it is there."""

    state: State
    path: bytes


class Known(NamedTuple):
    """What a path is; `target` for links."""

    kind: Kind
    target: bytes = b""


class EscapeError(Exception):
    """A path left the root; `where` it leads is absolute, or relative to the root."""

    def __init__(self, where: bytes) -> None:
        super().__init__(where)
        self.where = where


class LinkResolver:
    """Resolves paths below the directory `root` (absolute, resolved). `walked` tells what was met already."""

    def __init__(self, root: bytes, walked: Callable[[bytes], Known | None] | None = None) -> None:
        self._root = root
        self._walked = walked
        self._known: dict[bytes, Known] = {}

    def judge(self, link: bytes, target: bytes) -> Resolution:
        """Where the link at `link`, with this raw target, leads. Raises LinkEscapesError."""
        try:
            return self.resolve(link.rpartition(b"/")[0], target, followed=1)
        except EscapeError as error:
            if target.startswith(b"/"):
                why = f"its target {show(target)} is absolute"
            else:
                why = f"its target {show(target)} leads to {show(error.where)}"
            raise LinkEscapesError(
                f"the link {show(link)} leaves the source directory",
                why=why,
                fix="make it lead to something inside, by a relative path, or leave it out with a line in "
                ".funcignore",
                link=show(link),
                target=show(target),
                leads_to=show(error.where),
            ) from None

    def resolve(self, directory: bytes, path: bytes, *, followed: int = 0) -> Resolution:
        """Where `path` leads from `directory`, which lies below the root and holds no link in its own path.

        `followed` is how many links were followed on the way here. What is not there is taken for a
        directory, so that nothing leaves the root once it is made. Raises EscapeError.
        """
        at = directory.split(b"/") if directory else []
        rest = path.split(b"/")[::-1]
        if path.startswith(b"/"):
            raise EscapeError(path)
        kind: Kind = "dir"
        missing = False
        while rest:
            name = rest.pop()
            if kind != "dir":
                missing = True
            if name in (b"", b"."):
                continue
            if name == b"..":
                if not at:
                    raise EscapeError(self._outside(rest))
                at.pop()
                kind = "dir"
                continue
            here = self._look(b"/".join((*at, name)))
            if here.kind != "link":
                at.append(name)
                kind = here.kind
                continue
            if followed >= MAX_LINKS:
                return Resolution("loop", b"/".join(at))
            followed += 1
            if here.target.startswith(b"/"):
                raise EscapeError(b"/".join((here.target, *reversed(rest))))
            rest += here.target.split(b"/")[::-1]
        return Resolution("missing" if missing or kind == "missing" else "found", b"/".join(at))

    def _outside(self, rest: list[bytes]) -> bytes:
        """The place that is one above the root and then `rest`."""
        return os.path.normpath(b"/".join((self._root, b"..", *reversed(rest))))

    def _look(self, path: bytes) -> Known:
        known = self._known.get(path)
        if known is None:
            known = self._walked(path) if self._walked is not None else None
            known = self._known[path] = known or _examine(self._root + b"/" + path)
        return known


def _examine(path: bytes) -> Known:
    try:
        mode = os.lstat(path).st_mode
        if modes.S_ISLNK(mode):
            return Known("link", os.readlink(path))
    except OSError:
        # Not there, below a file, or not to be entered: whatever is there does not ship.
        return Known("missing")
    return Known("dir" if modes.S_ISDIR(mode) else "file")

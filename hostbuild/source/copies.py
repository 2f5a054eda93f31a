"""`--copy SRC:DST`: a file or a directory of the source that goes to a place of its own in the image."""

from __future__ import annotations

import os
from typing import NamedTuple

from hostbuild.errors import InvalidValueError, LinkEscapesError, SourceError
from hostbuild.model import USER_GID, USER_UID, Entry
from hostbuild.source.digests import FileDigests, unreadable
from hostbuild.source.ignore import EVERYTHING
from hostbuild.source.index import signature_of
from hostbuild.source.links import EscapeError, LinkResolver
from hostbuild.source.names import decode, encode, show
from hostbuild.source.tree import FILE, SourceTree, file_entry, shipped_entries
from hostbuild.source.walk import survey

_FIX = "write SRC:DST, as in --copy static:/srv/static"


class Copy(NamedTuple):
    """What one --copy asks for: a tree that goes to `destination`, or, with an `origin`, its only file."""

    destination: str
    tree: SourceTree
    origin: str = ""

    def entries(self, uid: int = USER_UID, gid: int = USER_GID) -> tuple[Entry, ...]:
        """A layer's, sorted by `sort_key`. Only the destination is made, no directory above it.

        Raises SourceError where a file cannot be read.
        """
        if not self.origin:
            return tuple(shipped_entries(self.tree, self.destination, uid, gid))
        (entry,) = self.tree.entries
        root = os.fsencode(self.tree.root).rstrip(b"/") + b"/"
        return (file_entry(self.destination, root, entry, uid, gid, origin=self.origin),)


def find_copy(spec: str, root: str, digests: FileDigests) -> Copy:
    """What "SRC:DST" asks for; no file is read.

    SRC is relative to `root` and must stay inside it, links followed. A file becomes DST, or a file in DST
    where that ends in "/". A directory's content becomes the content of DST, all of it but `.git` and
    `.func`: what is named expressly is not ignored. Links in it are kept raw and must stay inside it.

    Raises InvalidValueError for a text that is no such pair, SourceError where SRC is not there or cannot
    be read, LinkEscapesError where it or a link in it leads out.
    """
    source, destination = _parse(spec)
    top = os.path.realpath(os.fsencode(root))
    path = _locate(spec, source, top)
    where = top.rstrip(b"/") + b"/" + path if path else top
    if os.path.isdir(where):
        tree = survey(os.fsdecode(where), EVERYTHING, digests=digests)
        return Copy(destination.strip("/"), tree)
    if not os.path.isfile(where):
        raise SourceError(f"{show(source)} of --copy {show(spec)} is neither a file nor a directory")
    try:
        signature = signature_of(os.lstat(where))
    except OSError as error:
        raise unreadable(path, error) from error
    directory, _, name = where.rpartition(b"/")
    tree = SourceTree(os.fsdecode(directory or b"/"), [(name, FILE + signature)], (), digests)
    if destination.endswith("/"):
        destination += source.rstrip("/").rpartition("/")[2]
    return Copy(destination.strip("/"), tree, decode(path))


def copy_entries(
    spec: str, root: str, digests: FileDigests, *, uid: int = USER_UID, gid: int = USER_GID
) -> tuple[Entry, ...]:
    """The entries that "SRC:DST" asks for. Raises what `find_copy` and `Copy.entries` raise."""
    return find_copy(spec, root, digests).entries(uid, gid)


def _parse(spec: str) -> tuple[str, str]:
    source, colon, destination = spec.partition(":/")
    if not colon:
        raise InvalidValueError(
            f"--copy {show(spec)} cannot be understood", why="it has no absolute DST after a colon", fix=_FIX
        )
    destination = "/" + destination
    if not source:
        raise InvalidValueError(f"--copy {show(spec)} cannot be understood", why="SRC is empty", fix=_FIX)
    if source.startswith("/"):
        raise InvalidValueError(
            f"--copy {show(spec)} cannot be used",
            why="SRC is absolute",
            fix="name it relative to the source directory",
        )
    if "\0" in spec or ".." in destination.split("/"):
        raise InvalidValueError(
            f"--copy {show(spec)} cannot be used", why="DST holds '..' or a zero byte", fix=_FIX
        )
    parts = [part for part in destination.split("/") if part not in ("", ".")]
    end = "/" if destination.endswith(("/", "/.")) else ""
    return source, "/" + "/".join(parts) + (end if parts else "")


def _locate(spec: str, source: str, top: bytes) -> bytes:
    """The path below the root that SRC resolves to."""
    try:
        resolution = LinkResolver(top).resolve(b"", encode(source))
    except EscapeError as error:
        raise LinkEscapesError(
            f"SRC of --copy {show(spec)} leaves the source directory",
            why=f"it leads to {show(error.where)}",
            fix="copy it into the source, or name something inside",
        ) from None
    if resolution.state != "found":
        where = top.rstrip(b"/") + b"/" + encode(source)
        try:
            os.stat(where)
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise unreadable(encode(source), error) from error
        raise SourceError(
            f"{show(source)} of --copy {show(spec)} does not exist",
            why=f"it was looked for below {show(top)}",
            fix="check the path; it is relative to the source directory",
        )
    return resolution.path

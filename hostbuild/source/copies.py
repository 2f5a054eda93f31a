"""`--copy SRC:DST`: a file or a directory of the source that goes to a place of its own in the image."""

from __future__ import annotations

import os

from hostbuild.errors import InvalidValueError, LinkEscapesError, SourceError
from hostbuild.model import USER_GID, USER_UID, Entry
from hostbuild.source.digests import FileDigests, unreadable
from hostbuild.source.ignore import EVERYTHING
from hostbuild.source.links import EscapeError, LinkResolver
from hostbuild.source.names import decode, encode, show
from hostbuild.source.tree import SourceEntry, file_entry, shipped_entries
from hostbuild.source.walk import scan

_FIX = "write SRC:DST, as in --copy static:/srv/static"


def copy_entries(
    spec: str, root: str, digests: FileDigests, *, uid: int = USER_UID, gid: int = USER_GID
) -> tuple[Entry, ...]:
    """The entries that "SRC:DST" asks for, sorted by `sort_key`.

    SRC is relative to `root` and must stay inside it, links followed. A file becomes DST, or a file in DST
    where that ends in "/". A directory's content becomes the content of DST, all of it but `.git` and
    `.func`: what is named expressly is not ignored. Links in it are kept raw and must stay inside it.
    Only DST is made, no directory above it.

    Raises InvalidValueError for a text that is no such pair, SourceError where SRC is not there or cannot
    be read, LinkEscapesError where it or a link in it leads out.
    """
    source, destination = _parse(spec)
    top = os.path.realpath(os.fsencode(root))
    path = _locate(spec, source, top)
    where = top.rstrip(b"/") + b"/" + path if path else top
    if os.path.isdir(where):
        tree = scan(os.fsdecode(where), EVERYTHING, digests=digests)
        return tuple(shipped_entries(tree, destination.strip("/"), uid, gid))
    if not os.path.isfile(where):
        raise SourceError(f"{show(source)} of --copy {show(spec)} is neither a file nor a directory")
    content = digests.read(where)
    size, mode = content.signature[0], content.signature[5]
    entry = SourceEntry(
        decode(path), "file", bool(mode & 0o100), size, content.digest, stat=content.signature
    )
    if destination.endswith("/"):
        destination += source.rstrip("/").rpartition("/")[2]
    return (file_entry(destination.strip("/"), where, entry, uid, gid, origin=entry.path),)


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

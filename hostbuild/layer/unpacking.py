"""Unpacks an image's layers into a directory, as a runtime would: one over the other, with whiteouts.

Every path is resolved as if the destination were `/`: a link inside it, absolute or with "..", never leads
out of it. This holds against the layers' content, not against another process that changes the destination
at the same time. Whiteouts are those of the image specification, layer.md.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable
from typing import BinaryIO

from hostbuild.errors import InvalidDocumentError
from hostbuild.layer.reader import Member, read_layer

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
# As many as Linux follows in one path (path_resolution(7)).
_MAX_LINKS = 40


def unpack(layers: Iterable[str | os.PathLike[str]], destination: str | os.PathLike[str]) -> tuple[str, ...]:
    """Unpacks layers, given as the paths of their blobs from the lowest up, into an empty or new directory.

    Modes, setuid included, and links' raw targets are kept; owners only for root. Devices are not made:
    their paths are returned. Raises InvalidDocumentError for a layer that cannot be read or names a path
    outside, and OSError where the destination cannot be written.
    """
    root = os.path.realpath(destination)
    os.makedirs(root, exist_ok=True)
    skipped: list[str] = []
    for layer in layers:
        # A whiteout hides what lower layers have and nothing of its own layer, wherever it stands in it: so
        # the layer is read twice, the first time for the whiteouts alone.
        with open(layer, "rb") as stream:
            for member, _ in read_layer(stream):
                _remove_hidden(root, member)
        with open(layer, "rb") as stream:
            skipped += _Layer(root).extract(stream)
    return tuple(skipped)


class _Layer:
    """One layer's way to disk."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._owner = os.geteuid() == 0
        # Modes are set at the end: a directory may not be writable.
        self._modes: dict[str, int] = {}

    def extract(self, stream: BinaryIO) -> list[str]:
        skipped = []
        for member, content in read_layer(stream):
            if os.path.basename(member.path).startswith(_WHITEOUT):
                continue
            if not self._make(member, content):
                skipped.append(member.path)
        for path, mode in reversed(self._modes.items()):
            os.chmod(path, mode)
        return skipped

    def _make(self, member: Member, content: BinaryIO | None) -> bool:
        if member.kind in {"char", "block"}:
            return False
        path = _place(self._root, member.path)
        if member.kind == "dir":
            self._directory(path, member)
            return True
        if path == self._root:
            raise _outside(member.path, "the root is a directory")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if member.kind == "hardlink":
            target = _place(self._root, member.target)
            if target != path:
                _remove(path)
                os.link(target, path, follow_symlinks=False)
            return True
        _remove(path)
        if member.kind == "link":
            os.symlink(member.target, path)
        elif member.kind == "fifo":
            os.mkfifo(path)
        elif content is not None:
            with open(path, "xb") as file:
                shutil.copyfileobj(content, file)
        if self._owner:
            os.chown(path, member.uid, member.gid, follow_symlinks=False)
        if member.kind != "link":
            os.chmod(path, member.mode)
            os.utime(path, (member.mtime, member.mtime))
        return True

    def _directory(self, path: str, member: Member) -> None:
        if not _is_directory(path):
            _remove(path)
            os.makedirs(path)
        os.chmod(path, 0o700)
        if self._owner:
            os.chown(path, member.uid, member.gid)
        self._modes[path] = member.mode


def _remove_hidden(root: str, member: Member) -> None:
    above, name = os.path.split(member.path)
    if not name.startswith(_WHITEOUT):
        return
    _refuse_outside(member.path)
    directory = _follow(root, above)
    if name == _OPAQUE:
        if _is_directory(directory):
            for child in os.listdir(directory):
                _remove(os.path.join(directory, child))
        return
    hidden = name.removeprefix(_WHITEOUT)
    if hidden in {"", ".", ".."}:
        raise _outside(member.path, "the whiteout hides no name")
    _remove(os.path.join(directory, hidden))


def _place(root: str, path: str) -> str:
    """Where a member goes: its directory's links are followed within the root, its own name is not."""
    _refuse_outside(path)
    above, name = os.path.split(path)
    return os.path.join(_follow(root, above), name) if name and name != "." else root


def _follow(root: str, path: str) -> str:
    """The host path of a directory, all links resolved as a process with this root directory would."""
    todo = path.split("/")[::-1]
    current: list[str] = []
    links = 0
    while todo:
        name = todo.pop()
        if name in {"", "."}:
            continue
        if name == "..":
            del current[-1:]
            continue
        host = os.path.join(root, *current, name)
        if not os.path.islink(host):
            current.append(name)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise _outside(path, os.strerror(errno.ELOOP))
        target = os.readlink(host)
        if target.startswith("/"):
            current.clear()
        todo += target.split("/")[::-1]
    return os.path.join(root, *current)


def _remove(path: str) -> None:
    if _is_directory(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _refuse_outside(path: str) -> None:
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise _outside(path, "it is absolute or holds '..'")


def _outside(path: str, why: str) -> InvalidDocumentError:
    return InvalidDocumentError(f"a layer's entry {path!r} cannot be unpacked", why=why)

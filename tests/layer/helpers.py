"""Entries and layers for the tests of this room."""

from __future__ import annotations

import functools
import hashlib
import io
import tarfile
from collections.abc import Iterable
from typing import BinaryIO

from hostbuild.layer import GZIP, Compression, LayerResult, write_layer
from hostbuild.model import Entry


class Chunky(io.BytesIO):
    """A stream that gives at most `step` bytes a call, as a pipe or a network file system may."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self._step = step

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._step if size is None or size < 0 else min(size, self._step))


def opener(data: bytes, step: int = 0) -> BinaryIO:
    return Chunky(data, step) if step else io.BytesIO(data)


def file(path: str, data: bytes = b"", *, mode: int = 0o644, digest: bool = False, step: int = 0) -> Entry:
    return Entry(
        path,
        "file",
        mode,
        1000,
        1000,
        len(data),
        open=functools.partial(opener, data, step),
        digest=hashlib.sha256(data).hexdigest() if digest else "",
        origin=f"/src/{path}",
    )


def folder(path: str, *, mode: int = 0o755) -> Entry:
    return Entry(path, "dir", mode, 1000, 1000, origin=f"/src/{path}")


def link(path: str, target: str) -> Entry:
    return Entry(path, "link", 0o644, 1000, 1000, target=target, origin=f"/src/{path}")


def layer(
    entries: Iterable[Entry], *, threads: int = 1, compression: Compression = GZIP
) -> tuple[LayerResult, bytes]:
    out: list[bytes] = []
    result = write_layer(entries, out.append, threads=threads, compression=compression)
    return result, b"".join(out)


def members(archive: bytes) -> list[tarfile.TarInfo]:
    """What Python's tarfile reads, independent of our reader."""
    with tarfile.open(
        fileobj=io.BytesIO(archive), mode="r:", encoding="utf-8", errors="surrogateescape"
    ) as tar:
        return tar.getmembers()


def contents(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(
        fileobj=io.BytesIO(archive), mode="r:", encoding="utf-8", errors="surrogateescape"
    ) as tar:
        found = {}
        for info in tar:
            content = tar.extractfile(info) if info.isreg() else None
            found[info.name] = content.read() if content is not None else b""
        return found


def by_path(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.path.encode("utf-8", "surrogateescape"))

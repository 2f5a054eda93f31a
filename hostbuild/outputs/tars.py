"""The entries of an image's tar file: the layout, and for docker also what its own loader reads."""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from hostbuild.errors import CorruptBlobError, StoreError
from hostbuild.model import Entry, PlatformResult
from hostbuild.oci.digest import Digest
from hostbuild.oci.json import canonical
from hostbuild.oci.layout import BLOBS, INDEX_FILE, LAYOUT_FILE, blob_path, oci_layout_bytes
from hostbuild.oci.platform import Platform
from hostbuild.oci.reference import Reference

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

DOCKER_FILE = "manifest.json"


def image_entries(
    layout: str, blobs: Iterable[tuple[Digest, int]], documents: Mapping[str, bytes]
) -> list[Entry]:
    """The entries of the layout in the directory `layout`, sorted, with `documents` beside index.json.

    Blobs are verified while they are read: a stream raises CorruptBlobError before its last piece where
    size or digest is wrong, StoreError where a blob is not there.
    """
    with open(os.path.join(layout, INDEX_FILE), "rb") as stream:
        index = stream.read()
    small = {LAYOUT_FILE: oci_layout_bytes(), INDEX_FILE: index, **documents}
    listed = list(blobs)
    folders = {BLOBS, *(f"{BLOBS}/{digest.algorithm}" for digest, _ in listed)}
    entries = [Entry(path, "dir", 0o755) for path in folders]
    entries += [_document(path, data) for path, data in small.items()]
    entries += [
        Entry(
            blob_path(digest),
            "file",
            0o644,
            size=size,
            open=functools.partial(_open_blob, layout, digest, size),
            origin=f"blob {digest}",
        )
        for digest, size in listed
    ]
    return sorted(entries, key=lambda entry: entry.path)


def docker_manifest(
    platforms: Sequence[PlatformResult], tags: Iterable[Reference], host: Platform | None
) -> bytes:
    """The manifest.json of an archive that docker's loader, podman and skopeo take.

    It names one image, since skopeo refuses more: that of the platform `host`, else one that `host` runs,
    else the first. Tags are full references, as podman writes them: docker reads these like short ones, and
    buildah takes a short one for a name on localhost.
    """
    image = platforms[_best(tuple(Platform.parse(each.platform) for each in platforms), host)]
    names = dict.fromkeys(map(str, tags))
    return canonical(
        [
            {
                "Config": blob_path(Digest.parse(image.config)),
                "RepoTags": list(names),
                "Layers": [blob_path(Digest.parse(layer.digest)) for layer in image.layers],
            }
        ]
    )


def _best(platforms: Sequence[Platform], host: Platform | None) -> int:
    if host is None:
        return 0
    if host in platforms:
        return platforms.index(host)
    return next((at for at, each in enumerate(platforms) if host.runs(each)), 0)


def _document(path: str, data: bytes) -> Entry:
    return Entry(path, "file", 0o644, size=len(data), open=functools.partial(io.BytesIO, data))


def _open_blob(layout: str, digest: Digest, size: int) -> BinaryIO:
    path = os.path.join(layout, blob_path(digest))
    try:
        stream = io.FileIO(path)
    except OSError as error:
        raise StoreError(
            f"blob {digest} of the build cannot be read", why=error.strerror or str(error), fix=_FIX
        ) from error
    return io.BufferedReader(_Verified(stream, digest, size), 1)


_FIX = "build again: it is made anew"


class _Verified(io.RawIOBase):
    """A blob's bytes, hashed while they are read."""

    def __init__(self, stream: io.FileIO, digest: Digest, size: int) -> None:
        self._stream = stream
        self._digest = digest
        self._size = size
        self._hasher = hashlib.new(digest.algorithm)
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        try:
            length = self._stream.readinto(view) or 0
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from error
        self._hasher.update(view[:length])
        self._count += length
        if self._count > self._size or (not length and self._count < self._size):
            raise self._damaged(f"it has {self._count} bytes instead of {self._size}")
        # Said with the last bytes and not after them, so that nobody takes these for good.
        if self._count == self._size and self._hasher.hexdigest() != self._digest.hex:
            raise self._damaged("its bytes have another digest")
        return length

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _damaged(self, why: str) -> CorruptBlobError:
        return CorruptBlobError(
            f"blob {self._digest} of the build is damaged", why=why, fix=_FIX, digest=str(self._digest)
        )

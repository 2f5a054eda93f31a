"""Writing an image layout directory (image-spec, image-layout.md) out of the blobs of the store."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Protocol

from hostbuild.errors import CorruptBlobError, StoreError
from hostbuild.oci.digest import Digest
from hostbuild.points import reach
from hostbuild.store.blobs import BLOB_MODE, is_whole
from hostbuild.store.copying import copy_file, link_or_copy
from hostbuild.store.failures import Explaining
from hostbuild.store.syncing import sync_directory, write_new_file

#: image-spec, image-layout.md, "oci-layout file".
LAYOUT_MARKER = b'{"imageLayoutVersion":"1.0.0"}'


class Blobs(Protocol):
    """Where blobs lie: the cache's BlobStore, or a layout."""

    def path(self, digest: Digest) -> str:
        """Where the blob is, or would be."""


class LayoutBlobs:
    """The blobs of the image layout in `directory`."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def path(self, digest: Digest) -> str:
        """Where the blob is, or would be."""
        return f"{self._directory}/blobs/{digest.algorithm}/{digest.hex}"


def write_layout(
    directory: str,
    blobs: Blobs,
    index_json: bytes,
    descriptors: Iterable[tuple[Digest, int]],
    *,
    link: bool = True,
    absent: Iterable[Digest] = (),
) -> None:
    """Write `oci-layout`, `index.json` and the blobs that `descriptors` name (digest, size in bytes).

    `directory` must be absent or empty. With `link` the blobs are hard links to the cache's (a copy
    where that cannot be done), never to be changed in place; without, they are the user's own copies
    (reflinks where the disk has them), mode 0644 less the umask. Blobs of `absent` are left out: the
    layout is sparse then (image-layout.md, "Blobs"). Everything is synced, `index.json` comes last.

    Raises `CorruptBlobError` when a blob of the store has another size, `StoreError` when one is
    absent or the disk refuses.
    """
    wanted: dict[Digest, int] = {}
    left_out = frozenset(absent)
    for digest, size in descriptors:
        if digest in left_out:
            continue
        if wanted.setdefault(digest, size) != size:
            raise ValueError(f"two sizes for {digest}")
    with Explaining("write the image layout", directory):
        os.makedirs(directory, 0o755, exist_ok=True)
        if os.listdir(directory):
            raise StoreError(f'cannot write the image layout in "{directory}"', why="it is not empty")
        write_new_file(os.path.join(directory, "oci-layout"), LAYOUT_MARKER)
        top = os.path.join(directory, "blobs")
        os.mkdir(top, 0o755)
        folders = {algorithm: os.path.join(top, algorithm) for algorithm in ("sha256",)}
        for digest in wanted:
            folders.setdefault(digest.algorithm, os.path.join(top, digest.algorithm))
        for folder in folders.values():
            os.mkdir(folder, 0o755)
        for digest, size in wanted.items():
            _place(blobs, digest, size, os.path.join(folders[digest.algorithm], digest.hex), link=link)
            reach("layout-partly-written")
        for folder in (*folders.values(), top):
            sync_directory(folder)
        reach("layout-before-index")
        write_new_file(os.path.join(directory, "index.json"), index_json)
        sync_directory(directory)
        reach("layout-complete")


def _place(blobs: Blobs, digest: Digest, size: int, path: str, *, link: bool) -> None:
    source = blobs.path(digest)
    try:
        plain = stat.S_ISREG(os.lstat(source).st_mode)
    except FileNotFoundError as error:
        raise StoreError(
            f"blob {digest} is not in the cache",
            why="another program removed it while the image was being written",
            fix="build again",
            digest=str(digest),
        ) from error
    if not plain:
        raise StoreError(
            f"blob {digest} in the cache is not a plain file",
            why=f'"{source}" is a link or a directory',
            fix="remove it, and find out who put it there",
            digest=str(digest),
        )
    found = link_or_copy(source, path, mode=BLOB_MODE) if link else copy_file(source, path)
    why = f"it has {found} bytes instead of {size}" if found != size else ""
    if not (why or link) and not is_whole(path, digest):
        why = "its bytes have another digest"
    if why:
        raise CorruptBlobError(
            f"blob {digest} is damaged",
            why=f'"{source}": {why}',
            fix="build again: it is made anew",
            digest=str(digest),
            path=source,
        )

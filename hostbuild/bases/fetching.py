"""One blob of a base from its registry into the cache, verified; a mirror that lied is passed over."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from hostbuild.errors import CorruptBlobError, StoreError
from hostbuild.oci.descriptor import Descriptor
from hostbuild.points import reach
from hostbuild.store.cache import Cache

if TYPE_CHECKING:
    from hostbuild.registry import Repository

#: Blobs below this size (bytes) are not worth a look at the disk.
_SMALL = 64 << 20


def fetch_blob(
    repository: Repository,
    descriptor: Descriptor,
    cache: Cache,
    *,
    mirrored: bool,
    on_bytes: Callable[[int], None] | None = None,
) -> None:
    """Fetch `descriptor` into the cache; `on_bytes` hears how many bytes came so far.

    Wrong bytes may be a mirror's: where there is one (`mirrored`), the blob is fetched once more, and
    the client passes that mirror over. Raises CorruptBlobError, StoreError (also when the disk has no
    room for it), and the errors of registries.
    """
    refuse_larger_than_disk(descriptor, cache)
    try:
        _fetch(repository, descriptor, cache, on_bytes)
    except CorruptBlobError:
        if not mirrored:
            raise
        _fetch(repository, descriptor, cache, on_bytes)


def _fetch(
    repository: Repository, descriptor: Descriptor, cache: Cache, on_bytes: Callable[[int], None] | None
) -> None:
    with cache.blobs.writer(descriptor.digest.algorithm, beside=True) as writer:

        def write(data: bytes | memoryview) -> None:
            writer.write(data)
            reach("base-layer-partly-fetched")
            if on_bytes is not None:
                on_bytes(writer.size)

        repository.fetch(descriptor, write)
        writer.commit(descriptor.digest, descriptor.size)


def refuse_larger_than_disk(descriptor: Descriptor, cache: Cache) -> None:
    """Raises StoreError where a blob of this size cannot fit: filling the disk to find out harms others."""
    if descriptor.size < _SMALL:
        return
    found = os.statvfs(cache.root)
    room = found.f_bavail * found.f_frsize
    if descriptor.size > room:
        raise StoreError(
            f"there is no room for the layer {descriptor.digest} of the base image",
            why=f'it has {descriptor.size} bytes, and the disk of "{cache.root}" has {room} left',
            fix="free some, or use another directory with --cache-dir",
        )

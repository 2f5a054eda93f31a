"""A base's documents (index, manifests, configs), from the cache, a registry, or this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from hostbuild.bases.fetching import fetch_blob
from hostbuild.bases.naming import open_place
from hostbuild.bases.network import Network
from hostbuild.bases.values import Base
from hostbuild.errors import BaseImageError, CorruptBlobError, OfflineError, StoreError
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.json import MAX_DOCUMENT
from hostbuild.oci.media_types import INDEXES, MANIFESTS
from hostbuild.plan import key_of
from hostbuild.store.cache import Cache

if TYPE_CHECKING:
    from hostbuild.local import LocalImage
    from hostbuild.registry import Repository


class Documents(Protocol):
    """Where a base's documents come from."""

    def top(self) -> tuple[Descriptor, bytes]:
        """What the base's digest names: an index or a manifest."""

    def read(self, descriptor: Descriptor) -> bytes:
        """The document that a descriptor names, verified."""


@contextmanager
def documents_of(base: Base, cache: Cache, network: Network) -> Iterator[Documents]:
    """The documents of a base that is in a registry, or on this machine."""
    if base.source.kind == "registry":
        yield _RegistryDocuments(base, cache, network)
        return
    with open_place(base.source) as image:
        if str(image.root.digest) != base.digest:
            raise BaseImageError(
                f"the base image {base.source} was changed while it was being read", fix="build again"
            )
        yield _LocalDocuments(image)


class _LocalDocuments:
    """Documents of a layout or an archive."""

    def __init__(self, image: LocalImage) -> None:
        self._image = image

    def top(self) -> tuple[Descriptor, bytes]:
        return self._image.root, self._image.read(self._image.root)

    def read(self, descriptor: Descriptor) -> bytes:
        return self._image.read(descriptor)


class _RegistryDocuments:
    """Documents of a base in a registry. What the cache has is not asked for: no connection is made then."""

    def __init__(self, base: Base, cache: Cache, network: Network) -> None:
        self._base = base
        self._cache = cache
        self._network = network

    def top(self) -> tuple[Descriptor, bytes]:
        """By the digest alone; its size and media type are remembered beside it."""
        key = key_of("base top", digest=self._base.digest)
        record = self._cache.keys.get(key) or {}
        media_type, size = record.get("mediaType"), record.get("size")
        if isinstance(media_type, str) and isinstance(size, int):
            descriptor = Descriptor(media_type, Digest.parse(self._base.digest), size)
            if (data := self._cached(descriptor)) is not None:
                return descriptor, data
        descriptor, data = self._open("its index").manifest(self._base.digest)
        self._cache.blobs.put(data)
        self._cache.keys.put(key, {"mediaType": descriptor.media_type, "size": descriptor.size})
        return descriptor, data

    def read(self, descriptor: Descriptor) -> bytes:
        """A manifest by its digest, a config as the blob that it is."""
        if descriptor.size > MAX_DOCUMENT:
            raise BaseImageError(
                f"the base image {self._base.source} cannot be used",
                why=f"{descriptor.digest} has {descriptor.size} bytes, a document may have {MAX_DOCUMENT}",
                fix="use another base image",
            )
        if (data := self._cached(descriptor)) is not None:
            return data
        if descriptor.media_type in INDEXES | MANIFESTS:
            found, data = self._open("its manifest").manifest(str(descriptor.digest))
            if found.size != descriptor.size:
                raise BaseImageError(
                    f"the base image {self._base.source} contradicts itself",
                    why=f"{descriptor.digest} has {found.size} bytes, its index says {descriptor.size}",
                    fix="use another base image",
                )
            self._cache.blobs.put(data)
            return data
        mirrored = bool(self._network.access.mirrors)
        fetch_blob(self._open("its config"), descriptor, self._cache, mirrored=mirrored)
        return self._cache.blobs.read(descriptor.digest, descriptor.size)

    def _cached(self, descriptor: Descriptor) -> bytes | None:
        if not self._cache.blobs.claim(descriptor.digest, descriptor.size):
            return None
        try:
            return self._cache.blobs.read(descriptor.digest, descriptor.size)
        except CorruptBlobError:
            self._cache.blobs.discard(descriptor.digest)
        except StoreError:
            if self._cache.blobs.has(descriptor.digest, descriptor.size):
                raise
        return None

    def _open(self, what: str) -> Repository:
        if self._network.access.offline:
            raise OfflineError(
                f"{what} is not in the cache: base image {self._base.source}",
                why="--offline forbids to fetch it",
                fix="build once without --offline",
            )
        return self._network.repository(self._base.source.reference)

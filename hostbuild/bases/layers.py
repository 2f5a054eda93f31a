"""A base's layers, fetched into the cache: each once on this machine, however many processes want it.

The race: two processes need one blob and neither has it. So each is fetched under the lock of its digest,
and looked for again there (`Cache.produce`); who comes second says that it waits, and then has it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from hostbuild.bases.fetching import fetch_blob, refuse_larger_than_disk
from hostbuild.bases.naming import open_place
from hostbuild.bases.network import Network
from hostbuild.bases.values import Base
from hostbuild.crew import Crew
from hostbuild.errors import CorruptBlobError, OfflineError
from hostbuild.model import Event
from hostbuild.oci.descriptor import Descriptor
from hostbuild.plan import key_of
from hostbuild.store.cache import Cache

if TYPE_CHECKING:
    from hostbuild.local import LocalImage
    from hostbuild.registry import Repository

#: Connections that one process opens for one base; more only share the line.
PARALLEL = 3
_PIECE = 1 << 20
_TELL_EVERY = 0.2


def missing_layers(cache: Cache, layers: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    """Those that the cache lacks, each once; the others are claimed.

    Raises StoreError, and CorruptBlobError as `Cache.recorded` does.
    """
    wanted = {each.digest: each for each in layers}
    return tuple(
        each
        for each in wanted.values()
        if cache.recorded(_key(each)) is None and not cache.blobs.claim(each.digest, each.size)
    )


def _key(layer: Descriptor) -> str:
    return key_of("base layer", digest=str(layer.digest))


class BaseLayers:
    """Where a base's layers come from; usable by several threads. A context manager."""

    def __init__(self, base: Base, cache: Cache, network: Network) -> None:
        self._base = base
        self._cache = cache
        self._network = network
        self._opening = threading.Lock()
        self._image: LocalImage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opening:
            if self._image is not None:
                self._image.close()

    @contextmanager
    def fetched(self, layers: Iterable[Descriptor]) -> Iterator[None]:
        """Fetch the layers on threads while the block runs, and wait for them at its end.

        The first error stops the others and is raised at the end of the block; an error of the block
        stops the fetching.
        """
        crew = Crew(PARALLEL, threading.Event(), self._network.close)
        # The largest first: it is what the end waits for.
        wanted = sorted(layers, key=lambda layer: -layer.size)
        with crew.working(partial(self.fetch, layer) for layer in wanted):
            yield

    def open(self, layer: Descriptor, offset: int) -> BinaryIO:
        """A layer's bytes from `offset` on, after it was brought into the cache. Raises as `fetch` does."""
        self.fetch(layer)
        stream = self._cache.blobs.open(layer.digest)
        stream.seek(offset)
        return stream

    def fetch(self, layer: Descriptor) -> bool:
        """Bring one layer into the cache, verified; whether it had to be fetched.

        Raises OfflineError, CorruptBlobError for wrong bytes, StoreError, and the errors of registries.
        """
        if self._cache.blobs.claim(layer.digest, layer.size):
            return False
        key = _key(layer)

        def make() -> dict[str, Any]:
            if not self._cache.blobs.claim(layer.digest, layer.size):
                self._bring(layer)
            return {"digest": str(layer.digest), "size": layer.size}

        short = str(layer.digest)[:19]
        _, made = self._cache.produce(
            key,
            make,
            what=f"fetches the base's layer {short}",
            on_wait=lambda wait: self._network.on_event(Event("waiting", wait.text, data={"pid": wait.pid})),
        )
        return made

    def _bring(self, layer: Descriptor) -> None:
        begun = told = time.monotonic()

        def tell(done: int) -> None:
            nonlocal told
            if (now := time.monotonic()) - told >= _TELL_EVERY:
                told = now
                self._network.on_event(_progress(layer, done))

        if self._base.source.kind == "registry":
            mirrored = bool(self._network.access.mirrors)
            repository = self._open_repository(layer)
            fetch_blob(repository, layer, self._cache, mirrored=mirrored, on_bytes=tell)
        else:
            self._copy(layer)
        seconds = time.monotonic() - begun
        self._network.on_event(
            Event(
                "info",
                f"base layer {str(layer.digest)[:19]} fetched in {seconds:.1f} s",
                data={"step": "base", "digest": str(layer.digest), "size": layer.size},
            )
        )

    def _copy(self, layer: Descriptor) -> None:
        """From a layout or an archive on this machine."""
        refuse_larger_than_disk(layer, self._cache)
        with (
            self._cache.blobs.writer(layer.digest.algorithm, beside=True) as writer,
            self._open_image().open(layer) as stream,
        ):
            while piece := stream.read(_PIECE):
                writer.write(piece)
            if (writer.digest, writer.size) != (layer.digest, layer.size):
                raise CorruptBlobError(
                    f"{self._base.source} is damaged",
                    why=f"the bytes of its layer {layer.digest} have the digest {writer.digest}",
                    fix="make or copy it anew",
                )
            writer.commit(layer.digest, layer.size)

    def _open_repository(self, layer: Descriptor) -> Repository:
        if self._network.access.offline:
            raise OfflineError(
                f"the layer {layer.digest} of the base image {self._base.source} is not in the cache",
                why=f"--offline forbids to fetch its {layer.size} bytes",
                fix="build once without --offline",
            )
        return self._network.repository(self._base.source.reference)

    def _open_image(self) -> LocalImage:
        with self._opening:
            if self._image is None:
                self._image = open_place(self._base.source)
            return self._image


def _progress(layer: Descriptor, done: int) -> Event:
    data = {"step": "base", "done": done, "total": layer.size, "digest": str(layer.digest)}
    return Event("progress", "fetching the base image", data=data)

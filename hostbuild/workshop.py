"""What a language may do while it looks at a project: remember, fetch, and work in a scratch directory.

Everything is kept by the key of its inputs, in the cache that all builds of this machine share; a build
without the cache makes each thing once more, and no more than once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from hostbuild.bases import Base, BasePlatform, Network
from hostbuild.errors import BuildTimeoutError
from hostbuild.languages.base import Finished
from hostbuild.model import Event, Pairs
from hostbuild.oci.digest import Digest
from hostbuild.oci.platform import Platform
from hostbuild.plan import key_of
from hostbuild.store.cache import Cache

if TYPE_CHECKING:
    from typing import BinaryIO

    from hostbuild.wheels.wanted import WheelSource

_PIECE = 1 << 20


class CacheWorkshop:
    """`languages.base.Workshop` on the cache; with `anew` nothing counts that was kept before this one.

    While tools work for the first time, `meanwhile` runs once, on a thread: it may load what comes next.
    After `timeout` seconds a tool that still runs is ended.
    """

    def __init__(
        self,
        cache: Cache,
        network: Network,
        *,
        anew: bool = False,
        meanwhile: Callable[[], None] | None = None,
        timeout: float | None = None,
    ) -> None:
        self._cache = cache
        self._network = network
        self._anew = anew
        self._meanwhile = meanwhile
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._made: dict[str, dict[str, Any]] = {}

    @property
    def offline(self) -> bool:
        """Whether no network may be used."""
        return self._network.access.offline

    def recall(self, kind: str, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """What is kept under these words, or None."""
        key = key_of(kind, **inputs)
        if key not in self._made and not self._anew:
            found = self._cache.recorded(key)
            if found is not None:
                self._made[key] = found
        return self._made.get(key)

    def remember(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        make: Callable[[], dict[str, Any]],
        *,
        anew: bool = False,
    ) -> dict[str, Any]:
        """The JSON object that `inputs` give: kept, else, and with `anew`, made once on this machine."""
        return self._produce(kind, inputs, lambda: {**make(), "layers": []}, anew=anew)

    def keep(self, kind: str, inputs: Mapping[str, Any], make: Callable[[], str]) -> dict[str, Any]:
        """As `remember`, of a file whose path `make` gives: its `name`, `digest` and `size`."""
        return self._produce(kind, inputs, lambda: self._store(make()))

    def _produce(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        make: Callable[[], dict[str, Any]],
        *,
        anew: bool = False,
    ) -> dict[str, Any]:
        found = None if anew else self.recall(kind, inputs)
        if found is not None:
            return found
        key = key_of(kind, **inputs)
        self._made[key], _ = self._cache.produce(
            key,
            make,
            anew=self._anew or anew,
            what=f"finds out {kind}",
            on_wait=lambda wait: self.emit(Event("waiting", wait.text, data={"pid": wait.pid})),
        )
        return self._made[key]

    def _store(self, path: str) -> dict[str, Any]:
        with open(path, "rb") as stream, self._cache.blobs.writer() as writer:
            while piece := stream.read(_PIECE):
                writer.write(piece)
            digest, size = writer.digest, writer.size
            writer.commit(digest, size)
        return {"name": os.path.basename(path), "digest": str(digest), "size": size}

    def fetch(self, sources: Iterable[WheelSource], credentials: Pairs = ()) -> None:
        """Bring files into the cache, verified: see `wheels.fetch.fetch_wheels`, whose errors it raises."""
        from hostbuild.wheels.credentials import Credentials
        from hostbuild.wheels.fetch import fetch_wheels

        network = self._network
        fetch_wheels(
            tuple(sources),
            self._cache,
            network.access,
            network.on_event,
            credentials=Credentials(credentials),
        )

    def path(self, digest: str) -> str:
        """Where a file that was kept or fetched lies."""
        return self._cache.blobs.path(Digest.parse(digest))

    def scratch(self) -> AbstractContextManager[str]:
        """An empty directory, which is removed afterwards; by a later build where this one is killed."""
        return self._cache.scratch()

    def run(self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Finished:
        """Run a tool to its end, marked so that a later build can end it where this one is killed."""
        from hostbuild.process.command import run
        from hostbuild.process.groups import uninterrupted
        from hostbuild.process.liveness import builder_mark, end_marked
        from hostbuild.process.marks import Marks

        if self._meanwhile is not None:
            import threading

            threading.Thread(target=self._meanwhile, name="meanwhile", daemon=True).start()
            self._meanwhile = None
        marks = Marks(owner=cwd, builder=builder_mark())
        try:
            return run(argv, cwd=cwd, env=env, marks=marks, deadline=self._deadline)
        except BaseException as error:
            # What left the tool's session still carries the mark. A tool that failed has ended by itself.
            if not isinstance(error, Exception) or isinstance(error, BuildTimeoutError):
                uninterrupted(lambda: end_marked(marks))
            raise

    def emit(self, event: Event) -> None:
        """Tell people."""
        self._network.on_event(event)


class BaseLook:
    """`languages.base.BaseFiles` of a base image: its documents and layers come when they are asked for."""

    def __init__(self, base: Base, platforms: tuple[Platform, ...], cache: Cache, network: Network) -> None:
        self._base = base
        self._platforms = platforms
        self._cache = cache
        self._network = network
        self._images: dict[Platform, BasePlatform] = {}

    @property
    def label(self) -> str:
        """What people call it."""
        return str(self._base.source)

    @property
    def digest(self) -> str:
        """Of all its platforms together; "" where there is no base."""
        return self._base.digest

    def _image(self, platform: Platform) -> BasePlatform:
        if not self._images:
            from hostbuild.bases.images import open_base

            found = open_base(self._base, self._platforms, self._cache, self._network)
            self._images = {image.serves: image for image in found}
        return self._images[platform]

    def key(self, platform: Platform) -> str:
        """The digest of the platform's manifest."""
        return str(Digest.of(self._image(platform).manifest))

    def path(self, platform: Platform) -> str:
        """PATH of the platform's config."""
        from hostbuild.oci.compose import DEFAULT_PATH

        run = self._image(platform).image().config.config
        found = [text.partition("=")[2] for text in run.env if text.startswith("PATH=")]
        return found[-1] if found else DEFAULT_PATH

    def layers(self, platform: Platform) -> tuple[Callable[[], BinaryIO], ...]:
        """Openers of the layers, lowest first; they are fetched here, on threads."""
        from hostbuild.bases.layers import BaseLayers, missing_layers

        layers = [layer for layer, _ in self._image(platform).layers()]
        missing = missing_layers(self._cache, layers)
        if missing:
            with (
                BaseLayers(self._base, self._cache, self._network) as source,
                source.fetched(missing),
            ):
                pass
        return tuple(_opener(self._cache, layer.digest) for layer in layers)


def _opener(cache: Cache, digest: Digest) -> Callable[[], BinaryIO]:
    return lambda: cache.blobs.open(digest)

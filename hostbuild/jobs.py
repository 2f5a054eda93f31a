"""What runs for one platform, in a worker process: its own layers, then its config and manifest.

Small frozen values in, small frozen values out; blobs stay in the cache, where every process finds them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from hostbuild.bases import NO_BASE, Base, BasePlatform, Network
from hostbuild.bases.layers import BaseLayers, missing_layers
from hostbuild.errors import CorruptBlobError
from hostbuild.languages import get
from hostbuild.languages.base import PlatformJob, Tree
from hostbuild.layer import write_layer
from hostbuild.model import (
    DEFAULT_ACCESS,
    Access,
    Entry,
    Event,
    EventCallback,
    LayerSummary,
    PlatformResult,
)
from hostbuild.oci.compose import ImageSpec, LayerRef, compose_image
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.media_types import translate
from hostbuild.process.executor import WorkerContext
from hostbuild.store.cache import Cache


@dataclass(frozen=True)
class PlatformTask:
    """One platform to build. `spec` lacks only the platform's own layers, whose key is `key`.

    `shared` describes the layers that `spec` has already. `threads` compress; `anew` ignores what the
    cache holds; `tell_entries` asks for an event for each file. `below` is the base's image for this
    platform; its layers are fetched from `base` unless `sparse`.
    """

    language: str
    job: PlatformJob
    key: str
    cache_dir: str
    spec: ImageSpec
    shared: tuple[LayerSummary, ...]
    threads: int = 1
    anew: bool = False
    tell_entries: bool = False
    base: Base = NO_BASE
    below: BasePlatform | None = None
    sparse: bool = False
    access: Access = DEFAULT_ACCESS


def build_platform(task: PlatformTask, context: WorkerContext) -> PlatformResult:
    """Make one platform's image in the cache; the base's layers come while the language works.

    Raises what the language raises, StoreError, SourceChangedError, and the errors of registries.
    """
    cache = Cache(task.cache_dir)
    with _base_fetched(task, cache, context):
        own = platform_layers(task, cache, context)
    layers = (*task.shared, *own)
    spec = replace(task.spec, layers=tuple(layer_ref(layer) for layer in layers))
    image = compose_image(spec, task.below.image() if task.below else None)
    for data in (image.config, image.manifest):
        cache.blobs.put(data)
    platform = image.manifest_descriptor.platform or spec.platform
    return PlatformResult(
        platform=str(spec.platform),
        manifest=str(image.manifest_descriptor.digest),
        manifest_size=image.manifest_descriptor.size,
        config=str(image.config_descriptor.digest),
        config_size=image.config_descriptor.size,
        layers=(*base_summaries(task.below), *layers),
        os_version=platform.os_version,
        os_features=platform.os_features,
    )


@contextmanager
def _base_fetched(task: PlatformTask, cache: Cache, context: WorkerContext) -> Iterator[None]:
    """The base's layers are in the cache at the end of the block, where they are to be."""
    if task.below is None or task.sparse:
        yield
        return
    layers = [descriptor for descriptor, _ in task.below.layers()]
    if task.anew:
        for layer in layers:
            discard_damaged(cache, layer.digest, layer.size)
    with (
        Network(task.access, context.emit) as network,
        BaseLayers(task.base, cache, network) as source,
        source.fetched(missing_layers(cache, layers)),
    ):
        yield


def base_summaries(below: BasePlatform | None) -> tuple[LayerSummary, ...]:
    """The base's layers, lowest first, as results tell of them."""
    if below is None:
        return ()
    return tuple(
        LayerSummary(
            name="base",
            digest=str(descriptor.digest),
            diff_id=str(diff_id),
            size=descriptor.size,
            media_type=translate(descriptor.media_type),
            created_by="",
            key="",
            why="base",
        )
        for descriptor, diff_id in below.layers()
    )


def platform_layers(task: PlatformTask, cache: Cache, context: WorkerContext) -> tuple[LayerSummary, ...]:
    """The platform's own layers: from the cache, else made once on this machine, whoever asks."""
    platform = str(task.job.platform)
    begun = time.monotonic()

    def make() -> dict[str, Any]:
        context.emit(Event("start", f"building with {task.language}", platform, data={"step": task.language}))
        trees = get(task.language).platform_trees(task.job, context)
        notify = context.emit if task.tell_entries else None
        return {
            "layers": [
                write_tree(cache, tree, threads=task.threads, notify=notify, anew=task.anew) for tree in trees
            ]
        }

    value, made = cache.produce(
        task.key,
        make,
        anew=task.anew,
        on_wait=lambda: context.emit(
            Event("waiting", "waiting for another build that makes this layer", platform)
        ),
    )
    layers = summaries(value, name=task.language, key=task.key, why="made" if made else "cached")
    size = sum(layer.size for layer in layers)
    context.emit(layer_event(platform, task.language, size, time.monotonic() - begun, made=made))
    return layers


def layer_event(platform: str, name: str, size: int, seconds: float, *, made: bool) -> Event:
    """The event that says a layer is there; size in bytes."""
    how = f"written in {seconds:.1f} s" if made else "cached"
    data = {"step": name, "size": size, "seconds": round(seconds, 3), "made": made}
    return Event("done", f"{name} layer {how}", platform, data)


def write_tree(
    cache: Cache, tree: Tree, *, threads: int, notify: EventCallback | None = None, anew: bool = False
) -> dict[str, Any]:
    """Write one layer into the cache; its record as the key store keeps it (JSON values)."""

    def tell(entry: Entry) -> None:
        if notify is not None:
            notify(
                Event("entry", f"{tree.name}: /{entry.path}", data={"path": entry.path, "size": entry.size})
            )

    with cache.blobs.writer() as writer:
        written = write_layer(tree.entries, writer.write, threads=threads, on_entry=tell if notify else None)
        if anew:
            discard_damaged(cache, written.digest, written.size)
        writer.commit(written.digest, written.size)
    return {
        "digest": str(written.digest),
        "size": written.size,
        "diffId": str(written.diff_id),
        "mediaType": written.media_type,
        "createdBy": tree.created_by,
    }


def discard_damaged(cache: Cache, digest: Digest, size: int) -> None:
    """Who asks for everything anew has a reason: a blob of the right size may still have other bytes."""
    if cache.blobs.has(digest, size):
        try:
            cache.blobs.verify(digest, size)
        except CorruptBlobError:
            cache.blobs.discard(digest)


def summaries(value: dict[str, Any], *, name: str, key: str, why: str) -> tuple[LayerSummary, ...]:
    """The layers that a record of the key store tells of, in order."""
    return tuple(
        LayerSummary(
            name=name,
            digest=layer["digest"],
            diff_id=layer["diffId"],
            size=layer["size"],
            media_type=layer["mediaType"],
            created_by=layer["createdBy"],
            key=key,
            why=why,
        )
        for layer in value["layers"]
    )


def layer_ref(layer: LayerSummary) -> LayerRef:
    """The layer as composing wants it."""
    descriptor = Descriptor(layer.media_type, Digest.parse(layer.digest), layer.size)
    return LayerRef(descriptor, Digest.parse(layer.diff_id), layer.created_by)

"""What runs for one platform, in a worker process: its own layers, then its config and manifest; and what
the language's shared layers are made by.

Small frozen values in, small frozen values out; blobs stay in the cache, where every process finds them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from hostbuild.bases import NO_BASE, Base, BasePlatform, Network
from hostbuild.bases.layers import BaseLayers, missing_layers
from hostbuild.errors import CorruptBlobError
from hostbuild.languages import get
from hostbuild.languages.base import Finished, PlatformJob, Tree, TreeJob
from hostbuild.layer import GZIP, Compression, write_layer
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
from hostbuild.plan import LayerPlan
from hostbuild.process.executor import WorkerContext
from hostbuild.records import record, replace
from hostbuild.source import is_unchanged
from hostbuild.store.cache import Cache
from hostbuild.store.holders import Holder


@record
class Making:
    """How layers are made: `threads` compress; `anew` ignores what the cache holds; `tell_entries` asks for
    an event for each file. `holder` is told to those who wait for what is made.
    """

    language: str
    cache_dir: str
    threads: int = 1
    anew: bool = False
    tell_entries: bool = False
    holder: Holder | None = None
    compression: Compression = GZIP


@record
class SharedTask:
    """One layer that the language's platforms share, by its key."""

    key: str
    job: TreeJob
    making: Making


@record
class PlatformTask:
    """One platform to build. `spec` lacks only the layers: those in `below`, then the platform's own, which
    the `jobs` make and whose keys are `keys`, then those in `above`.

    `base_image` is the base's image for this platform; its layers are fetched from `base` unless `sparse`.
    """

    platform: str
    jobs: tuple[PlatformJob, ...]
    keys: tuple[str, ...]
    spec: ImageSpec
    making: Making
    below: tuple[LayerSummary, ...] = ()
    above: tuple[LayerSummary, ...] = ()
    base: Base = NO_BASE
    base_image: BasePlatform | None = None
    sparse: bool = False
    access: Access = DEFAULT_ACCESS


class _TreeContext:
    """What a language may do while it makes a tree: `languages.base.Context`."""

    def __init__(self, context: WorkerContext, cache: Cache) -> None:
        self._context = context
        self._cache = cache
        self.emit = context.emit

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        return self._context.run(argv, cwd=cwd, env=env, on_line=on_line)

    def path(self, digest: str) -> str:
        return self._cache.blobs.path(Digest.parse(digest))


def build_platform(task: PlatformTask, context: WorkerContext) -> PlatformResult:
    """Make one platform's image in the cache; the base's layers come while the language works.

    Raises what the language raises, StoreError, SourceChangedError, and the errors of registries.
    """
    with Cache(task.making.cache_dir, holder=task.making.holder) as cache:
        with _base_fetched(task, cache, context):
            own = platform_layers(task, cache, context)
        layers = (*task.below, *own, *task.above)
        spec = replace(task.spec, layers=tuple(layer_ref(layer) for layer in layers))
        image = compose_image(spec, task.base_image.image() if task.base_image else None)
        for data in (image.config, image.manifest):
            cache.blobs.put(data)
    platform = image.manifest_descriptor.platform or spec.platform
    return PlatformResult(
        platform=str(spec.platform),
        manifest=str(image.manifest_descriptor.digest),
        manifest_size=image.manifest_descriptor.size,
        config=str(image.config_descriptor.digest),
        config_size=image.config_descriptor.size,
        layers=(*base_summaries(task.base_image), *layers),
        os_version=platform.os_version,
        os_features=platform.os_features,
    )


@contextmanager
def _base_fetched(task: PlatformTask, cache: Cache, context: WorkerContext) -> Iterator[None]:
    """The base's layers are in the cache at the end of the block, where they are to be."""
    if task.base_image is None or task.sparse:
        yield
        return
    layers = [descriptor for descriptor, _ in task.base_image.layers()]
    if task.making.anew:
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


def build_shared(task: SharedTask, context: WorkerContext) -> tuple[LayerSummary, ...]:
    """Make one of the layers that the language's platforms share; none where nothing is in it.

    Raises what the language raises, and StoreError.
    """
    with Cache(task.making.cache_dir, holder=task.making.holder) as cache:
        language = get(task.making.language)
        make_tree = partial(language.shared_tree, task.job, _TreeContext(context, cache))
        plan = LayerPlan(task.job.tree, task.key)
        return _language_layer(plan, task.job, make_tree, making=task.making, cache=cache, context=context)


def platform_layers(task: PlatformTask, cache: Cache, context: WorkerContext) -> tuple[LayerSummary, ...]:
    """The platform's own layers, lowest first: from the cache, else made once on this machine."""
    language = get(task.making.language)
    tree_context = _TreeContext(context, cache)
    found: list[LayerSummary] = []
    for key, job in zip(task.keys, task.jobs, strict=True):
        make_tree = partial(language.platform_tree, job, tree_context)
        plan = LayerPlan(job.tree, key, task.platform)
        found += _language_layer(plan, job, make_tree, making=task.making, cache=cache, context=context)
    return tuple(found)


class _UnsettledError(Exception):
    """The source changed while a tool read it: `value` is nothing to be recorded under the key."""

    def __init__(self, value: dict[str, Any]) -> None:
        super().__init__("the source changed")
        self.value = value


def _language_layer(
    plan: LayerPlan,
    job: TreeJob,
    make_tree: Callable[[], Tree],
    *,
    making: Making,
    cache: Cache,
    context: WorkerContext,
) -> tuple[LayerSummary, ...]:
    name, key, platform = plan
    begun = time.monotonic()

    def make() -> dict[str, Any]:
        brief = name != making.language  # no tool works for it, only this process
        what = f"writing the layer {name}" if brief else f"building with {name}"
        context.emit(Event("start", what, platform, data={"step": name, "brief": brief}))
        tree = make_tree()
        notify = context.emit if making.tell_entries else None
        trees = [tree] if tree.entries else []
        value = {"layers": [write_tree(cache, each, making, notify) for each in trees]}
        if job.looked_at and not is_unchanged(job.root, job.inputs, job.looked_at):
            raise _UnsettledError(value)  # the build looks once more at its end
        return value

    try:
        value, made = cache.produce(
            key,
            make,
            anew=making.anew,
            what=f"makes the layer {name}",
            on_wait=lambda wait: context.emit(Event("waiting", wait.text, platform, {"pid": wait.pid})),
        )
    except _UnsettledError as unsettled:
        value, made = unsettled.value, True
    layers = summaries(value, name=name, key=key, why="made" if made else "cached")
    if layers:
        size = sum(layer.size for layer in layers)
        context.emit(layer_event(platform, name, size, time.monotonic() - begun, made=made))
    return layers


def layer_event(platform: str, name: str, size: int, seconds: float, *, made: bool) -> Event:
    """The event that says a layer is there; size in bytes."""
    how = f"written in {seconds:.1f} s" if made else "cached"
    data = {"step": name, "size": size, "seconds": round(seconds, 3), "made": made}
    return Event("done", f"{name} layer {how}", platform, data)


def write_tree(
    cache: Cache, tree: Tree, making: Making, notify: EventCallback | None = None
) -> dict[str, Any]:
    """Write one layer into the cache; its record as the key store keeps it (JSON values)."""

    def tell(entry: Entry) -> None:
        if notify is not None:
            notify(
                Event("entry", f"{tree.name}: /{entry.path}", data={"path": entry.path, "size": entry.size})
            )

    with cache.blobs.writer() as writer:
        written = write_layer(
            tree.entries,
            writer.write,
            compression=making.compression,
            threads=making.threads,
            on_entry=tell if notify else None,
            digest=lambda: writer.digest,
        )
        if making.anew:
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

"""Steps 4 and 5: the shared layers, then each platform's image, in worker processes where there is work."""

from __future__ import annotations

import os
import re
import time
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from hostbuild.bases import BasePlatform, Network
from hostbuild.bases.layers import missing_layers
from hostbuild.errors import BuildTimeoutError, UsageError
from hostbuild.jobs import Making, PlatformTask, SharedTask, layer_event, summaries, write_tree
from hostbuild.languages.base import PlatformJob, Tree, TreeJob, TreePlan
from hostbuild.layer import compression_of
from hostbuild.model import Event, EventCallback, LayerSummary, Pairs, PlatformResult
from hostbuild.oci.annotations import Annotations
from hostbuild.oci.compose import DEFAULT_PATH, ImageSpec, check_spec, compose_index
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.layout import layout_index
from hostbuild.oci.media_types import OCI_MANIFEST
from hostbuild.oci.platform import Platform
from hostbuild.process.executor import Executor, InlineExecutor, Task
from hostbuild.process.marks import Marks
from hostbuild.process.supervisor import LocalExecutor
from hostbuild.project import BuildSubject, working_dir
from hostbuild.records import replace
from hostbuild.shipping import HOME, SharedLayer
from hostbuild.store.cache import Cache
from hostbuild.store.holders import Holder
from hostbuild.store.staging import Staging


class Below(NamedTuple):
    """What the platforms' images stand on, in their order; `sparse`: its layers stay where they are."""

    images: tuple[BasePlatform | None, ...]
    sparse: bool = False

    def lacks(self, base: BasePlatform | None, cache: Cache) -> bool:
        """Whether layers of `base` must be fetched."""
        return bool(base and not self.sparse and missing_layers(cache, (layer for layer, _ in base.layers())))


def look_below(subject: BuildSubject, cache: Cache, network: Network) -> Below:
    """The base's image for each platform; sparse where a push needs none of its bytes (`may_stay_sparse`).

    Raises BaseImageError, OfflineError, and the errors of registries.
    """
    if subject.base.is_scratch:
        return Below((None,) * len(subject.platforms))
    from hostbuild.bases.images import open_base

    images = open_base(subject.base, subject.platforms, cache, network)
    layers = [layer for image in images for layer, _ in image.layers()]
    return Below(images, sparse=subject.may_stay_sparse and bool(missing_layers(cache, layers)))


def make_images(
    subject: BuildSubject,
    below: Below,
    cache: Cache,
    staging: Staging,
    *,
    network: Network,
    tell: EventCallback,
) -> tuple[PlatformResult, ...]:
    """All platforms' images, in the order asked for; their blobs are in the cache then.

    `below` tells what they stand on. The workers are started first, so that they are ready when the
    shared layers are written.
    """
    request = subject.request
    _check(subject, below)
    deadline = None if request.timeout is None else time.monotonic() + request.timeout
    marks = Marks(build_id=subject.plan.build_id, owner=staging.path)
    to_make = [
        plans
        for plans, base in zip(subject.plan.own, below.images, strict=True)
        if request.no_cache
        or any(cache.recorded(plan.key) is None for plan in plans)
        or below.lacks(base, cache)
    ]
    inline = not to_make or (subject.inspection.is_light and request.jobs is None)
    with _executor(subject, marks, 0 if inline else len(to_make)) as executor:
        _fetch_needs(subject, cache, network, tell)
        shared = tuple(
            layer for each in subject.shared for layer in _shared_layer(each, subject, cache, tell, deadline)
        )
        common = _language_layers(subject, staging, marks, tell, _remaining(deadline))
        making = _making(subject, threads=processors() if inline else 1)
        tasks = _tasks(subject, below, staging, making, shared=shared, common=common)
        return tuple(executor.run(tasks, tell, timeout=_remaining(deadline)))


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _fetch_needs(subject: BuildSubject, cache: Cache, network: Network, tell: EventCallback) -> None:
    """Bring what the language's trees are made of into the cache: all of it at once, on a few connections."""
    inspection, anew = subject.inspection, subject.request.no_cache
    trees = [*inspection.shared, *(tree for trees in inspection.own for tree in trees)]
    plans = [*subject.plan.language, *(plan for plans in subject.plan.own for plan in plans)]
    needs = {
        (source.digest or source.location): source
        for tree, plan in zip(trees, plans, strict=True)
        if anew or cache.recorded(plan.key) is None
        for source in tree.needs
    }
    if needs:
        from hostbuild.wheels.credentials import Credentials
        from hostbuild.wheels.fetch import fetch_wheels

        credentials = Credentials(inspection.credentials())
        fetch_wheels(tuple(needs.values()), cache, network.access, tell, credentials=credentials)


def _language_layers(
    subject: BuildSubject, staging: Staging, marks: Marks, tell: EventCallback, timeout: float | None
) -> tuple[LayerSummary, ...]:
    """The layers that the language shares between its platforms, lowest first."""
    inspection = subject.inspection
    tasks = [
        Task(
            tree.name,
            "hostbuild.jobs:build_shared",
            SharedTask(
                plan.key,
                _job(tree, subject, staging),
                _making(subject, threads=processors()),
            ),
        )
        for tree, plan in zip(inspection.shared, subject.plan.language, strict=True)
    ]
    found = InlineExecutor(marks).run(tasks, lambda event: tell(replace(event, platform="")), timeout=timeout)
    return tuple(layer for layers in found for layer in layers)


def _job(tree: TreePlan, subject: BuildSubject, staging: Staging) -> TreeJob:
    looked_at = subject.inspection.looked_at
    return TreeJob(
        tree=tree.name,
        root=subject.root,
        work=staging.work,
        recipe=tree.recipe,
        tools=subject.inspection.tools,
        environment=subject.inspection.environment,
        parallelism=processors(),
        inputs=subject.inspection.inputs if looked_at else (),
        looked_at=looked_at,
    )


def _making(subject: BuildSubject, *, threads: int) -> Making:
    request = subject.request
    return Making(
        subject.inspection.language,
        request.cache_dir,
        threads=threads,
        anew=request.no_cache,
        tell_entries=request.log_entries,
        holder=Holder(os.getpid(), subject.root),
        compression=compression_of(request.compression, request.compression_level),
    )


def _check(subject: BuildSubject, below: Below) -> None:
    """Refuse what could not be composed at the end, before anything is made."""
    user = subject.request.user
    if user and subject.base.is_scratch and not re.fullmatch(r"[0-9]+(:[0-9]+)?", user):
        raise UsageError(
            f"--user {user!r} is not UID or UID:GID",
            why="an image without a base has no /etc/passwd to look a name up in",
            fix="write the number, as in --user 0",
        )
    for platform, base in zip(subject.platforms, below.images, strict=True):
        check_spec(_spec(subject, platform, base), base.image() if base else None)


def processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _executor(subject: BuildSubject, marks: Marks, to_make: int) -> AbstractContextManager[Executor]:
    if not to_make:
        return nullcontext(InlineExecutor(marks))
    jobs = subject.request.jobs or min(len(subject.platforms), processors())
    executor = LocalExecutor(
        jobs=jobs, environment=subject.request.environment, marks=marks, preload=("hostbuild.jobs",)
    )
    executor.start(to_make)
    return executor


def _shared_layer(
    shared: SharedLayer, subject: BuildSubject, cache: Cache, tell: EventCallback, deadline: float | None
) -> tuple[LayerSummary, ...]:
    tree = Tree(shared.plan.name, shared.entries, shared.created_by)
    notify = tell if subject.request.log_entries else None

    def tell_entry(event: Event) -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise BuildTimeoutError(
                "the build took too long and was stopped",
                why=f"it was writing the layer {shared.plan.name}",
                fix="allow more time with --timeout",
            )
        if notify is not None:
            notify(event)

    begun = time.monotonic()
    value, made = cache.produce(
        shared.plan.key,
        lambda: {
            "layers": [write_tree(cache, tree, _making(subject, threads=processors()), tell_entry)],
        },
        anew=subject.request.no_cache,
        what=f"writes the layer {shared.plan.name}",
        on_wait=lambda wait: tell(Event("waiting", wait.text, data={"pid": wait.pid})),
        timeout=_remaining(deadline),
    )
    layers = summaries(value, name=shared.plan.name, key=shared.plan.key, why="made" if made else "cached")
    size = sum(layer.size for layer in layers)
    tell(layer_event("", shared.plan.name, size, time.monotonic() - begun, made=made))
    return layers


def _tasks(
    subject: BuildSubject,
    below: Below,
    staging: Staging,
    making: Making,
    *,
    shared: tuple[LayerSummary, ...],
    common: tuple[LayerSummary, ...],
) -> list[Task]:
    """One for each platform, in the order asked for; `common` are the language's layers."""
    inspection = subject.inspection
    on_top = inspection.source_on_top
    tasks = []
    for platform, trees, plans, base in zip(
        subject.platforms, inspection.own, subject.plan.own, below.images, strict=True
    ):
        jobs = tuple(PlatformJob(**vars(_job(tree, subject, staging)), platform=platform) for tree in trees)
        task = PlatformTask(
            platform=str(platform),
            jobs=jobs,
            keys=tuple(plan.key for plan in plans),
            spec=_spec(subject, platform, base),
            making=making,
            below=common if on_top else (*shared, *common),
            above=shared if on_top else (),
            base=subject.base,
            base_image=base,
            sparse=below.sparse,
            access=subject.request.access,
        )
        tasks.append(Task(str(platform), "hostbuild.jobs:build_platform", task))
    return tasks


def compose_top(
    subject: BuildSubject, images: tuple[PlatformResult, ...], cache: Cache
) -> tuple[Descriptor, bytes]:
    """The image index, put into the cache: its descriptor, and the bytes of the index.json that names it."""
    children = (_manifest_descriptor(image, subject.annotations) for image in images)
    data, descriptor = compose_index(children, subject.annotations.index)
    cache.blobs.put(data)
    named = replace(descriptor, annotations=dict(subject.annotations.index_descriptor))
    return descriptor, layout_index(named, subject.references[0]).encode()


def _manifest_descriptor(image: PlatformResult, annotations: Annotations) -> Descriptor:
    """What the index says of a platform's manifest."""
    platform = replace(
        Platform.parse(image.platform), os_version=image.os_version, os_features=image.os_features
    )
    return Descriptor(
        OCI_MANIFEST,
        Digest.parse(image.manifest),
        image.manifest_size,
        annotations=dict(annotations.for_descriptor(platform)),
        platform=platform,
    )


def _spec(subject: BuildSubject, platform: Platform, base: BasePlatform | None) -> ImageSpec:
    """What the image's config says, less its layers."""
    request, inspection = subject.request, subject.inspection
    joined = _search_paths(subject, base)
    return ImageSpec(
        platform=platform,
        created=subject.created,
        layers=(),
        env=(*_home(subject, base), *subject.env, *joined),
        user_env=tuple(pair for pair in request.env if pair[0] not in dict(joined)),
        entrypoint=request.entrypoint if request.entrypoint is not None else inspection.entrypoint or None,
        cmd=request.cmd if request.cmd is not None else inspection.cmd or None,
        user=request.user,
        force_user=bool(request.user),
        ports=request.ports or ("8080/tcp",),
        working_dir=working_dir(request, inspection, subject.base),
        volumes=request.volumes,
        labels=(*subject.labels, *request.labels),
        annotations=subject.annotations.for_platform(platform),
    )


def _home(subject: BuildSubject, base: BasePlatform | None) -> Pairs:
    """Our user is in no /etc/passwd, so that its home would be /, where it may not write."""
    run = base.image().config.config if base else None
    has_own = run and (run.user or any(text.startswith("HOME=") for text in run.env))
    if has_own or subject.request.user or not subject.inspection.needs_home:
        return ()
    return (("HOME", f"/{HOME}"),)


def _search_paths(subject: BuildSubject, base: BasePlatform | None) -> Pairs:
    """The variables that hold lists: what the user says, what the language says, what the base has."""
    inspection = subject.inspection
    if not inspection.search_paths:
        return ()
    below = {"PATH": DEFAULT_PATH}
    if base is not None:
        texts = (text.partition("=") for text in base.image().config.config.env)
        below |= {name: value for name, _, value in texts}
    user = dict(subject.request.env)
    return tuple(
        (name, ":".join(part for part in (user.get(name), ours, below.get(name)) if part))
        for name, ours in inspection.search_paths
    )

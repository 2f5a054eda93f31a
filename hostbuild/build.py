"""The story of a build, from a request to a published image.

1. Read the request, look at the source, pick the language, resolve the base   (`project`, `observer`)
2. Compute the build ID. A complete build has it: "up to date", and no worker is started.
3. Take the lock of that build ID; clean what dead builders left.
4. Write the shared layers, each once.                                         (`images`)
5. Worker processes make the platforms in parallel.                            (`images`, `jobs`)
6. Compose the index, publish the complete layout by rename, swap `last`.
7. Write the outputs from the result.                                          (`outputs`)
8. Remove complete builds beyond the newest few.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, BinaryIO

from hostbuild.bases import Network
from hostbuild.errors import CorruptBlobError, SourceChangedError, UsageError
from hostbuild.healing import drop_damaged, healing
from hostbuild.model import BuildRequest, BuildResult, Event, EventCallback, PlatformResult, ignore_event
from hostbuild.observer import Observer
from hostbuild.oci.digest import Digest
from hostbuild.project import BuildSubject
from hostbuild.record import read_record, result_of
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from hostbuild.store.seals import open_seal

if TYPE_CHECKING:
    from hostbuild.explaining import Explanation
    from hostbuild.store.staging import Staging


def build(
    request: BuildRequest, on_event: EventCallback = ignore_event, *, stdout: BinaryIO | None = None
) -> BuildResult:
    """Build what `request` asks for; `on_event` is called with what happens, by one thread at a time.

    `stdout` takes the tar of an output whose destination is "-".

    Raises HostbuildError in one of its kinds. Whatever is raised, no process and nothing half-made is
    left behind, and `last` names what it named before.
    """
    with Cache(request.cache_dir) as cache, Network(request.access, on_event) as network:
        observer, subject = healing(cache, on_event, lambda: study(request, cache, network))
        builds = BuildDir(_build_directory(request, subject.root), open_seal(cache.root))
        if request.outputs:
            from hostbuild.outputs import check_destinations

            check_destinations(request.outputs, private=(cache.root, builds.places.root))
        result = find_complete(subject, builds) or find_sparse(subject, builds)
        if result is None:
            result = make_complete(subject, builds, cache, observer, network)
        if result.status == "up-to-date":
            for warning in subject.warnings:
                on_event(Event("warning", warning))
            on_event(Event("info", f"{subject.references[0].familiar} is up to date"))
            if builds.has_leftovers():
                from hostbuild.housekeeping import clean_after_the_dead

                clean_after_the_dead(builds, request.keep_builds, on_event)
        if request.outputs:
            try:
                hand_out(result, subject, builds, cache, network, stdout=stdout)
            except CorruptBlobError as error:
                drop_damaged(cache, error, on_event, blobs_in(result))
                result = make_complete(subject, builds, cache, observer, network, anew=True)
                if any(output.destination == "-" for output in request.outputs):
                    raise  # a stream cannot be taken back; the next run hands out what is good now
                hand_out(result, subject, builds, cache, network, stdout=stdout)
    return result


def blobs_in(result: BuildResult) -> list[tuple[Digest, int]]:
    """All blobs of the image, with their sizes in bytes."""
    from hostbuild.outputs import blobs_of

    return list(blobs_of(result.platforms, result.index_digest, result.index_size))


def study(request: BuildRequest, cache: Cache, network: Network) -> tuple[Observer, BuildSubject]:
    """Steps 1 and 2: who looks at the project, and what it saw."""
    observer = Observer(request, cache, network, meanwhile=load_ahead)
    return observer, observer.study()


def load_ahead() -> None:
    """Load what a build that has something to do needs; `Observer` calls it while a tool works."""
    import hostbuild.http.session
    import hostbuild.images
    import hostbuild.wheels.fetch
    import hostbuild.wheels.install

    del hostbuild


def explain(request: BuildRequest, on_event: EventCallback = ignore_event) -> Explanation:
    """What `build` would make of `request`, and why; nothing is made. Raises what `build` raises early."""
    from hostbuild.explaining import explain_subject

    with Cache(request.cache_dir) as cache:
        with Network(request.access, on_event) as network:
            subject = Observer(request, cache, network, writes=False).study()
        builds = BuildDir(_build_directory(request, subject.root), open_seal(cache.root))
        complete = not request.no_cache and builds.find(subject.plan.build_id) is not None
        found = complete or find_sparse(subject, builds) is not None
        return explain_subject(subject, builds, cache, up_to_date=found)


def hand_out(
    result: BuildResult,
    subject: BuildSubject,
    builds: BuildDir,
    cache: Cache,
    network: Network,
    *,
    stdout: BinaryIO | None,
) -> None:
    """Step 7: the files that were asked for, then the registries, so that a push comes last."""
    from hostbuild.outputs import write_outputs
    from hostbuild.pushing import push_result

    with builds.pin(result.build_id) or nullcontext():  # a cleaner must not take it away meanwhile
        write_outputs(result, subject, network.on_event, stdout=stdout)
        push_result(result, subject, cache, network)


def _build_directory(request: BuildRequest, root: str) -> str:
    if not request.build_dir:
        return os.path.join(root, ".func")
    directory = os.path.realpath(request.build_dir)
    if os.path.commonpath((directory, root)) == directory:
        raise UsageError(
            f"--build-dir {request.build_dir!r} is the source or a directory above it",
            why="git and builds ignore all that lies in a build directory",
            fix="name a directory of its own",
        )
    return directory


def find_complete(subject: BuildSubject, builds: BuildDir) -> BuildResult | None:
    """The complete build of this very subject, which `last` then names; None where there is none."""
    build_id = subject.plan.build_id
    directory = None if subject.request.no_cache else builds.find(build_id)
    if directory is None:
        return None
    builds.touch_last(build_id)
    return result_of(directory, read_record(directory), subject, "up-to-date")


def find_sparse(subject: BuildSubject, builds: BuildDir) -> BuildResult | None:
    """The same build without the base's layers, where that is enough; `last` stays on a complete one."""
    if subject.request.no_cache or not subject.may_stay_sparse:
        return None
    directory = builds.find(subject.sparse_id, sparse=True)
    if directory is None:
        return None
    builds.touch(subject.sparse_id)
    return result_of(directory, read_record(directory), subject, "up-to-date")


def make_complete(
    subject: BuildSubject,
    builds: BuildDir,
    cache: Cache,
    observer: Observer,
    network: Network,
    *,
    anew: bool = False,
) -> BuildResult:
    """Make the build, or wait for whoever makes it and take that; `anew`: replace what is there.

    Raises BuildInProgressError and others.
    """
    # Imported here: a build with nothing to do must end before these would be loaded.
    from hostbuild.housekeeping import (
        builder_record,
        clean_builds,
        drop_leftovers,
        keep_within_budget,
        orphans_ended,
        waiting_event,
    )
    from hostbuild.images import look_below, make_images
    from hostbuild.record import reason_for

    request, started = subject.request, time.time()
    on_event = network.on_event
    cache.claims.begin()  # before the workers', so that what they find or make stays when they end
    below = look_below(subject, cache, network)
    if subject.push_targets:
        from hostbuild.pushing import check_targets

        check_targets(subject, network)
    build_id = subject.sparse_id if below.sparse else subject.plan.build_id
    with builds.begin(
        build_id,
        builder_record(subject.root, subject.platforms),
        wait=_patience(request),
        on_wait=lambda owner: on_event(waiting_event(owner)),
    ) as staging:
        # Who was waited for made it.
        if not anew and (result := find_complete(subject, builds) or find_sparse(subject, builds)):
            return result
        with log_beside(builds, build_id, on_event) as tell, orphans_ended(tell):
            for warning in subject.warnings:
                tell(Event("warning", warning))
            reason = "--no-cache" if request.no_cache else reason_for(subject, builds.last)
            tell(
                Event("info", f"building {subject.references[0].familiar}: {reason}", data={"step": "build"})
            )
            tell(Event("info", subject.inspection.summary))
            if not subject.base.is_scratch:
                tell(Event("info", _about_base(subject, sparse=below.sparse)))

            def make() -> tuple[tuple[PlatformResult, ...], str]:
                staging.start_over()
                try:
                    images = make_images(subject, below, cache, staging, network=network, tell=tell)
                except SourceChangedError:
                    observer.forget()
                    raise
                finally:
                    drop_leftovers(cache, tell)
                observer.refuse_changes(subject)
                return images, publish(subject, images, cache, staging, started)

            images, directory = healing(cache, tell, make)
            seconds = time.time() - started
            tell(Event("info", f"built {_count(images)} in {seconds:.1f} s, build {build_id[:12]}"))
            clean_builds(builds, request.keep_builds, tell)
            keep_within_budget(cache, request, tell)
    return result_of(directory, read_record(directory), subject, "built")


def _patience(request: BuildRequest) -> float | None:
    """Seconds to wait for another builder: what --timeout allows for all is the most."""
    if not request.wait:
        return 0
    bounds = [seconds for seconds in (request.wait_timeout, request.timeout) if seconds is not None]
    return min(bounds, default=None)


def _about_base(subject: BuildSubject, *, sparse: bool) -> str:
    base = subject.base
    stays = ", whose layers stay where they are" if sparse else ""
    how = f", {base.how}" if base.how else ""
    return f"on {base.source} ({base.digest[:19]}{how}){stays}"


def _count(images: tuple[PlatformResult, ...]) -> str:
    return images[0].platform if len(images) == 1 else f"{len(images)} platforms"


@contextmanager
def log_beside(builds: BuildDir, build_id: str, on_event: EventCallback) -> Iterator[EventCallback]:
    """Gives the callback that tells `on_event` and writes the log; an error that ends the build is logged."""
    from hostbuild.process.log import BuildLog
    from hostbuild.redact import redact

    log = BuildLog(
        builds.log,
        build_id=build_id,
        redact=redact,
        on_problem=lambda problem: on_event(Event("warning", problem)),
    )

    def tell(event: Event) -> None:
        log.write(event)
        on_event(event)

    try:
        yield tell
    except BaseException as error:
        log.line("ERROR", f"{type(error).__name__}: {error}", platform=getattr(error, "platform", ""))
        raise
    finally:
        log.close()


def publish(
    subject: BuildSubject,
    images: tuple[PlatformResult, ...],
    cache: Cache,
    staging: Staging,
    started: float,
) -> str:
    """Compose the index, put the layout and build.json in place, swap `last`; the build's directory.

    A sparse layout lacks the base's layers, and `last` does not name it.
    """
    from hostbuild.images import compose_top
    from hostbuild.outputs import blobs_of
    from hostbuild.record import describe, write_inputs
    from hostbuild.store.layout import write_layout

    index, top = compose_top(subject, images, cache)
    blobs = blobs_of(images, str(index.digest), index.size)
    sparse = staging.build_id == subject.sparse_id
    below = {Digest.parse(layer.digest) for image in images for layer in image.layers if layer.why == "base"}
    absent = below if sparse else frozenset()
    write_layout(os.path.join(staging.build, "oci"), cache.blobs, top, blobs, absent=absent)
    write_inputs(staging.build, subject)
    staging.write_record(describe(subject, images, index, started, time.time()), blobs, absent)
    directory = staging.publish()
    if not sparse:
        staging.set_last()
    return directory

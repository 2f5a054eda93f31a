"""What dead builders left (processes and directories), and old builds: found, judged by identity, removed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hostbuild.errors import HostbuildError, InvalidDocumentError
from hostbuild.model import BuildRequest, Event, EventCallback
from hostbuild.process.liveness import Identity, Marked, end_orphans, state_of
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from hostbuild.store.locks import is_held
from hostbuild.store.report import CleanReport, Removal

if TYPE_CHECKING:
    from hostbuild.store.pruning import Goals

#: Bytes that the cache may use: some ten large Python images with all they stand on (wheels of a GPU stack
#: are 3 GB), and no more than a laptop's disk can spare.
DEFAULT_MAX_USED = 20 << 30
#: Bytes of its disk that are to stay free, and at most which share of a small disk: below it the next build
#: would fail half-way.
DEFAULT_MIN_FREE = 1 << 30
_SHARE = 20
#: Seconds that a build waits at its end for the search for orphans.
_ORPHANS_WAIT = 10.0


def builder_record(root: str, platforms: Iterable[object] = ()) -> dict[str, Any]:
    """Who makes a build, for the record beside its lock: this process, since when, of what, for what."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    names = [str(platform) for platform in platforms]
    return {**Identity.current().to_json(), "since": since, "source": root, "platforms": names}


def waiting_event(owner: Mapping[str, Any] | None) -> Event:
    """The line that says for whom a build waits."""
    pid = (owner or {}).get("pid")
    whom = f"process {pid}, which makes this build" if pid else "another process, which holds the lock"
    return Event("waiting", f"waiting for {whom}", data={"pid": pid})


def ran_here(record: Mapping[str, Any]) -> bool | None:
    """Whether the builder of this record ran where its locks are seen: True, or None where nobody knows.

    The kernel's locks are shared by all pid namespaces of one boot; after a reboot none is left. A
    record of another machine (a shared file system) is not judged.
    """
    try:
        identity = Identity.from_json(record)
    except InvalidDocumentError:
        return None
    if identity.boot_id == Identity.current().boot_id or state_of(identity) == "dead":
        return True
    return None


def clean_after_the_dead(builds: BuildDir, keep: int, tell: EventCallback) -> None:
    """What a build does that makes something, for one that has nothing to do; a fault here is a warning."""
    with orphans_ended(tell):
        clean_builds(builds, keep, tell)


def clean_builds(builds: BuildDir, keep: int, tell: EventCallback) -> CleanReport:
    """Remove what dead builders left and complete builds beyond the newest; a fault here is a warning."""
    try:
        return builds.clean(ran_here, keep=keep)
    except HostbuildError as error:
        tell(Event("warning", f"old builds were not cleaned: {error}"))
        return CleanReport()


def clean_cache(cache: Cache, *, dry_run: bool = False) -> tuple[Removal, ...]:
    """Remove temp files and claims that processes who died left in the cache. Raises StoreError."""
    from hostbuild.store.claims import remove_dead_claims

    dead = remove_dead_claims(cache.claims.directory, dry_run=dry_run)
    return (*cache.clean_temp(_writes, dry_run=dry_run), *dead)


def drop_leftovers(cache: Cache, tell: EventCallback) -> None:
    """What workers that were stopped had begun to write goes; a fault here is a warning."""
    try:
        clean_cache(cache)
    except HostbuildError as error:
        tell(Event("warning", f"the cache was not cleaned: {error}"))


def keep_within_budget(cache: Cache, request: BuildRequest, tell: EventCallback) -> None:
    """Prune the cache by its budget where that is due; what went is told, and a fault is a warning."""
    from hostbuild.store.pruning import prune_if_due

    goals = goals_of(request.cache_max_used_space, request.cache_min_free_space, cache.root)
    try:
        report = prune_if_due(cache, goals)
    except (HostbuildError, OSError) as error:
        tell(Event("warning", f"the cache was not pruned: {error}"))
        return
    blobs = [each for each in report.removed if each.kind == "blob"] if report else []
    if report and blobs:
        count = "1 blob" if len(blobs) == 1 else f"{len(blobs)} blobs"
        tell(
            Event(
                "info",
                f"the cache was pruned: {count} not used for longest, {report.size} bytes",
                data={"step": "prune", "blobs": len(blobs), "size": report.size, "freed": report.freed},
            )
        )


def goals_of(max_used: int | None, min_free: int | None, directory: str) -> Goals:
    """The budget of the cache in `directory`; None means the default, 0 no bound."""
    from hostbuild.store.inventory import disk_size
    from hostbuild.store.pruning import Goals

    if min_free is None:
        min_free = min(DEFAULT_MIN_FREE, disk_size(directory) // _SHARE)
    return Goals(DEFAULT_MAX_USED if max_used is None else max_used, min_free)


def _writes(owner: str) -> bool | None:
    """Whether the process of this token, a pid, may still write; its lock is what counts."""
    return state_of(Identity.of(int(owner))) == "alive" if owner.isdigit() else None


def is_free(owner: str) -> bool:
    """Whether the builder that staged in the directory `owner` is dead: nobody holds its lock."""
    return not is_held(os.path.join(owner, "owner.lock"))


@contextmanager
def orphans_ended(tell: EventCallback) -> Iterator[None]:
    """End the tools of dead builders while the block runs: on a thread, for looking takes a while."""
    found: list[Marked] = []
    faults: list[Exception] = []

    def work() -> None:
        try:
            found.extend(end_orphans(is_free))
        except (HostbuildError, OSError) as error:
            faults.append(error)

    thread = threading.Thread(target=work, name="orphans", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(_ORPHANS_WAIT)
        for orphan in found:
            tell(orphan_event(orphan))
        for fault in faults:
            tell(Event("warning", f"tools of dead builds were not looked for: {fault}"))


def orphan_event(orphan: Marked) -> Event:
    """The line that tells of an ended orphan."""
    pid = orphan.identity.pid
    return Event(
        "info", f"ended {orphan.command} (pid {pid}), left by a killed build in {orphan.marks.owner}"
    )

"""What dead builders left (processes and directories), and old builds: found, judged by identity, removed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hostbuild.errors import HostbuildError, InvalidDocumentError
from hostbuild.model import Event, EventCallback
from hostbuild.process.liveness import Identity, Marked, end_orphans, state_of
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from hostbuild.store.locks import is_held
from hostbuild.store.report import CleanReport, Removal

#: Seconds that a build waits at its end for the search for orphans.
_ORPHANS_WAIT = 10.0


def builder_record(root: str) -> dict[str, Any]:
    """Who makes a build, for the record beside its lock: this process, since when, and of what."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {**Identity.current().to_json(), "since": since, "source": root}


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


def clean_builds(builds: BuildDir, keep: int, tell: EventCallback) -> CleanReport:
    """Remove what dead builders left and complete builds beyond the newest; a fault here is a warning."""
    try:
        return builds.clean(ran_here, keep=keep)
    except HostbuildError as error:
        tell(Event("warning", f"old builds were not cleaned: {error}"))
        return CleanReport()


def clean_cache(cache: Cache, *, dry_run: bool = False) -> tuple[Removal, ...]:
    """Remove temp files that writers who died left in the cache. Raises StoreError."""
    return cache.clean_temp(_writes, dry_run=dry_run)


def drop_leftovers(cache: Cache, tell: EventCallback) -> None:
    """What workers that were stopped had begun to write goes; a fault here is a warning."""
    try:
        clean_cache(cache)
    except HostbuildError as error:
        tell(Event("warning", f"the cache was not cleaned: {error}"))


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

"""Status and cleaning of a build directory: tells the living from the dead by their locks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hostbuild.points import reach
from hostbuild.store.failures import Explaining
from hostbuild.store.last import named_build, settle
from hostbuild.store.locks import is_held, lock_descriptor, remove_file
from hostbuild.store.places import BUILD_ID, UNNAMED_STAGED, Places, list_names, read_json
from hostbuild.store.record import is_foreign, why_incomplete
from hostbuild.store.report import CleanReport, Removal
from hostbuild.store.staging import pid_link_is_live
from hostbuild.store.trees import remove_tree, tree_size

State = Literal["running", "stale", "complete", "sparse", "damaged"]
#: A build that was published or used less than this many seconds ago is kept: its reader may not have
#: pinned it yet.
YOUNG = 60.0


@dataclass(frozen=True)
class BuildState:
    """One build: `identity` is its builder's record (running, stale), `size` bytes, `since` epoch seconds.

    `last` tells that the link names it, `why` what is damaged.
    """

    state: State
    build_id: str
    path: str
    size: int
    since: float
    identity: Mapping[str, Any] = field(default_factory=dict)
    last: bool = False
    why: str = ""


def status(places: Places) -> list[BuildState]:
    """Running and stale builds, then complete, sparse and damaged ones, newest first. Creates nothing.

    Raises `StoreError`.
    """
    states: list[BuildState] = []
    with Explaining("look into the build directory", places.builds):
        for path in places.staged():
            build_id, identity = _owner(path)
            state: State = "running" if is_held(os.path.join(path, "owner.lock")) else "stale"
            since = _mtime(os.path.join(path, "owner.json"))
            if since is not None:
                states.append(BuildState(state, build_id, path, tree_size(path), since, identity))
        named = named_build(places)
        for since, build_id, path in _published(places):
            why = why_incomplete(path, build_id, sparse=True)
            if os.path.isdir(path) and not is_foreign(path):
                whole = not why and not why_incomplete(path, build_id)
                state = "damaged" if why else "complete" if whole else "sparse"
                size = tree_size(path)
                states.append(BuildState(state, build_id, path, size, since, last=build_id == named, why=why))
    return states


def clean(
    places: Places,
    is_ours: Callable[[Mapping[str, Any]], bool | None],
    *,
    keep: int = 5,
    dry_run: bool = False,
) -> CleanReport:
    """Remove what dead builders left and complete builds beyond the newest `keep`; safe while builds run.

    - A staged directory whose lock is free is dead when `is_ours(identity)` is True: its builder ran
      where this lock would be seen. Otherwise (None: another machine on a shared file system) it is
      left and reported. One whose record cannot be read is judged by its lock alone.
    - Pid links that name nothing alive, damaged builds, what is in the trash.
    - Complete builds by age of last use, never the one that `last` names, one that somebody pins, one
      whose ID is being built, or one that was used in the last minute.

    Everything is renamed into the trash under the short lock and deleted after it. A dry run changes
    nothing. Raises `StoreError`.
    """
    if not os.path.isdir(places.locks):
        places.check()
        return CleanReport()
    sweep = _Sweep(places, is_ours, dry_run=dry_run)
    with Explaining("clean the build directory", places.builds):
        places.prepare()
        with places.short_lock():
            sweep.run(keep)
        if not dry_run:
            reach("clean-before-delete")
        sweep.empty_trash()
    return CleanReport(tuple(sweep.removed), tuple(sweep.left))


class _Sweep:
    """One cleaning: what it decided so far."""

    def __init__(
        self, places: Places, is_ours: Callable[[Mapping[str, Any]], bool | None], *, dry_run: bool
    ) -> None:
        self._places = places
        self._is_ours = is_ours
        self._dry_run = dry_run
        self._building: set[str] = set()
        self._dead: set[str] = set()
        self.removed: list[Removal] = []
        self.left: list[Removal] = []

    def run(self, keep: int) -> None:
        """Under the short lock."""
        if not self._dry_run:
            settle(self._places)
        self._staged()
        self._links()
        self._builds(keep)

    def empty_trash(self) -> None:
        """Delete what lies in the trash, ours and what others did not come to delete."""
        for name in list_names(self._places.trash):
            path = os.path.join(self._places.trash, name)
            if self._dry_run:
                self.removed.append(Removal(path, "in the trash", tree_size(path, only_own=True)))
                continue
            size = remove_tree(path)
            if size and path not in self._dead:
                self.removed.append(Removal(path, "in the trash", size))

    def _throw(self, path: str, why: str) -> None:
        self.removed.append(Removal(path, why, tree_size(path, only_own=True)))
        if not self._dry_run:
            reach("clean-before-trash")
            self._dead.add(self._places.throw_away(path))

    def _staged(self) -> None:
        for name in list_names(self._places.staging):
            path = os.path.join(self._places.staging, name)
            if UNNAMED_STAGED.match(name):
                self._throw(path, "a build that ended while it was set up")
        for path in self._places.staged():
            build_id, identity = _owner(path)
            if is_held(os.path.join(path, "owner.lock")):
                self._building.add(build_id)
            elif not identity or self._is_ours(identity):
                self._throw(path, f"its builder ended (process {identity.get('pid', 'unknown')})")
            else:
                why = (
                    f"made on another machine ({identity.get('host', 'unknown')}): cannot be judged from here"
                )
                self.left.append(Removal(path, why, 0))

    def _links(self) -> None:
        for name in list_names(self._places.by_pid):
            link = os.path.join(self._places.by_pid, name)
            if not os.path.islink(link) or pid_link_is_live(self._places, link):
                continue
            if os.path.exists(link) and not self._thrown(link):
                continue  # what it names was left, or is another tool's
            self.removed.append(Removal(link, "its process ended", 0))
            if not self._dry_run:
                remove_file(link)
        for name in list_names(self._places.builds):
            if name.startswith((".last.", ".sequence.", ".last.json.")) and not self._dry_run:
                remove_file(os.path.join(self._places.builds, name))  # half of a swap that was killed

    def _thrown(self, link: str) -> bool:
        target = os.path.join(self._places.staging, os.path.basename(os.readlink(link)))
        return any(each.path == target for each in self.removed)

    def _builds(self, keep: int) -> None:
        named = named_build(self._places)
        kept = 0
        for used, build_id, path in _published(self._places):
            if is_foreign(path):
                self.left.append(Removal(path, "not made by hostbuild", 0))
                continue
            why = why_incomplete(path, build_id, sparse=True)
            if build_id in self._building:
                continue
            if why:
                self._throw(path, f"damaged: {why}")
                continue
            kept += 1
            if kept <= keep or build_id == named or time.time() - used < YOUNG:
                continue
            self._throw_unpinned(path, f"older than the newest {keep}")

    def _throw_unpinned(self, path: str, why: str) -> None:
        record = os.path.join(path, "build.json")
        descriptor = os.open(record, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if lock_descriptor(descriptor, record):
                self._throw(path, why)
            else:
                self.left.append(Removal(path, "in use", 0))
        finally:
            os.close(descriptor)


def _owner(path: str) -> tuple[str, Mapping[str, Any]]:
    record = read_json(os.path.join(path, "owner.json")) or {}
    build_id, identity = record.get("buildId"), record.get("identity")
    return (
        build_id if isinstance(build_id, str) else "",
        identity if isinstance(identity, dict) else {},
    )


def _published(places: Places) -> list[tuple[float, str, str]]:
    """(time of last use, build ID, path) of what lies in by-hash/, newest first."""
    found = []
    for name in list_names(places.by_hash):
        path = os.path.join(places.by_hash, name)
        used = _mtime(path)
        if BUILD_ID.match(name) and used is not None:
            found.append((used, name, path))
    return sorted(found, reverse=True)


def _mtime(path: str) -> float | None:
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return None

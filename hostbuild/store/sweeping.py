"""Cleaning of a build directory: tells the living from the dead by their locks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from hostbuild.errors import StoreError
from hostbuild.points import reach
from hostbuild.store.failures import Explaining, explain_os_error
from hostbuild.store.last import named_build, settle
from hostbuild.store.locks import lock_descriptor, remove_file
from hostbuild.store.places import UNNAMED_STAGED, Places, list_names, owner_is_alive
from hostbuild.store.record import is_foreign
from hostbuild.store.report import CleanReport, Removal, duration
from hostbuild.store.staging import pid_link_is_live
from hostbuild.store.states import (
    NO_LOCK,
    UNREADABLE,
    fault_of,
    host_of,
    owner_of,
    pid_of,
    published,
)
from hostbuild.store.trees import leaves, remove_tree

IsOurs = Callable[[Mapping[str, Any]], bool | None]
#: A build that was published or used less than this many seconds ago is kept: its reader may not have
#: pinned it yet.
YOUNG = 60.0


class Rule(NamedTuple):
    """Which complete builds go: all but the newest `keep`, of these only what was not used for `older_than`
    seconds. The one that `last` names stays. With `everything` neither counts: only the age does.
    """

    keep: int = 5
    older_than: float | None = None
    everything: bool = False

    def why(self, place: int, unused: float, *, last: bool) -> str:
        """Why the build at `place` (1 is the newest), `unused` for so many seconds, goes; "" if it stays."""
        if (place <= self.keep or last) and not self.everything:
            return ""
        if self.older_than is not None:
            return f"not used for {duration(unused)}" if unused >= self.older_than else ""
        return "every complete build goes" if self.everything else f"older than the newest {self.keep}"


def clean(places: Places, is_ours: IsOurs, rule: Rule | None = None, *, dry_run: bool = False) -> CleanReport:
    """Remove what dead builders left, and complete builds by `rule`; safe while builds run.

    - A staged directory whose lock is free is dead when `is_ours(identity)` is True: its builder ran
      where this lock would be seen. Otherwise (None: another machine on a shared file system) it is
      left and reported. One whose record cannot be read is judged by its lock alone.
    - Pid links that name nothing alive, damaged builds, what is in the trash.
    - Complete builds by the time of their last use, never one that somebody pins, one whose ID is being
      built, or one that was used in the last minute.

    Everything is renamed into the trash under the short lock and deleted after it. A dry run changes
    nothing. Raises `StoreError`.
    """
    places.check(only_look=dry_run)
    if not os.path.isdir(places.locks):
        return CleanReport()
    sweep = _Sweep(places, is_ours, rule or Rule(), dry_run=dry_run)
    with Explaining("clean the build directory", places.builds):
        if not dry_run:
            places.prepare()
        with _quiet(places, dry_run=dry_run):
            sweep.run()
        if not dry_run:
            reach("clean-before-delete")
        sweep.empty_trash()
    return CleanReport(tuple(sweep.removed), tuple(sweep.left))


def _quiet(places: Places, *, dry_run: bool) -> AbstractContextManager[object]:
    """The short lock; a dry run does without it where it could not be taken, as it makes no file."""
    takeable = os.access(os.path.join(places.locks, "builds.lock"), os.W_OK)
    return places.short_lock() if takeable or not dry_run else nullcontext()


class _Links:
    """How many names of each file would be gone: the last one frees its bytes."""

    def __init__(self) -> None:
        self._gone: dict[tuple[int, int], int] = {}

    def freed_by(self, path: str) -> int:
        """Bytes that come free when `path` goes after all that this was asked before. Raises `OSError`."""
        freed = 0
        for found in leaves(path, passed_over=(PermissionError,)):
            inode = (found.st_dev, found.st_ino)
            self._gone[inode] = self._gone.get(inode, 0) + 1
            if self._gone[inode] == found.st_nlink:
                freed += found.st_size
        return freed


class _Sweep:
    """One cleaning: what it decided so far."""

    def __init__(self, places: Places, is_ours: IsOurs, rule: Rule, *, dry_run: bool) -> None:
        self._places = places
        self._is_ours = is_ours
        self._rule = rule
        self._dry_run = dry_run
        self._links = _Links()
        self._building: set[str] = set()
        self._dead: dict[str, int] = {}  # a path in the trash: its place in `removed`
        self.removed: list[Removal] = []
        self.left: list[Removal] = []

    def run(self) -> None:
        """Under the short lock."""
        if not self._dry_run:
            try:
                settle(self._places)
            except (OSError, StoreError) as error:  # no link of ours; it is nobody's reason to keep the dead
                why = error.why if isinstance(error, StoreError) else error.strerror
                self.left.append(Removal(self._places.last, f"not to be mended: {why}", 0))
        self._staged()
        self._pid_links()
        self._builds()

    def empty_trash(self) -> None:
        """Delete what lies in the trash, ours first, then what others did not come to delete."""
        others = [
            path
            for name in list_names(self._places.trash)
            if (path := os.path.join(self._places.trash, name)) not in self._dead
        ]
        for path in [*self._dead, *others]:
            if self._dry_run:
                self.removed.append(Removal(path, "in the trash", self._links.freed_by(path)))
                continue
            number = self._dead.get(path)
            try:
                size = remove_tree(path)
            except OSError as error:
                self.left.append(Removal(path, explain_os_error(error, "remove", path).why, 0))
                continue
            if number is not None:
                self.removed[number] = self.removed[number]._replace(size=size)
            elif size:
                self.removed.append(Removal(path, "in the trash", size))

    def _throw(self, path: str, why: str) -> bool:
        if self._dry_run:
            self.removed.append(Removal(path, why, self._links.freed_by(path)))
            return True
        reach("clean-before-trash")
        try:
            gone = self._places.throw_away(path)
        except FileNotFoundError:  # a builder that ends takes away its own without the short lock
            return False
        self._dead[gone] = len(self.removed)
        self.removed.append(Removal(path, why, 0))
        return True

    def _staged(self) -> None:
        for name in list_names(self._places.staging):
            path = os.path.join(self._places.staging, name)
            if UNNAMED_STAGED.match(name):
                self._throw(path, "a build that ended while it was set up")
        for path in self._places.staged():
            # In this order: who is dead has written its record, or never will.
            alive = owner_is_alive(path)
            build_id, identity = owner_of(path)
            if alive:
                self._building.add(build_id)
                maker = pid_of(identity)
                whom = f"process {maker}" if maker else "another process"
                self.left.append(Removal(path, f"{whom} is making it", 0))
            elif alive is None:
                self.left.append(Removal(path, NO_LOCK, 0))
            elif not identity or self._is_ours(identity):
                self._throw(path, f"its builder ended (process {pid_of(identity) or 'unknown'})")
            else:
                why = f"made on another machine ({host_of(identity)}): cannot be judged from here"
                self.left.append(Removal(path, why, 0))

    def _pid_links(self) -> None:
        for name in list_names(self._places.by_pid):
            link = os.path.join(self._places.by_pid, name)
            target = _link_text(link)
            if not target or self._is_live(link):
                continue
            if os.path.exists(link) and not self._thrown(target):
                continue  # what it names was left, or is another tool's
            self.removed.append(Removal(link, "its process ended", 0))
            if not self._dry_run:
                remove_file(link)
        for name in list_names(self._places.builds):
            if name.startswith((".last.", ".sequence.", ".last.json.")) and not self._dry_run:
                remove_file(os.path.join(self._places.builds, name))  # half of a swap that was killed

    def _is_live(self, link: str) -> bool:
        try:
            return pid_link_is_live(self._places, link)
        except (OSError, StoreError):  # gone meanwhile, or it leads to what no builder made
            return True

    def _thrown(self, target: str) -> bool:
        path = os.path.join(self._places.staging, os.path.basename(target))
        return any(each.path == path for each in self.removed)

    def _builds(self) -> None:
        named = named_build(self._places)
        place = 0
        for used, build_id, path in published(self._places):
            if is_foreign(path):
                self.left.append(Removal(path, "not made by hostbuild", 0))
                continue
            why = fault_of(path, build_id)
            if build_id in self._building:
                continue
            if why == UNREADABLE:
                self.left.append(Removal(path, why, 0))
                continue
            if why:
                self._throw(path, f"damaged: {why}")
                continue
            place += 1
            unused = time.time() - used
            why = self._rule.why(place, unused, last=build_id == named)
            if not why:
                continue
            if -YOUNG < unused < YOUNG:  # what lies further in the future tells of a wrong clock, not of use
                self.left.append(Removal(path, "used a moment ago", 0))
            else:
                self._throw_unpinned(path, why, last=build_id == named)

    def _throw_unpinned(self, path: str, why: str, *, last: bool) -> None:
        record = os.path.join(path, "build.json")
        try:
            descriptor = os.open(record, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:  # somebody removed it who takes no lock
            return
        try:
            if not lock_descriptor(descriptor, record):
                self.left.append(Removal(path, "in use", 0))
                return
            if not last:
                self._throw(path, why)
                return
            # The link first: it never names what is gone. Killed in between, the next one finds a complete
            # build and its record, and puts the link back.
            self.removed.append(Removal(self._places.last, "the build that it named goes", 0))
            if not self._dry_run:
                remove_file(self._places.last)
                reach("clean-after-last")
            self._throw(path, why)
            if not self._dry_run:
                remove_file(self._places.last_record)
        finally:
            os.close(descriptor)


def _link_text(path: str) -> str:
    """What a symbolic link says, "" where there is none (any more)."""
    try:
        return os.readlink(path)
    except OSError:
        return ""

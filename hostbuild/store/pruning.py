"""Pruning: what was not used for longest goes, until the cache is as small as it shall be.

It walks without a lock, sorts by the time of last use, and removes in small steps under the exclusive lock of
`sweep.lock`: only what was not used since the walk, and not since the oldest live claim began (`claims`). So
nobody who looks for a blob waits longer than one step, and nobody loses what he found.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from hostbuild.points import reach
from hostbuild.store.claims import earliest_claim, lock_sweep
from hostbuild.store.failures import Explaining
from hostbuild.store.inventory import free_space, last_pruned, named_blobs, walk_blobs, walk_records
from hostbuild.store.locks import lock_descriptor, remove_file

if TYPE_CHECKING:
    from hostbuild.store.cache import Cache

#: Files and seconds of one step under the lock, and the pause after it that lets others look.
_STEP = 64
_STEP_TIME = 0.005
_PAUSE = 0.001
#: Seconds after which a record that nobody asked for goes: it costs work only, and little of the disk.
RECORD_AGE = 30 * 86400.0
#: Seconds between two prunes that nobody asked for.
INTERVAL = 3600.0

_DAY = 86400

Kind = Literal["blob", "record"]


class Goals(NamedTuple):
    """When a prune is done: `max_used` bytes of the cache at most and `min_free` of its disk at least (0: no
    such bound), nothing unused for `older_than` seconds; `everything` that is not in use goes.
    """

    max_used: int = 0
    min_free: int = 0
    older_than: float | None = None
    everything: bool = False


class Pruned(NamedTuple):
    """One file that went: its bytes, those of them that came free (0: layouts have hard links to it), when it
    was last used (seconds since the epoch), and why it went.
    """

    path: str
    kind: Kind
    size: int
    freed: int
    used: float
    why: str


class PruneReport(NamedTuple):
    """What went, or would go. `used` and `free` are the bytes of the cache and of its disk afterwards,
    `in_use` those that live builds claim and that would have gone; `unmet` what could not be reached.
    """

    removed: tuple[Pruned, ...]
    used: int
    free: int
    in_use: int
    unmet: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of the files that went."""
        return sum(each.size for each in self.removed)

    @property
    def freed(self) -> int:
        """Bytes that came free on the disk."""
        return sum(each.freed for each in self.removed)


class _Candidate(NamedTuple):
    path: str
    kind: Kind
    used: int
    size: int
    links: int = 1
    key: str = ""


def prune(cache: Cache, goals: Goals, *, dry_run: bool = False, thorough: bool = True) -> PruneReport:
    """Remove what `goals` ask for; safe while builds and other prunes run. Raises `StoreError`.

    Records whose blobs are gone, and those that nobody asked for in a month, go as well; without `thorough`
    they are only looked through when a blob went.
    """
    work = _Prune(cache, goals, dry_run=dry_run)
    blobs = sorted(walk_blobs(cache.blobs.directory))
    records = sorted(walk_records(cache.keys.directory))
    work.used = sum(entry[1] for entry in blobs) + sum(entry[1] for entry in records)
    store = cache.blobs.directory
    work.remove(
        (
            _Candidate(f"{store}/{algorithm}/{name[:2]}/{name}", "blob", used, size, links)
            for used, size, links, algorithm, name in blobs
        ),
        work.why_blob,
    )
    reads = thorough or bool(work.removed)
    work.remove(
        (_Candidate(cache.keys.path(key), "record", used, size, key=key) for used, size, key in records),
        lambda record: work.why_record(record, reads=reads),
    )
    if not dry_run:
        _stamp(cache)
    return work.report()


def prune_if_due(cache: Cache, goals: Goals) -> PruneReport | None:
    """As `prune`; None when one was begun in the last hour, or another process is at it."""
    if not (goals.max_used or goals.min_free) or not _is_due(cache):
        return None
    path = os.path.join(cache.root, "locks", "prune.lock")
    with Explaining("prune the cache", cache.root):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if not lock_descriptor(descriptor, path) or not _is_due(cache):
                return None
            _stamp(cache)  # also one that fails is not tried again by each build
            return prune(cache, goals, thorough=False)
        finally:
            os.close(descriptor)


def _is_due(cache: Cache) -> bool:
    pruned = last_pruned(cache)
    return pruned is None or not 0 <= time.time() - pruned < INTERVAL


def _stamp(cache: Cache) -> None:
    with Explaining("note that the cache was pruned", cache.root):
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(cache.stamp, flags, 0o600)
        try:
            os.utime(descriptor)
        finally:
            os.close(descriptor)


class _Prune:
    """One prune under way: what the cache and the disk have by now, and what went."""

    def __init__(self, cache: Cache, goals: Goals, *, dry_run: bool) -> None:
        self._cache = cache
        self._goals = goals
        self._dry_run = dry_run
        self._gone: set[str] = set()
        self.now = time.time()
        self.used = 0
        self.free = free_space(cache.root)
        self.in_use = 0
        self.removed: list[Pruned] = []

    def why_blob(self, blob: _Candidate) -> str:
        """Why it is to go; "" when it may stay."""
        goals = self._goals
        if goals.everything:
            return "all that is not in use was to go"
        if goals.older_than is not None and self._age(blob) > goals.older_than:
            return _unused(self._age(blob))
        if goals.max_used and self.used > goals.max_used:
            return "the cache is larger than it may be"
        if goals.min_free and self.free < goals.min_free and blob.links == 1:
            return "the disk is fuller than it may be"
        return ""

    def why_record(self, record: _Candidate, *, reads: bool) -> str:
        """Why it is to go; "" when it may stay."""
        if self._goals.everything:
            return "all that is not in use was to go"
        age = self._age(record)
        most = RECORD_AGE if self._goals.older_than is None else self._goals.older_than
        if age > most:
            return _unused(age)
        return "the blob that it names is gone" if reads and self._names_gone(record.key) else ""

    def _names_gone(self, key: str) -> bool:
        named = named_blobs(self._cache.keys.get(key, touch=False))
        paths = [self._cache.blobs.path(digest) for digest, _ in named]
        return any(each in self._gone or not os.path.lexists(each) for each in paths)

    def _age(self, candidate: _Candidate) -> float:
        return self.now - candidate.used / 1e9

    def remove(self, candidates: Iterable[_Candidate], why: Callable[[_Candidate], str]) -> None:
        """Remove the candidates for which `why` gives a reason, in their order. Raises `StoreError`."""
        wanted = (each for each in candidates if why(each))
        with Explaining("prune the cache", self._cache.root):
            # The looks that may take long are done before the lock is taken.
            while step := deque(itertools.islice(wanted, _STEP)):
                while step:
                    if self._dry_run:
                        self._step(step, why)
                        continue
                    descriptor = lock_sweep(self._cache.claims.sweep_lock, shared=False)
                    try:
                        self._step(step, why)
                    finally:
                        os.close(descriptor)
                    time.sleep(_PAUSE)

    def _step(self, step: deque[_Candidate], why: Callable[[_Candidate], str]) -> None:
        """Remove some of the step's candidates, until its time is up."""
        end = time.monotonic() + _STEP_TIME
        earliest = earliest_claim(self._cache.claims.directory)
        while step and (self._dry_run or time.monotonic() < end):
            each = step.popleft()
            if reason := why(each):  # the goals may have been met meanwhile
                self._take(each, reason, earliest)

    def _take(self, each: _Candidate, why: str, earliest: int | None) -> None:
        try:
            found = os.lstat(each.path)
        except FileNotFoundError:
            self.used -= each.size  # another prune was faster
            return
        if earliest is not None and found.st_mtime_ns >= earliest:
            self.in_use += each.size
            return
        if found.st_mtime_ns != each.used:
            return  # used since the walk: it is not the oldest any more
        if not self._dry_run:
            reach("prune-before-remove")
            remove_file(each.path)
            reach("prune-after-remove")
        freed = each.size if found.st_nlink == 1 else 0
        self.used -= each.size
        self.free += freed
        self._gone.add(each.path)
        self.removed.append(Pruned(each.path, each.kind, each.size, freed, each.used / 1e9, why))

    def report(self) -> PruneReport:
        """All that went, and which goals could not be met."""
        unmet = []
        if self._goals.max_used and self.used > self._goals.max_used:
            unmet.append("max-used-space")
        if self._goals.min_free and self.free < self._goals.min_free:
            unmet.append("min-free-space")
        return PruneReport(tuple(self.removed), self.used, self.free, self.in_use, tuple(unmet))


def _unused(age: float) -> str:
    return f"not used for {int(age // _DAY)} days" if age >= 2 * _DAY else f"not used for {int(age)} s"

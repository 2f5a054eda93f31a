"""Claims: what keeps a prune away from the blobs that a live process uses.

The race: a builder looks and finds a blob; a prune removes it; the builder links it. So who uses blobs holds
one locked file in `claims/`, whose mtime is the start of all its claims, and touches each blob that it finds,
so that the blob's mtime is not before that start. Looking and touching is done under a shared lock of
`sweep.lock`; a prune removes under the exclusive one, and only blobs that were last touched before the oldest
start of a live claim. The kernel frees the lock of a claim's file when its owner ends, however it ends.

No clock has to be right for that: all times come from one file system, and one that was set back does not
count (`Claims.touch`).
"""

from __future__ import annotations

import errno
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hostbuild.errors import WaitTimeoutError
from hostbuild.patterns import late
from hostbuild.points import reach
from hostbuild.store.failures import Explaining, explain_os_error
from hostbuild.store.locks import lock_descriptor, lock_new_file, remove_file
from hostbuild.store.report import Removal

_OWNER = late(r"[A-Za-z0-9_-]{1,64}\Z")
_NAME = late(r"claim\.([A-Za-z0-9_-]{1,64})\.[0-9a-f]{16}\Z")
#: What cannot be written cannot be pruned from here either.
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
#: Seconds between two attempts; the lock is held for microseconds, by a prune for some milliseconds.
_POLL = 0.0005
#: Seconds after which its holder must be a stopped process.
_PATIENCE = 60.0


class Claim(NamedTuple):
    """One file in `claims/`: its path, its owner's token, its start in ns, whether its owner lives."""

    path: str
    owner: str
    start: int
    live: bool


class Claims:
    """The claims of one process: files in `directory`, the lock at `sweep_lock`. Usable by threads."""

    def __init__(self, directory: str, sweep_lock: str, owner: str) -> None:
        if not _OWNER.match(owner):
            raise ValueError(f"not an owner's token: {owner!r}")
        self.directory = directory
        self.sweep_lock = sweep_lock
        self._owner = owner
        self._guard = threading.Lock()
        self._descriptor: int | None = None
        self._end: Callable[[], object] = _nothing
        self._floor = 0

    @property
    def begun(self) -> bool:
        """Whether this process has its file."""
        return self._descriptor is not None

    def begin(self) -> bool:
        """See that this process has its file; False where the cache is read-only. Raises `StoreError`."""
        if self._descriptor is not None:
            return True
        with self._guard:
            return self._begin()

    def _begin(self) -> bool:
        if self._descriptor is not None:
            return True
        try:
            descriptor = None
            while descriptor is None:
                path = f"{self.directory}/claim.{self._owner}.{os.urandom(8).hex()}"
                descriptor = lock_new_file(path)
        except OSError as error:
            if error.errno in _READ_ONLY:
                return False
            raise explain_os_error(error, "claim what is in the cache", self.directory) from error
        # Those who began before may rely on what this process finds: a builder on its workers.
        self._floor = max((start for _, start in _starts(self.directory)), default=0)
        self._descriptor = descriptor
        self._end = weakref.finalize(self, _end, path, descriptor, os.getpid())  # also for who forgets to
        reach("claim-made")
        return True

    def claim(self, path: str, fits: Callable[[os.stat_result], bool]) -> bool:
        """Keep the file `path` from prunes if it is there and `fits`; whether it does.

        In a read-only cache it is only looked at. Raises `StoreError` and `OSError`.
        """
        descriptor = self.share() if self.begin() else None
        try:
            found = os.lstat(path)
            if not fits(found):
                return False
            if descriptor is not None:
                self.touch(path, found.st_mtime_ns)
        except FileNotFoundError:
            return False
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return True

    def touch(self, path: str, before: int = 0) -> None:
        """Note, under the lock, that the file is used now; `before` is its mtime in ns. Raises `OSError`.

        The race: who reads the clock, is held up, and then sets what it read, sets back what another claim,
        which began later, has set. So the kernel takes the time, at the moment when it is set.
        """
        os.utime(path, follow_symlinks=False)
        # The clock may have been set back while a build runs.
        latest = max(before, self._floor)
        if time.time_ns() < latest and os.lstat(path).st_mtime_ns < latest:
            os.utime(path, ns=(latest, latest), follow_symlinks=False)

    def end(self) -> None:
        """Give up all claims; a second call does nothing."""
        with self._guard:
            self._descriptor = None
            self._end()

    def share(self) -> int:
        """Take `sweep.lock` with others: the descriptor, to be closed soon. Raises as `lock_sweep` does."""
        return lock_sweep(self.sweep_lock, shared=True)


def _nothing() -> None:
    """There is nothing to end."""


def _end(path: str, descriptor: int, pid: int) -> None:
    try:
        if os.getpid() == pid:  # a child that was forked inherits the descriptor, not the claim
            remove_file(path)
    except OSError:
        return  # unlocked it claims nothing; who cleans takes it away
    finally:
        os.close(descriptor)


def lock_sweep(path: str, *, shared: bool) -> int:
    """Lock the file `path`, which is made when it is not there: its descriptor; closing it frees the lock.

    A file in a read-only cache is opened as it is. Raises `WaitTimeoutError` when a stopped process holds it
    for a minute, `StoreError`, and `OSError` where it cannot be opened.
    """
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        descriptor = os.open(path, os.O_RDONLY | flags)
    locked = False
    try:
        locked = lock_descriptor(descriptor, path, shared=shared)
        deadline = 0.0 if locked else time.monotonic() + _PATIENCE
        while not locked:
            if time.monotonic() > deadline:
                raise WaitTimeoutError(
                    f"gave up after {_PATIENCE:g} s waiting for the cache",
                    why=f'the lock "{path}" is held: a prune, or who looks for a blob, was stopped',
                    fix="look for a stopped hostbuild process",
                    path=path,
                )
            time.sleep(_POLL)
            locked = lock_descriptor(descriptor, path, shared=shared)
    finally:
        if not locked:
            os.close(descriptor)
    return descriptor


def remove_same(sweep_lock: str, path: str, descriptor: int) -> bool:
    """Unlink `path` under the exclusive lock if it is still the file that is open as `descriptor`.

    While it is open no new file can have its inode. Whether it was. Raises `OSError` and as `lock_sweep`.
    """
    held = lock_sweep(sweep_lock, shared=False)
    try:
        if not os.path.samestat(os.lstat(path), os.fstat(descriptor)):
            return False
        os.unlink(path)
    except FileNotFoundError:
        return False
    finally:
        os.close(held)
    return True


def read_claims(directory: str) -> list[Claim]:
    """All files in `claims/`. Raises `StoreError`."""
    found = []
    with Explaining("read the claims", directory):
        for name, _ in _starts(directory):
            path = os.path.join(directory, name)
            descriptor = _open(path)
            if descriptor is None:
                continue
            try:
                start = os.fstat(descriptor).st_mtime_ns
                live = not lock_descriptor(descriptor, path, shared=True)
            finally:
                os.close(descriptor)
            found.append(Claim(path, _owner_of(name), start, live))
    return found


def earliest_claim(directory: str) -> int | None:
    """The oldest start of a live claim (ns since the epoch); None when there is none. Raises `StoreError`."""
    return min((claim.start for claim in read_claims(directory) if claim.live), default=None)


def remove_dead_claims(directory: str, *, dry_run: bool = False) -> list[Removal]:
    """Remove the files of processes that ended. Raises `StoreError`."""
    removed = []
    with Explaining("remove dead claims", directory):
        for claim in read_claims(directory):
            if claim.live:
                continue
            if not dry_run and not _remove_dead(claim.path):
                continue
            removed.append(Removal(claim.path, "a claim of a process that ended", 0))
    return removed


def _remove_dead(path: str) -> bool:
    """Under its lock: who makes a claim sees by that that it must make another (`lock_new_file`)."""
    descriptor = _open(path)
    if descriptor is None:
        return False
    try:
        return lock_descriptor(descriptor, path) and remove_file(path)
    finally:
        os.close(descriptor)


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None  # it ended meanwhile


def _owner_of(name: str) -> str:
    match = _NAME.match(name)
    return match.group(1) if match else ""


def _starts(directory: str) -> Iterator[tuple[str, int]]:
    """Name and mtime (ns) of each claim's file. Raises `OSError`."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        if _NAME.match(name):
            try:
                yield name, os.lstat(os.path.join(directory, name)).st_mtime_ns
            except FileNotFoundError:
                continue

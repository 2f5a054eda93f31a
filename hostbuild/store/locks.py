"""Locks between processes, freed by the kernel when their holder ends, however it ends.

The race that decides how this is done: process A opens the lock file and locks it; B opens the same
file and waits; A removes the file and unlocks; B now holds a lock on a file that has no name, C
creates a new file of that name and locks it too. Two holders. So a lock file that several processes
share is never deleted, and there is a fixed number of them (`stripe`).

A second race: a lock file in a directory that somebody cleans. `lock_new_file` makes a file that is
unlocked for an instant after its creation; a cleaner that takes the lock in this instant may unlink
it. So the maker looks, after it got the lock, whether the file still has a name.

Locks are flock(2): they belong to an open file, so two threads of one process exclude each other too,
and a child does not inherit them (descriptors are close-on-exec). A stopped holder (SIGSTOP) holds on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hostbuild.errors import StoreError, WaitTimeoutError
from hostbuild.store.failures import explain_os_error

if TYPE_CHECKING:
    from filelock import UnixFileLock

#: Seconds between two attempts. flock has no time-out of its own, so a wait is a poll.
POLL_INTERVAL = 0.02

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_CONTENTION = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})


class Held:
    """A lock that is held. Release it with `release` or by leaving its `with` block."""

    def __init__(self, lock: UnixFileLock, path: str) -> None:
        self._lock = lock
        self.path = path

    def release(self) -> None:
        """Let go of the lock; a second call does nothing. The file stays."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def try_hold(path: str) -> Held | None:
    """Take the lock at `path` if it is free now, else None. The directory of `path` must exist.

    Raises `StoreError` where the file cannot be opened, is a symbolic link, or the file system has no
    locks.
    """
    from filelock import Timeout, UnixFileLock

    try:
        # fallback_to_soft=False: a lock that only looks at whether a file exists would outlive its holder.
        # thread_local=False: whoever has the Held may release it. 0600: nobody else can sit on it.
        lock = UnixFileLock(path, timeout=0, mode=0o600, thread_local=False, fallback_to_soft=False)
        lock.acquire(poll_interval=POLL_INTERVAL)
    except Timeout:
        return None
    except OSError as error:
        raise _lock_failure(error, path) from error
    return Held(lock, path)


def hold(
    path: str,
    *,
    timeout: float | None = None,
    on_wait: Callable[[float], bool] | None = None,
    what: str = "",
) -> Held:
    """Take the lock at `path`, waiting while another process or thread holds it.

    `timeout` is seconds, None waits for ever, 0 does not wait. `on_wait` is called with the seconds waited
    so far after each attempt that failed, until it returns True. `what` names in the error what is waited
    for. The same thread must not hold the lock already: it would wait for itself. Raises
    `WaitTimeoutError`, and `StoreError` as `try_hold` does.
    """
    held = try_hold(path)
    if held is not None:
        return held
    begun = time.monotonic()
    deadline = None if timeout is None else begun + timeout
    while deadline is None or time.monotonic() < deadline:
        if on_wait is not None and on_wait(time.monotonic() - begun):
            on_wait = None
        time.sleep(POLL_INTERVAL)
        held = try_hold(path)
        if held is not None:
            return held
    pid = holder_pid(path)
    raise WaitTimeoutError(
        f"gave up after {timeout:g} s waiting for {what or 'another hostbuild process'}",
        why=f'the lock "{path}" is held' + (f" by process {pid}" if pid else ""),
        fix="try again later, or look whether that process is stopped",
        path=path,
        pid=pid,
    )


def holder_pid(path: str) -> int:
    """The process that holds the lock at `path`, by the kernel's list (proc(5), /proc/locks); 0 if unknown.

    The list has the locks of this pid namespace only, and none on systems other than Linux.
    """
    try:
        found = os.stat(path)
        with open("/proc/locks", encoding="ascii") as stream:
            lines = stream.readlines()
    except (OSError, ValueError):
        return 0
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in lines:
        words = line.split()  # 1: FLOCK ADVISORY WRITE <pid> <major:minor:inode> 0 EOF
        if len(words) > 5 and words[1] == "FLOCK" and words[3] == "WRITE" and words[5] == place:
            return max(0, int(words[4]))
    return 0


def is_held(path: str) -> bool:
    """Whether some process or thread holds the lock at `path` now. False when there is no such file.

    It asks by a shared, non-blocking flock of its own, for an instant: another `try_hold` in this
    instant fails. Never creates anything. Raises `StoreError` where the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _lock_failure(error, path) from error
    try:
        return not lock_descriptor(descriptor, path, shared=True)
    finally:
        os.close(descriptor)


def lock_descriptor(descriptor: int, path: str, *, shared: bool = False) -> bool:
    """Lock an open file without waiting; False when another open file of it holds the lock.

    The lock lives as long as the descriptor. Raises `StoreError` where the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _CONTENTION:
            return False
        raise _lock_failure(error, path) from error
    return True


def lock_new_file(path: str, mode: int = 0o600) -> int | None:
    """Create the file `path` and lock it: the descriptor, or None when a cleaner was faster.

    For names that nobody else uses: the caller tries again with another random name on None. Raises
    `OSError` where the file cannot be made (also when it exists), `StoreError` without locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    kept = False
    try:
        kept = lock_descriptor(descriptor, path) and os.fstat(descriptor).st_nlink == 1
    finally:
        if not kept:
            os.close(descriptor)
            remove_file(path)
    return descriptor if kept else None


def remove_file(path: str) -> bool:
    """Unlink `path`; False when somebody else was faster. Raises `OSError` for all but that."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def stripe(name_hex: str) -> str:
    """The lock file's name for something that is named by a hex digest: one of 4096.

    Two names can share a stripe: they wait for each other, which costs time and nothing else.
    """
    return f"{int(name_hex[:3], 16):03x}.lock"


def _lock_failure(error: OSError, path: str) -> StoreError:
    directory = os.path.dirname(path)
    if error.errno in _NO_LOCKS:
        return StoreError(
            f'cannot use "{directory}"',
            why=f"its file system has no working file locks ({errno.errorcode.get(error.errno or 0, '?')})",
            fix="choose a directory on a local file system with --cache-dir or --build-dir",
            errno=error.errno,
            path=directory,
        )
    return explain_os_error(error, "lock a file", directory)

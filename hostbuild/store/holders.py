"""Who holds a lock, for the people who wait for it.

Beside a lock lies a small record of its holder, written after the lock was taken and removed before it is
freed. It is a hint and never the truth: the lock is that. A record that a killed holder left names a dead
process, and the next holder replaces it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from hostbuild.store.locks import hold, holder_pid, remove_file
from hostbuild.store.syncing import read_small

_LIMIT = 4096
#: Seconds to wait for the record of who has just taken the lock.
_PATIENCE = 0.02
#: Characters of a directory's name that are shown.
_SHOWN = 200


class Holder(NamedTuple):
    """`pid` is the builder's (not a worker's), `source` the directory that it builds, "" where unknown."""

    pid: int
    source: str = ""


class Wait(NamedTuple):
    """For whom and for what somebody waits; `pid` is 0 where it is not known."""

    pid: int
    text: str


@contextmanager
def held_by(
    holder: Holder | None,
    lock: str,
    *,
    what: str,
    on_wait: Callable[[Wait], None] | None,
    timeout: float | None,
) -> Iterator[None]:
    """Hold the lock at `lock` in the block, and say so beside it: see `Cache.produce` for the rest.

    Without a holder it is this process.
    """

    def tell(waited: float) -> bool:
        wait = describe_wait(lock, what, waited)
        if wait is not None and on_wait is not None:
            on_wait(wait)
        return wait is not None

    with hold(lock, timeout=timeout, on_wait=tell, what="what another process makes"):
        write_holder(lock, holder or Holder(os.getpid()), what)
        try:
            yield
        finally:
            remove_holder(lock)


def write_holder(lock: str, holder: Holder, what: str) -> None:
    """Say who holds the lock at `lock`; a record that cannot be written is none. Call it under the lock."""
    record = {"pid": holder.pid, "source": holder.source, "what": what, "since": int(time.time())}
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(_beside(lock), flags, 0o600)
        try:
            os.write(descriptor, json.dumps(record).encode())
        finally:
            os.close(descriptor)
    except OSError:
        return  # a full disk shows where it matters


def remove_holder(lock: str) -> None:
    """Take the record away; call it under the lock."""
    try:
        remove_file(_beside(lock))
    except OSError:
        return  # it names a process that will have ended, which readers see


def describe_wait(lock: str, what: str, waited: float) -> Wait | None:
    """Whom the waiter for `lock` waits for; None when it may be known in a moment.

    `what` is said where the holder did not write it ("writes the layer data"); `waited` is in seconds.
    """
    record = _read(lock)
    pid = record.get("pid")
    if type(pid) is int and 0 < pid < 1 << 31 and _may_live(pid):
        source, does = record.get("source"), record.get("what")
        of = f" (building {_shown(source)})" if isinstance(source, str) and source else ""
        does = _shown(does) if isinstance(does, str) and does else what
        state = ", which is stopped and" if _is_stopped(pid) else ", which"
        return Wait(pid, f"waiting for process {pid}{of}{state} {does}")
    if waited < _PATIENCE:
        return None
    pid = holder_pid(lock)
    whom = f"process {pid}" if pid else "another process"
    return Wait(pid, f"waiting for {whom}, which {what}")


def _beside(lock: str) -> str:
    return f"{lock.removesuffix('.lock')}.holder"


def _read(lock: str) -> dict[str, object]:
    try:
        value = json.loads(read_small(_beside(lock), _LIMIT) or b"{}")
    except (ValueError, RecursionError, OSError):
        return {}
    return value if isinstance(value, dict) else {}


def _may_live(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_stopped(pid: int) -> bool:
    from hostbuild.process.procfs import read_stat

    stat = read_stat(pid)
    return stat is not None and stat.state in {"T", "t"}


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_SHOWN])

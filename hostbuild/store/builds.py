"""The build directory of one project (`.func`, or what --build-dir names): begin, find, publish, clean.

The truth about "in progress" is a lock of the build ID that the kernel frees (`locks`); the record and
the pid link beside it are for people. Looking never creates anything and needs no lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hostbuild.errors import BuildInProgressError, WaitTimeoutError
from hostbuild.points import reach
from hostbuild.store.failures import Explaining
from hostbuild.store.last import named_build, set_last, touch_last
from hostbuild.store.locks import POLL_INTERVAL, lock_descriptor, try_hold
from hostbuild.store.places import Places, list_names, owner_is_alive
from hostbuild.store.record import why_incomplete

if TYPE_CHECKING:
    from hostbuild.store.report import CleanReport
    from hostbuild.store.seals import Seal
    from hostbuild.store.staging import Staging
    from hostbuild.store.states import BuildState

#: A link would be followed to what is no build, and a pipe without a writer waits for ever.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
OnWait = Callable[[Mapping[str, Any] | None], None]


class Pin:
    """Keeps a complete build from being cleaned while it is read: a shared lock on its build.json."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class BuildDir:
    """The build directory at `root`. Constructing it looks at nothing and creates nothing.

    With `seal` what it makes is sealed, and only what was is found: see `seals`.
    """

    def __init__(self, root: str | os.PathLike[str], seal: Seal | None = None) -> None:
        self.places = Places(os.fspath(root), seal)

    @property
    def last(self) -> str:
        """The path of the link `last`, whether it is there or not."""
        return self.places.last

    @property
    def log(self) -> str:
        """The path of the log file that all processes write; its directory is made by `prepare`."""
        return os.path.join(self.places.builds, "hostbuild.log")

    def prepare(self) -> None:
        """Create the directories that are missing. Raises `StoreError`."""
        self.places.prepare()

    def find(self, build_id: str, *, sparse: bool = False) -> str | None:
        """The directory of the complete build `build_id` (it holds oci/ and build.json), or None.

        Damaged ones are None (`why_incomplete` tells what complete means), and sparse ones unless
        `sparse`. Raises `StoreError` when the disk cannot be read.
        """
        path = self.places.build(build_id)
        with Explaining("look for a build", self.places.by_hash):
            fault = why_incomplete(path, build_id, sparse=sparse, seal=self.places.seal)
            return None if fault else path

    def last_build(self) -> str | None:
        """The ID of the complete build that `last` names, else None. Raises `StoreError`."""
        build_id = named_build(self.places)
        return build_id if build_id and self.find(build_id) else None

    def pin(self, build_id: str) -> Pin | None:
        """Keep the complete build from being cleaned until the pin is released; None when it is not there.

        Raises `StoreError`.
        """
        path = self.places.build(build_id)
        with Explaining("look for a build", self.places.by_hash):
            try:
                descriptor = os.open(os.path.join(path, "build.json"), _FLAGS)
            except (FileNotFoundError, NotADirectoryError):
                return None
            pin = Pin(path, descriptor)
            # The lock first, the look after: a cleaner that was faster has renamed the directory.
            if lock_descriptor(descriptor, path, shared=True) and self.find(build_id, sparse=True):
                return pin
            pin.release()
            return None

    def begin(
        self,
        build_id: str,
        identity: Mapping[str, Any],
        *,
        wait: float | None = 0,
        on_wait: OnWait | None = None,
    ) -> Staging:
        """Take the lock of `build_id` and stage a build: a context manager.

        `identity` (JSON values: pid, start ticks, boot id, pid namespace, host, command, since) goes
        into the record that others read. While another process makes this very build: `wait` 0 raises
        `BuildInProgressError` (exit 75) that names it, None waits for ever, else as many seconds, then
        `WaitTimeoutError`. After it waited the caller looks with `find` again: the other one may have
        made it. `on_wait` is called once when it has to wait, with the other's identity, or None where
        it is not known.

        A lock is shared with one of 4096 IDs. A holder that makes another ID is waited for (without
        limit when `wait` is 0), and never reported as in progress: that would be untrue.

        Raises `StoreError`.
        """
        from hostbuild.store.staging import Staging

        self.places.prepare()
        path = self.places.build_lock(build_id)
        deadline = time.monotonic() + wait if wait else None
        started = time.monotonic()
        told = on_wait is None
        while (held := try_hold(path)) is None:
            owner = self._owner(build_id)
            if wait == 0 and owner is not None:
                raise _in_progress(build_id, owner)
            if deadline is not None and time.monotonic() >= deadline:
                raise _waited(build_id, owner, wait or 0)
            if not told and on_wait is not None:
                other = owner if owner is not None else self._neighbour(build_id)
                # Who just took the lock has no record yet: it is worth a moment to tell for whom one waits.
                if other is not None or time.monotonic() - started > 0.5:
                    told = True
                    on_wait(other)
            time.sleep(POLL_INTERVAL)
        try:
            reach("build-locked")
            return Staging(self.places, build_id, identity, held)
        except BaseException:
            held.release()
            raise

    def set_last(self, build_id: str, sequence: int) -> bool:
        """Make `last` name `build_id`, unless it names one that was started later (a higher number).

        Raises `StoreError`, also when the build is not complete.
        """
        return set_last(self.places, build_id, sequence)

    def touch_last(self, build_id: str) -> bool:
        """Make `last` name `build_id`, which is up to date; nothing is written where it does already.

        Raises `StoreError`, also when the build is not complete (cleaned meanwhile).
        """
        return touch_last(self.places, build_id)

    def touch(self, build_id: str) -> None:
        """Mark a published build as used now. Raises `StoreError`."""
        path = self.places.build(build_id)
        with Explaining("mark a build as used", path):
            os.utime(path)

    def newest(self) -> str | None:
        """The ID of the build that was made or used last: `last`, or a sparse one after it; None for none.

        Raises `StoreError`.
        """
        found = [state for state in self.status() if state.last or state.state == "sparse"]
        usable = [state for state in found if not state.why]
        return max(usable, key=lambda state: state.since).build_id if usable else None

    def clean(
        self,
        is_ours: Callable[[Mapping[str, Any]], bool | None],
        *,
        keep: int = 5,
        older_than: float | None = None,
        everything: bool = False,
        dry_run: bool = False,
    ) -> CleanReport:
        """Remove what dead builders left, and complete builds by this rule: `sweeping.clean` and `Rule`."""
        from hostbuild.store.sweeping import Rule, clean

        return clean(self.places, is_ours, Rule(keep, older_than, everything), dry_run=dry_run)

    def status(self) -> list[BuildState]:
        """All builds, running, stale, complete or damaged: `states.status`. Creates nothing."""
        from hostbuild.store.states import status

        return status(self.places)

    def has_leftovers(self) -> bool:
        """Whether a dead builder or cleaner left something here; three looks where nothing is being built."""
        places = self.places
        try:
            if any(name.startswith((".last.", ".sequence.")) for name in os.listdir(places.builds)):
                return True  # half of a swap
            if not os.listdir(places.staging):
                return bool(os.listdir(places.trash))
        except OSError:  # none yet, or not to be read
            return False
        return bool(list_names(places.trash)) or not all(map(owner_is_alive, places.staged()))

    def _owner(self, build_id: str) -> Mapping[str, Any] | None:
        return self._identity(lambda other: other == build_id)

    def _neighbour(self, build_id: str) -> Mapping[str, Any] | None:
        return self._identity(lambda other: other[:3] == build_id[:3])

    def _identity(self, matches: Callable[[str], bool]) -> Mapping[str, Any] | None:
        with Explaining("look for running builds", self.places.staging):
            record = self.places.holder(matches)
        if record is None:
            return None
        identity = record.get("identity")
        return identity if isinstance(identity, dict) else {}


def _name(owner: Mapping[str, Any] | None) -> str:
    return f"process {(owner or {}).get('pid', '(unknown)')}"


def _in_progress(build_id: str, owner: Mapping[str, Any]) -> BuildInProgressError:
    return BuildInProgressError(
        f"{_name(owner)} is making this build already",
        why=f"build {build_id[:12]} is in progress",
        fix="wait for it with --wait, or try again later",
        pid=owner.get("pid"),
        identity=dict(owner),
        build_id=build_id,
    )


def _waited(build_id: str, owner: Mapping[str, Any] | None, wait: float) -> WaitTimeoutError:
    return WaitTimeoutError(
        f"gave up after {wait:g} s waiting for {_name(owner)}",
        why=f"build {build_id[:12]} is still in progress",
        fix="try again later, or wait longer with --wait-timeout",
        pid=(owner or {}).get("pid"),
        build_id=build_id,
    )

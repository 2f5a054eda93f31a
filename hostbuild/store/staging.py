"""A build while it is being made: staged under a private name, published by rename or thrown away."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Any, Self

from hostbuild.errors import StoreError
from hostbuild.oci.digest import Digest
from hostbuild.points import reach
from hostbuild.store.failures import Explaining
from hostbuild.store.last import set_last
from hostbuild.store.locks import Held, is_held, lock_new_file, remove_file
from hostbuild.store.places import Places
from hostbuild.store.publish import exchange_names
from hostbuild.store.record import why_incomplete, write_record
from hostbuild.store.syncing import sync_directory, temporary_name, write_new_file
from hostbuild.store.trees import remove_tree


class Staging:
    """One build that this process makes. Made by `BuildDir.begin`; leave its `with` block to end it.

    `build` is the directory that gets published: the caller puts `oci/` into it and calls
    `write_record`. `work` is scratch. `sequence` tells the order of starts. The directory's
    `owner.lock` is held as long as this object lives: it, and no pid, says that the build is alive.
    """

    def __init__(self, places: Places, build_id: str, identity: Mapping[str, Any], build_lock: Held) -> None:
        self.build_id = build_id
        self._places = places
        self._build_lock = build_lock
        self._owner_lock = -1
        self._pid_link = ""
        self.path = os.path.join(places.staging, f"{build_id[:12]}.{os.urandom(8).hex()}")
        self.build = os.path.join(self.path, "build")
        self.work = os.path.join(self.path, "work")
        self.sequence = 0
        with places.short_lock(), Explaining("stage a build", places.staging):
            try:
                self._create(identity)
            except BaseException:
                remove_tree(self.path)
                self._drop()
                raise

    def start_over(self) -> None:
        """Make `build` and `work` empty again. Raises `StoreError`."""
        with Explaining("stage a build", self.path):
            for directory, mode in ((self.build, 0o755), (self.work, 0o700)):
                if os.listdir(directory):
                    remove_tree(directory)
                    os.mkdir(directory, mode)

    def write_record(
        self,
        record: Mapping[str, Any],
        blobs: Iterable[tuple[Digest, int]],
        absent: Iterable[Digest] = (),
    ) -> None:
        """Write `build.json` (see `hostbuild.store.record.write_record`). Raises `StoreError`."""
        with Explaining("write build.json", self.build):
            path = os.path.join(self.build, "build.json")
            write_record(path, self.build_id, record, blobs, absent, seal=self._places.seal)

    def publish(self) -> str:
        """Sync `build` and give it its name by-hash/<id>; that path. One that has it is replaced.

        Raises `StoreError`; ValueError when `build` is not a complete build (a bug of the caller).
        """
        target = self._places.build(self.build_id)
        with Explaining("publish a build", self._places.by_hash):
            if reason := why_incomplete(self.build, self.build_id, sparse=True):
                raise ValueError(f"not a complete build: {reason}")
            sync_directory(self.build)
            reach("build-before-publish")
            older = ""
            with self._places.short_lock():
                self._places.check()  # what was a directory at the start may be a link by now
                # Exchanged in one step where that can be done: `last` may name it, and must not dangle.
                if not (os.path.lexists(target) and exchange_names(self.build, target)):
                    if os.path.lexists(target):
                        older = self._places.throw_away(target)
                        reach("build-after-aside")
                    os.rename(self.build, target)
                reach("build-after-rename")
                sync_directory(self._places.by_hash)
            if older:
                remove_tree(older)
        reach("publish-before-last")
        return target

    def set_last(self) -> bool:
        """Make `last` name this build, once published, unless it names one that was started later.

        Whether it names this one now. Raises `StoreError`.
        """
        return set_last(self._places, self.build_id, self.sequence)

    def close(self) -> None:
        """End the build: remove what was staged and the pid link, free the locks. Raises `StoreError`."""
        try:
            if self._owner_lock >= 0:
                reach("stage-before-removal")
                with Explaining("remove a staged build", self._places.staging):
                    if self._pid_link and os.path.islink(self._pid_link):
                        self._remove_pid_link()
                    gone = self._places.throw_away(self.path)
                    reach("stage-in-trash")
                    remove_tree(gone)
        finally:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Of two errors the first tells why; what is left here is removed by the next build or `clean`.
        with nullcontext() if error is None else suppress(StoreError):
            self.close()

    def _create(self, identity: Mapping[str, Any]) -> None:
        """Under the short lock. The name comes after lock and record: whoever has a name has both."""
        self.sequence = self._places.next_sequence()
        unnamed = os.path.join(self._places.staging, f".new.{os.urandom(8).hex()}")
        os.mkdir(unnamed, 0o755)
        try:
            lock = None
            while lock is None:
                lock = lock_new_file(os.path.join(unnamed, "owner.lock"), 0o644)
            self._owner_lock = lock
            record = {"buildId": self.build_id, "sequence": self.sequence, "identity": dict(identity)}
            data = json.dumps(record, sort_keys=True).encode() + b"\n"
            write_new_file(os.path.join(unnamed, "owner.json"), data, sync=False)
            os.mkdir(os.path.join(unnamed, "build"), 0o755)
            os.mkdir(os.path.join(unnamed, "work"), 0o700)
            reach("stage-before-rename")
            os.rename(unnamed, self.path)
        except BaseException:
            remove_tree(unnamed)
            raise
        reach("stage-before-pid-link")
        self._link_pid(str(identity.get("pid", "unknown")))

    def _link_pid(self, pid: str) -> None:
        link = os.path.join(self._places.by_pid, os.path.basename(pid))
        if os.path.lexists(link) and pid_link_is_live(self._places, link):
            # The same process builds twice, or a process of another pid namespace has this pid.
            link = f"{link}.{os.urandom(4).hex()}"
        temp = temporary_name(link)
        os.symlink(f"../staging/{os.path.basename(self.path)}", temp)
        try:
            reach("pid-link-before-rename")
            os.replace(temp, link)
        except BaseException:
            remove_file(temp)
            raise
        self._pid_link = link

    def _remove_pid_link(self) -> None:
        if os.path.basename(os.readlink(self._pid_link)) == os.path.basename(self.path):
            remove_file(self._pid_link)

    def _drop(self) -> None:
        if self._owner_lock >= 0:
            os.close(self._owner_lock)
            self._owner_lock = -1
        self._build_lock.release()


def pid_link_is_live(places: Places, link: str) -> bool:
    """Whether the pid link names a staged directory whose owner lives. Raises `OSError`, `StoreError`."""
    if not os.path.islink(link):
        return False
    return is_held(os.path.join(places.staging, os.path.basename(os.readlink(link)), "owner.lock"))

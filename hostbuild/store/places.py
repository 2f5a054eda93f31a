"""Where everything of a build directory is, and the small steps that all of its users share.

```
<root>/.gitignore                "*"
<root>/builds/by-hash/<id>/      a complete build: oci/ and build.json
<root>/builds/by-pid/<pid>       relative link to what that process is making, for people
<root>/builds/last               relative link to the last complete build
<root>/builds/last.json          which build `last` is to name, and its sequence number
<root>/builds/sequence           the last sequence number given out
<root>/builds/staging/<id[:12]>.<random>/   what is being made: owner.json, owner.lock, build/, work/
<root>/builds/locks/             4096 build locks made when needed, and builds.lock; never deleted
<root>/builds/trash/             what is being deleted
```
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hostbuild.errors import StoreError
from hostbuild.patterns import late
from hostbuild.store.failures import Explaining, explain_os_error
from hostbuild.store.filesystems import check_locks
from hostbuild.store.locks import Held, hold, is_held
from hostbuild.store.ownership import check_owner
from hostbuild.store.syncing import read_small, replace_file

if TYPE_CHECKING:
    from hostbuild.store.seals import Seal

#: Seconds to wait for the short lock of a build directory: held for some milliseconds at a time.
SHORT_LOCK_TIMEOUT = 60.0
STAGED_NAME = late(r"[0-9a-f]{12}\.[0-9a-f]{16}\Z")
#: What a killed creation leaves in staging/, before it has its name.
UNNAMED_STAGED = late(r"\.new\.[0-9a-f]{16}\Z")
BUILD_ID = late(r"[0-9a-f]{64}\Z")
_RECORD_LIMIT = 1 << 26
#: A record of a builder has some hundred bytes: what somebody planted there must not fill the memory.
OWNER_LIMIT = 1 << 16


class Places:
    """The paths of one build directory, and the seal of those who build in it. Looks at nothing."""

    def __init__(self, root: str, seal: Seal | None = None) -> None:
        self.root = os.path.abspath(root)
        self.seal = seal
        self.builds = os.path.join(self.root, "builds")
        self.by_hash = os.path.join(self.builds, "by-hash")
        self.by_pid = os.path.join(self.builds, "by-pid")
        self.staging = os.path.join(self.builds, "staging")
        self.locks = os.path.join(self.builds, "locks")
        self.trash = os.path.join(self.builds, "trash")
        self.last = os.path.join(self.builds, "last")
        self.last_record = os.path.join(self.builds, "last.json")
        self.sequence = os.path.join(self.builds, "sequence")

    def build(self, build_id: str) -> str:
        """The directory of the complete build `build_id`. A name that is no ID is a ValueError."""
        if not BUILD_ID.match(build_id):
            raise ValueError(f"not a build ID: {build_id!r}")
        return os.path.join(self.by_hash, build_id)

    def build_lock(self, build_id: str) -> str:
        """The lock file of `build_id`: shared with one of 4096 IDs."""
        return os.path.join(self.locks, f"{os.path.basename(self.build(build_id))[:3]}.lock")

    def prepare(self) -> None:
        """Create what is missing, and check the rest. Raises `StoreError`."""
        self.check()
        with Explaining("make the build directory", self.root):
            os.makedirs(self.root, 0o755, exist_ok=True)
            ignore = os.path.join(self.root, ".gitignore")
            if not os.path.lexists(ignore):
                replace_file(ignore, b"*\n", sync=False)
            if not os.path.isdir(self.locks):
                check_locks(self.root)
            for each in self._directories():
                os.makedirs(each, 0o755, exist_ok=True)
        self.check()

    def check(self, *, only_look: bool = False) -> None:
        """Refuse links and files where directories belong: a checked-out source can hold them.

        Another user's directory is refused too, unless the caller will `only_look`. What does not exist is
        in order. Raises `StoreError`.
        """
        for each in (self.root, *self._directories()):
            try:
                found = os.lstat(each)
                mode = found.st_mode
                if stat.S_ISDIR(mode):
                    if not only_look:
                        check_owner(each, found)
                    continue
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise explain_os_error(error, "look into the build directory", self.root) from error
            else:
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "a file"
                raise StoreError(
                    f'will not use "{each}"',
                    why=f"it is {kind}, not a directory",
                    fix="remove it: hostbuild makes a directory there"
                    + ("; or name where it leads with --build-dir" if each == self.root else ""),
                )

    def _directories(self) -> tuple[str, ...]:
        return (self.builds, self.by_hash, self.by_pid, self.staging, self.locks, self.trash)

    def exist(self) -> bool:
        """Whether this is a build directory of hostbuild, and not of another tool. Nothing is followed."""
        for each in (self.by_hash, self.staging, self.locks):
            try:
                if not stat.S_ISDIR(os.lstat(each).st_mode):
                    return False
            except OSError:
                return False
        return True

    def short_lock(self) -> Held:
        """The lock that serialises creating, cleaning, numbers and `last`. Raises `WaitTimeoutError`."""
        return hold(
            os.path.join(self.locks, "builds.lock"),
            timeout=SHORT_LOCK_TIMEOUT,
            what=f'the build directory "{self.root}"',
        )

    def next_sequence(self) -> int:
        """A number above all that were given out. Only under the short lock. Raises `OSError`.

        Not synced: after a crash of the machine nothing runs that has a number, and `last`'s own
        number, which is synced, is looked at too.
        """
        highest = max(
            read_number(self.sequence),
            number_of(read_json(self.last_record)),
            *(number_of(_owner_record(path)) for path in self.staged()),
            0,
        )
        replace_file(self.sequence, f"{highest + 1}\n".encode(), sync=False)
        return highest + 1

    def staged(self) -> list[str]:
        """The staged directories, sorted; none where there is no build directory. Raises `OSError`."""
        return [
            os.path.join(self.staging, name) for name in list_names(self.staging) if STAGED_NAME.match(name)
        ]

    def throw_away(self, path: str) -> str:
        """Rename `path` into the trash, so that it is gone at once; its new path. Raises `OSError`."""
        gone = os.path.join(self.trash, os.urandom(8).hex())
        os.rename(path, gone)
        return gone

    def holder(self, matches: Callable[[str], bool]) -> dict[str, Any] | None:
        """The `owner.json` of a live staged build whose ID `matches`, else None. Raises `OSError`."""
        for path in self.staged():
            record = _owner_record(path)
            build_id = (record or {}).get("buildId")
            if isinstance(build_id, str) and matches(build_id) and owner_is_alive(path):
                return record
        return None


def list_names(directory: str) -> list[str]:
    """The sorted names in `directory`, none when it does not exist. Raises `OSError` otherwise."""
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def owner_is_alive(staged: str) -> bool | None:
    """Whether a builder holds the staged directory; None where no plain file stands in its lock's place.

    A link would lead elsewhere, and a pipe would never open. Raises `OSError`, `StoreError`.
    """
    path = os.path.join(staged, "owner.lock")
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return is_held(path) if stat.S_ISREG(mode) else None


def _owner_record(staged: str) -> dict[str, Any] | None:
    """`owner.json` of a staged directory; None also for a link, which no builder makes."""
    try:
        return read_json(os.path.join(staged, "owner.json"), OWNER_LIMIT)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return None


def read_json(path: str, limit: int = _RECORD_LIMIT) -> dict[str, Any] | None:
    """The JSON object in `path`; None when it is absent, no such thing, or has more than `limit` bytes.

    Raises `OSError` otherwise.
    """
    data = read_small(path, limit + 1)
    if data is None or len(data) > limit:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def number_of(record: dict[str, Any] | None) -> int:
    """The sequence number in a record, 0 where there is none."""
    value = (record or {}).get("sequence")
    return value if type(value) is int and value > 0 else 0


def read_number(path: str) -> int:
    """The number in the small file `path`, 0 when it is absent or torn. Raises `OSError` otherwise."""
    text = (read_small(path, 30) or b"").strip()
    return int(text) if text.isdigit() else 0

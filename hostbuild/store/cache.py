"""The cache directory: blobs, keys, locks, temp files, shared by all builds of one user on a machine.

```
<root>/version          "hostbuild cache 1"
<root>/CACHEDIR.TAG     backup programs leave the directory out (bford.info/cachedir)
<root>/blobs/           BlobStore
<root>/keys/            KeyStore
<root>/locks/           lock files, some 4096 at most, never deleted
<root>/claims/          one locked file for each process that uses blobs (Claims)
<root>/pruned           its mtime: when the cache was last pruned
<root>/tmp/             temp files, each locked by its writer
```
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hostbuild.errors import InvalidDigestError, StoreError
from hostbuild.oci.digest import Digest
from hostbuild.points import reach
from hostbuild.store.blobs import BlobStore, make_directories
from hostbuild.store.claims import Claims
from hostbuild.store.failures import Explaining, explain_os_error
from hostbuild.store.filesystems import check_locks
from hostbuild.store.keys import KeyStore
from hostbuild.store.locks import stripe
from hostbuild.store.ownership import open_parent
from hostbuild.store.syncing import read_small, replace_file

if TYPE_CHECKING:
    from hostbuild.store.holders import Holder, Wait
    from hostbuild.store.report import Removal

CACHE_VERSION = b"hostbuild cache 1\n"
_DIRECTORIES = ("blobs", "keys", "locks", "tmp", "claims")
#: What may lie in a root that has no version file yet: what a creation that was killed leaves.
_BEGINNING = frozenset((*_DIRECTORIES, "CACHEDIR.TAG", "lost+found"))
_TAG = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# This directory is hostbuild's cache. Its content can be made again at any time.\n"
)

_producing: ContextVar[bool] = ContextVar("hostbuild_producing", default=False)


class Cache:
    """The cache at `root`, created when it is not there.

    `owner` names this process in temp files (letters, digits, `_`, `-`), so that `clean_temp` can ask
    whether it lives; the pid is taken when it is empty. `holder` is what those are told who wait for this
    process; without it its own pid. Not sent to workers: they construct their own. A context manager: what
    this process found or put here is kept from prunes until `close`.

    Raises `StoreError` when the directory is another user's, writable by others, holds something else,
    was made by another version, or has a link where hostbuild's own directory belongs.
    """

    def __init__(
        self, root: str | os.PathLike[str], *, owner: str = "", holder: Holder | None = None
    ) -> None:
        self.root = os.path.abspath(os.fspath(root))
        token = owner or str(os.getpid())
        self._owner = token
        self._holder = holder
        self._temp = os.path.join(self.root, "tmp")
        self._locks = os.path.join(self.root, "locks")
        #: A file whose mtime is the time of the last prune.
        self.stamp = os.path.join(self.root, "pruned")
        self._prepare()
        sweep_lock = os.path.join(self._locks, "sweep.lock")
        self.claims = Claims(os.path.join(self.root, "claims"), sweep_lock, token)
        self.blobs = BlobStore(os.path.join(self.root, "blobs"), self._temp, token, self.claims)
        self.keys = KeyStore(os.path.join(self.root, "keys"), self._temp, token, self.claims)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up all claims; a second call does nothing."""
        self.blobs.claimed.clear()
        self.claims.end()

    def produce(
        self,
        key: str,
        make: Callable[[], dict[str, Any]],
        *,
        anew: bool = False,
        what: str = "makes something that is needed here too",
        on_wait: Callable[[Wait], None] | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, Any], bool]:
        """What the recipe `key` gives: from its record, else by `make`, once a machine.

        `make` stores a blob and returns a value with its `digest` (text) and `size`, and whatever else is
        to be remembered (JSON values); for any number of blobs, a list `layers` of such values. Returns the
        value, and whether `make` was called; with `anew` it is called whatever is recorded. A record
        counts only while the blobs that it names are here with the right size.

        The race: two processes look, both find nothing, both make. So the record is looked for again
        under the key's lock. `on_wait` is told once for whom this one waits when another process holds it,
        by `what` that one does ("writes the layer data"); `timeout` is seconds, None waits for ever.

        It does not nest: a `make` that calls `produce` could wait for a process that waits for it, so
        that is a RuntimeError. Produce what is needed first, then what needs it.

        Raises `WaitTimeoutError`, `StoreError`, and whatever `make` raises (nothing is recorded then).
        """
        if _producing.get():
            raise RuntimeError("Cache.produce does not nest")
        value = None if anew else self.recorded(key)
        if value is not None:
            return value, False
        from hostbuild.store.holders import held_by

        lock = os.path.join(self._locks, stripe(key))
        token = _producing.set(True)
        try:
            with held_by(self._holder, lock, what=what, on_wait=on_wait, timeout=timeout):
                value = None if anew else self.recorded(key)
                if value is not None:
                    return value, False
                reach("key-before-produce")
                value = make()
                if not self._counts(value):
                    raise StoreError(
                        "a blob that was just made is not in the cache",
                        digest=value.get("digest"),
                        why="another program removed it, or the recipe did not store it",
                        fix="build again",
                    )
                self._keep(key, value)
                return value, True
        finally:
            _producing.reset(token)

    def recorded(self, key: str, *, claim: bool = True) -> dict[str, Any] | None:
        """The value recorded for `key` if its blobs are here, else None. Does not wait for who makes it.

        With `claim` the blobs are claimed (`BlobStore.claim`), and the record, for who saw it here may do
        without what would be needed to make it anew; without, it is a pure look.

        Raises `StoreError`, and with `claim` `CorruptBlobError` for a blob that is damaged, which is looked
        at once a day (`rechecking`).
        """
        value, seen = self.keys.read(key)
        if value is None or not self._counts(value, claim=claim):
            return None
        if claim and value.get("layers") != []:
            self._recheck(key, value, seen)
        # A look at what gave no blobs claims nothing by itself: a build with nothing to do has many.
        if claim and self.claims.begun:
            path = self.keys.path(key)
            with Explaining("claim a cache record", self.keys.directory):
                if not self.claims.claim(path, lambda _: True):
                    return None
        return value

    def _recheck(self, key: str, value: dict[str, Any], seen: object) -> None:
        from hostbuild.store.inventory import named_blobs
        from hostbuild.store.rechecking import check, is_due

        named = named_blobs(value)
        if named and self.claims.begun and is_due(self.blobs, named, seen):
            check(self.blobs, named)
            self._keep(key, value)

    def _keep(self, key: str, value: dict[str, Any]) -> None:
        """Record a value whose blobs are known to be right."""
        from hostbuild.store.inventory import named_blobs
        from hostbuild.store.rechecking import seen_now

        named = named_blobs(value)
        self.keys.put(key, value, seen=seen_now(self.blobs, named) if named else None)

    def scratch(self) -> AbstractContextManager[str]:
        """An empty directory for a while: see `temp_directory`."""
        from hostbuild.store.tempfiles import temp_directory

        return temp_directory(self._temp, self._owner)

    def clean_temp(
        self, is_alive: Callable[[str], bool | None], *, dry_run: bool = False
    ) -> tuple[Removal, ...]:
        """Remove temp files of dead processes: see `clean_temp_files`. Safe while others write."""
        from hostbuild.store.tempfiles import clean_temp_files

        return tuple(clean_temp_files(self._temp, is_alive, dry_run=dry_run))

    def _counts(self, value: dict[str, Any], *, claim: bool = True) -> bool:
        layers = value.get("layers", [value])
        look = self.blobs.claim if claim else self.blobs.has
        return isinstance(layers, list) and all(_is_here(layer, look) for layer in layers)

    def _prepare(self) -> None:
        """Check the directory; five looks when it is there, else create it, the version last."""
        try:
            found = os.stat(self.root)
        except FileNotFoundError:
            with Explaining("make the cache directory", self.root):
                make_directories("/", self.root)
                found = os.stat(self.root)
        except OSError as error:
            raise explain_os_error(error, "open the cache directory", self.root) from error
        self._check(self.root, found)
        version = self._version()
        if version != CACHE_VERSION:
            self._create(version)
        for name in _DIRECTORIES:
            path = os.path.join(self.root, name)
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                with Explaining("make a directory", self.root):
                    os.makedirs(path, 0o700, exist_ok=True)
                    found = os.lstat(path)
            except OSError as error:
                raise explain_os_error(error, "open the cache", self.root) from error
            self._check(path, found)

    def _version(self) -> bytes:
        with Explaining("read the cache's version", self.root):
            return read_small(os.path.join(self.root, "version"), 100) or b""

    def _create(self, version: bytes) -> None:
        if version:
            raise StoreError(
                f'cannot use the cache "{self.root}"',
                why=f"it was made by another version of hostbuild ({version[:40]!r})",
                fix="choose another directory with --cache-dir, or remove it",
            )
        with Explaining("set up the cache", self.root):
            foreign = sorted(name for name in os.listdir(self.root) if not _ours(name))
            if foreign:
                raise StoreError(
                    f'will not use "{self.root}" as the cache',
                    why=f'it holds other files ("{foreign[0]}")',
                    fix="choose an empty or a new directory with --cache-dir",
                )
            for name in _DIRECTORIES:
                os.makedirs(os.path.join(self.root, name), 0o700, exist_ok=True)
            check_locks(self._locks)
            replace_file(os.path.join(self.root, "CACHEDIR.TAG"), _TAG)
            reach("cache-before-version")
            replace_file(os.path.join(self.root, "version"), CACHE_VERSION)

    def _check(self, path: str, found: os.stat_result) -> None:
        """Refuse what a neighbour could have put there, or could change. Raises `StoreError`."""
        with Explaining("look at the cache directory", path):
            above = open_parent(path) if path == self.root else ""
        why = ""
        fix = "choose a directory of your own with --cache-dir, or one inside it"
        if not stat.S_ISDIR(found.st_mode):
            kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a directory"
            why, fix = f"it is {kind}", "remove it, or choose another directory with --cache-dir"
        elif found.st_uid != os.geteuid():
            why = f"it belongs to another user (uid {found.st_uid}, you are {os.geteuid()})"
        elif found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
            why = f"other users can write it (mode {stat.S_IMODE(found.st_mode):04o})"
            fix = f'run: chmod go-w "{path}"'
        elif above:
            why = f'other users can replace it: they can write "{above}"'
            fix = "choose a directory that is yours all the way up with --cache-dir"
        if why:
            raise StoreError(f'will not use "{path}" as the cache', why=why, fix=fix, path=path)


def _is_here(layer: object, look: Callable[[Digest, int], bool]) -> bool:
    if not isinstance(layer, dict):
        return False
    digest, size = layer.get("digest"), layer.get("size")
    if not isinstance(digest, str) or type(size) is not int:
        return False
    try:
        return look(Digest.parse(digest), size)
    except InvalidDigestError:
        return False


def _ours(name: str) -> bool:
    return name in _BEGINNING or name == "version" or name.startswith((".version.", ".CACHEDIR.TAG."))

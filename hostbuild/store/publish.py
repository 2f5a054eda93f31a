"""Making a complete directory visible at a name that a user chose, at once or not at all."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Self

from hostbuild.errors import StoreError
from hostbuild.points import reach
from hostbuild.store.beside import LOCK, beside, clean_beside
from hostbuild.store.failures import Explaining
from hostbuild.store.locks import lock_new_file
from hostbuild.store.syncing import read_small, sync_directory
from hostbuild.store.trees import remove_tree

#: Names that an image layout directory may hold: those of image-layout.md, and what common tools add
#: (containerd's `ingest`, the docker archive's `manifest.json` and `repositories`).
_LAYOUT_NAMES = frozenset(
    {"oci-layout", "index.json", "blobs", "ingest", "manifest.json", "repositories"},
)
_ATTEMPTS = 20


class StagedDirectory:
    """A private, locked directory beside a destination; `path` in it is what gets published.

    Leaving the `with` block removes what was not published. One that a killed process left is removed
    by the next `stage_beside` for the same destination.
    """

    def __init__(self, holder: str, lock: int) -> None:
        self._holder = holder
        self._lock = lock
        self.path = os.path.join(holder, "content")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # Of two errors the first tells why; what is left is removed when it is no longer new.
            with (
                nullcontext() if error is None else suppress(StoreError),
                Explaining("remove a staged directory", self._holder),
            ):
                remove_tree(self._holder)
        finally:
            os.close(self._lock)


def stage_beside(destination: str) -> StagedDirectory:
    """A staged directory on the disk of `destination` (links resolved), named `.NAME.hostbuild-<random>`.

    Creates the parent. `path` does not exist yet: the caller makes it. Raises `StoreError`.
    """
    target = os.path.realpath(destination)
    parent, prefix = beside(target)
    with Explaining("make a directory", parent):
        _make(parent)
        clean_beside(target)
        while True:
            holder = os.path.join(parent, prefix + os.urandom(8).hex())
            _make(holder, 0o700)
            try:
                lock = lock_new_file(os.path.join(holder, LOCK))
            except BaseException:
                remove_tree(holder)
                raise
            if lock is not None:
                return StagedDirectory(holder, lock)


def _make(path: str, mode: int | None = None) -> None:
    """Make one new directory with `mode`, or without it all that miss. Raises `OSError`.

    The kernel's own file systems (/proc) say "no such file" of any name in them that is not theirs; where
    the directory above is there, that is no sign of a directory that somebody removed. `StoreError` then.
    """
    try:
        if mode is None:
            os.makedirs(path, exist_ok=True)
        else:
            os.mkdir(path, mode)
    except FileNotFoundError as error:
        above = os.path.dirname(path)
        while mode is None and not os.path.isdir(above):
            above = os.path.dirname(above)
        if not os.path.isdir(above):
            raise
        raise StoreError(
            f'cannot make files in "{above}"',
            why="this file system takes no files that it has not made itself",
            fix="choose another place with --cache-dir or --build-dir",
        ) from error


def is_replaceable(path: str) -> str:
    """Why the directory `path` must not be replaced by an image layout; "" when it may be.

    It may be when it is empty, or an image layout and nothing else. Raises `OSError`.
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        return "it is not a directory"
    names = set(os.listdir(path))
    if not names:
        return ""
    if foreign := sorted(names - _LAYOUT_NAMES):
        return f'it holds other files than an image layout\'s ("{foreign[0]}")'
    if not _is_marked(os.path.join(path, "oci-layout")):
        return "it is neither empty nor an image layout"
    return ""


def publish_directory(
    staged: str, destination: str, *, why_not: Callable[[str], str] = is_replaceable
) -> None:
    """Give the complete directory `staged` the name `destination` (links resolved), at once.

    What has the name is replaced when `why_not(path)` gives "". On Linux the two directories are
    exchanged in one step, so that a reader finds the older or the newer one; elsewhere there is an
    instant between two renames in which neither has the name. Both must be on one file system:
    `stage_beside`. Two processes that publish to one name both succeed, the later one stays.

    Raises `StoreError` ("would replace …" with the reason).
    """
    target = os.path.realpath(destination)
    parent = os.path.dirname(target)
    with Explaining(f'publish "{os.path.basename(target)}"', parent):
        os.makedirs(parent, exist_ok=True)
        sync_directory(staged)
        reach("publish-before-swap")
        for _ in range(_ATTEMPTS):
            if _publish_once(staged, target, why_not):
                reach("publish-after-swap")
                sync_directory(parent)
                remove_tree(staged)  # the older one, if there was one
                return
    raise StoreError(
        f'cannot publish "{target}"', why="another program keeps replacing it", fix="let one of them write it"
    )


def _publish_once(staged: str, target: str, why_not: Callable[[str], str]) -> bool:
    """One attempt; False when the name changed hands in between."""
    try:
        os.rename(staged, target)  # takes an absent name and an empty directory
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise
    else:
        return True
    try:
        _refuse(why_not(target), target)
        _exchange(staged, target)
    except FileNotFoundError:
        if not os.path.isdir(staged):
            raise
        return False
    # What was judged a moment ago may not be what was taken: judge what is in hand before it goes.
    if reason := why_not(staged):
        _exchange(staged, target)
        _refuse(reason, target)
    return True


def _refuse(reason: str, target: str) -> None:
    if reason:
        raise StoreError(
            f'would replace "{target}"', why=reason, fix="remove it, or choose another destination"
        )


def _exchange(one: str, other: str) -> None:
    if exchange_names(one, other):
        return
    aside = f"{one}.older"
    os.rename(other, aside)
    try:
        reach("publish-after-aside")
        os.rename(one, other)
    except BaseException:
        os.rename(aside, other)
        raise
    os.rename(aside, one)


def exchange_names(one: str, other: str) -> bool:
    """Swap two names in one step by renameat2(2); False where system or disk cannot. Raises `OSError`."""
    if sys.platform != "linux":
        return False
    import ctypes

    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    at_fdcwd, rename_exchange = -100, 2
    if function(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
        return False
    raise OSError(code, os.strerror(code), other)


def _is_marked(path: str) -> bool:
    try:
        return "imageLayoutVersion" in json.loads(read_small(path, 4096) or b"{}")
    except (ValueError, TypeError):
        return False
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False  # a link: no layout has that

"""What is written beside a name in a user's own directory until it gets that name.

There is no directory of ours that somebody cleans, so each such file or directory (named
`.NAME.hostbuild-<16 hex>`) carries a lock that the kernel frees: the next one who writes beside the same name
removes those of the dead.
"""

from __future__ import annotations

import os
import stat
import time

from hostbuild.points import reach
from hostbuild.store.locks import lock_descriptor, lock_new_file, remove_file
from hostbuild.store.syncing import sync_directory
from hostbuild.store.trees import remove_tree

#: A directory without a lock that is younger than this (seconds) may be about to get it.
_GRACE = 60.0
#: A directory's lock file in it. A file is its own lock.
LOCK = "lock"


def beside(path: str) -> tuple[str, str]:
    """The directory of `path`, and how the names beside it begin; 16 hex digits end them."""
    parent, name = os.path.split(path)
    return parent, f".{name[:48]}.hostbuild-"


def clean_beside(path: str) -> None:
    """Remove what killed processes left beside `path`. Raises `OSError`, `StoreError`."""
    parent, prefix = beside(path)
    for name in os.listdir(parent):
        if name.startswith(prefix) and len(name) == len(prefix) + 16:
            _remove_if_dead(os.path.join(parent, name))


def replace_beside(path: str, data: bytes, *, mode: int = 0o666) -> None:
    """Give `path` the content `data` at once, synced; a link of that name is replaced, not followed.

    The umask applies to `mode`. Raises `OSError`, and `StoreError` where there are no locks.
    """
    clean_beside(path)
    parent, prefix = beside(path)
    descriptor = None
    while descriptor is None:
        temp = os.path.join(parent, prefix + os.urandom(8).hex())
        descriptor = lock_new_file(temp, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
        reach("user-file-before-rename")
        os.rename(temp, path)
    except BaseException:
        remove_file(temp)
        raise
    finally:
        os.close(descriptor)
    sync_directory(parent)


def _remove_if_dead(path: str) -> None:
    """Its lock is held while it goes: who made it and is about to lock it sees that (`lock_new_file`)."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    lock = os.path.join(path, LOCK) if stat.S_ISDIR(found.st_mode) else path
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        if time.time() - found.st_ctime > _GRACE:
            remove_tree(path)
        return
    except OSError:  # another user's, or a link: not ours
        return
    try:
        if lock_descriptor(descriptor, lock):
            remove_tree(path)
    finally:
        os.close(descriptor)

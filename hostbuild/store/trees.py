"""Removing and measuring directory trees that others may be removing too."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator


def remove_tree(path: str) -> int:
    """Remove a file, link or directory tree; the bytes that came free (not those with other hard links).

    Links are never followed. What vanishes meanwhile is no error; directories that their owner may
    not write (Go's module cache) are opened first. Raises `OSError`.
    """
    freed = 0
    pending: list[tuple[str, bool]] = [(path, False)]
    while pending:
        current, emptied = pending.pop()
        try:
            if emptied:
                os.rmdir(current)
                continue
            found = os.lstat(current)
            if not stat.S_ISDIR(found.st_mode):
                os.unlink(current)
                freed += found.st_size if found.st_nlink == 1 else 0
                continue
            if found.st_mode & 0o700 != 0o700:
                os.chmod(current, 0o700)
            pending.append((current, True))
            with os.scandir(current) as entries:
                pending.extend((entry.path, False) for entry in entries)
        except FileNotFoundError:
            continue
    return freed


def leaves(path: str, *, passed_over: tuple[type[OSError], ...] = ()) -> Iterator[os.stat_result]:
    """The status of whatever is no directory at or below `path`, in no order; links are not followed.

    What vanishes meanwhile is left out, and so is what gives one of the errors `passed_over`. Raises
    `OSError`.
    """
    expected: tuple[type[OSError], ...] = (FileNotFoundError, *passed_over)
    pending = [path]
    while pending:
        current = pending.pop()
        try:
            found = os.lstat(current)
            if stat.S_ISDIR(found.st_mode):
                with os.scandir(current) as entries:
                    pending.extend(entry.path for entry in entries)
                continue
        except expected:
            continue
        yield found


def tree_size(path: str, *, only_own: bool = False) -> int:
    """The bytes of all plain files below `path`, each inode once; with `only_own` those with one link.

    What vanishes meanwhile counts nothing. Raises `OSError`.
    """
    total = 0
    seen: set[tuple[int, int]] = set()
    for found in leaves(path):
        if stat.S_ISREG(found.st_mode) and (found.st_dev, found.st_ino) not in seen:
            if found.st_nlink > 1:
                if only_own:
                    continue
                seen.add((found.st_dev, found.st_ino))
            total += found.st_size
    return total

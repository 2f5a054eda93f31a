"""Blobs whose bytes nobody has looked at for a day are read before they are used again.

A layer goes from the cache into a layout by a hard link, and nobody reads it on the way: its size is looked
at, which tells nothing of a disk that lost bits or of a file that somebody exchanged. So the record of a
recipe says when the bytes of its blobs were last compared with their digests, and which files these were.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from hostbuild.errors import CorruptBlobError
from hostbuild.oci.digest import Digest
from hostbuild.store.blobs import BlobStore, is_whole
from hostbuild.store.failures import Explaining

#: Seconds. A digest costs some 0.6 s for a GB; once a day nobody feels it.
CHECK_AGE = 86400.0

Blobs = list[tuple[Digest, int]]


def seen_now(blobs: BlobStore, named: Blobs) -> dict[str, Any]:
    """What to keep of blobs whose bytes are known to be right now."""
    return {"time": int(time.time()), "inodes": [_inode(blobs.path(digest)) for digest, _ in named]}


def is_due(blobs: BlobStore, named: Blobs, seen: object) -> bool:
    """Whether the bytes are to be read: they were not for a day, or other files have the names now."""
    if not isinstance(seen, Mapping) or not isinstance(seen.get("time"), int):
        return True
    since = time.time() - seen["time"]
    if not -CHECK_AGE < since < CHECK_AGE:
        return True
    return seen.get("inodes") != [_inode(blobs.path(digest)) for digest, _ in named]


def check(blobs: BlobStore, named: Blobs) -> None:
    """Read all of the blobs. Raises CorruptBlobError for the first that is damaged, and StoreError."""
    for digest, _ in named:
        path = blobs.path(digest)
        with Explaining("read a blob", os.path.dirname(path)):
            good = is_whole(path, digest)
        if not good:
            raise CorruptBlobError(
                f"blob {digest} in the cache is damaged",
                why=f'the bytes of "{path}" are not what its name says',
                fix="build again: it is made anew",
                digest=str(digest),
                path=path,
            )


def _inode(path: str) -> int:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return 0

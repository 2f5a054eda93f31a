"""What lies in the cache: walked without a lock, while others write and remove."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.errors import InvalidDigestError
from hostbuild.oci.digest import Digest
from hostbuild.store.claims import read_claims
from hostbuild.store.failures import Explaining
from hostbuild.store.trees import tree_size

if TYPE_CHECKING:
    from hostbuild.store.cache import Cache

_HEX = {"sha256": re.compile(r"[0-9a-f]{64}\Z"), "sha512": re.compile(r"[0-9a-f]{128}\Z")}
_SHARD = re.compile(r"[0-9a-f]{2}\Z")
_RECORD = re.compile(r"[0-9a-f]{62}\.json\Z")
#: What a network file system calls a file that was removed while it was open.
_REMOVED = ".nfs"

#: (mtime in ns, size in bytes, hard links, algorithm, hex): a plain tuple, for there can be very many.
BlobEntry = tuple[int, int, int, str, str]
#: (mtime in ns, size in bytes, key)
RecordEntry = tuple[int, int, str]
OnStray = Callable[[str, str], None]


class Tally(NamedTuple):
    """The number of files, and their bytes together."""

    number: int = 0
    size: int = 0


class Inventory(NamedTuple):
    """What lies in a cache. `linked` are the blobs that image layouts have hard links to; `free` are the
    bytes that are free on its disk, `pruned` the time of the last prune, or None.
    """

    blobs: Tally
    linked: Tally
    records: Tally
    temp: Tally
    claims: tuple[str, ...]
    dead_claims: int
    free: int
    pruned: float | None


def take_inventory(cache: Cache) -> Inventory:
    """Count all. `claims` names the owners of live claims: process ids. Raises `StoreError`."""
    count = size = links = linked_size = 0
    for _, length, names, _, _ in walk_blobs(cache.blobs.directory):
        count, size = count + 1, size + length
        if names > 1:
            links, linked_size = links + 1, linked_size + length
    records = [length for _, length, _ in walk_records(cache.keys.directory)]
    claims = read_claims(cache.claims.directory)
    return Inventory(
        blobs=Tally(count, size),
        linked=Tally(links, linked_size),
        records=Tally(len(records), sum(records)),
        temp=_temp(os.path.join(cache.root, "tmp")),
        claims=tuple(sorted(claim.owner for claim in claims if claim.live)),
        dead_claims=sum(not claim.live for claim in claims),
        free=free_space(cache.root),
        pruned=last_pruned(cache),
    )


def free_space(directory: str) -> int:
    """Bytes that this user may still fill on the disk of `directory`. Raises `StoreError`."""
    with Explaining("ask for free space", directory):
        found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def disk_size(directory: str) -> int:
    """Bytes of the disk that `directory` is on. Raises `StoreError`."""
    with Explaining("ask for the size of the disk", directory):
        found = os.statvfs(directory)
    return found.f_blocks * found.f_frsize


def last_pruned(cache: Cache) -> float | None:
    """When the cache was last pruned, in seconds since the epoch; None when it never was."""
    try:
        return os.lstat(cache.stamp).st_mtime
    except OSError:
        return None


def walk_blobs(directory: str, on_stray: OnStray | None = None) -> Iterator[BlobEntry]:
    """All blobs below `directory`, in no order; `on_stray` hears the path of what is none, and why.

    What vanishes meanwhile is left out. Raises `StoreError`.
    """
    for algorithm, folder in _folders(directory, on_stray):
        pattern = _HEX.get(algorithm)
        if pattern is None:
            _tell(on_stray, folder, "it is no directory of blobs")
            continue
        for shard, path in _folders(folder, on_stray):
            if not _SHARD.match(shard):
                _tell(on_stray, path, "it is no directory of blobs")
                continue
            for entry in _entries(path):
                name = entry.name
                if not pattern.match(name) or not name.startswith(shard):
                    _tell(
                        on_stray, entry.path, "a stray file: its name is no digest, or does not belong there"
                    )
                elif (found := _stat(entry)) is None:
                    continue
                elif not stat.S_ISREG(found.st_mode):
                    _tell(on_stray, entry.path, "it is not a plain file")
                else:
                    yield found.st_mtime_ns, found.st_size, found.st_nlink, algorithm, name


def walk_records(directory: str) -> Iterator[RecordEntry]:
    """All records of recipe keys below `directory`, in no order. Raises `StoreError`."""
    for shard, path in _folders(directory, None):
        for entry in _entries(path):
            if _RECORD.match(entry.name) and (found := _stat(entry)) and stat.S_ISREG(found.st_mode):
                yield found.st_mtime_ns, found.st_size, shard + entry.name.removesuffix(".json")


def named_blobs(value: object) -> list[tuple[Digest, int]]:
    """The blobs that a record's value says it gave (`Cache.produce`); those that are none are left out."""
    if not isinstance(value, dict):
        return []
    layers = value.get("layers", [value])
    found = []
    for layer in layers if isinstance(layers, list) else ():
        digest, size = (layer.get("digest"), layer.get("size")) if isinstance(layer, dict) else (None, None)
        if isinstance(digest, str) and type(size) is int:
            try:
                found.append((Digest.parse(digest), size))
            except InvalidDigestError:
                continue
    return found


def _folders(directory: str, on_stray: OnStray | None) -> Iterator[tuple[str, str]]:
    for entry in _entries(directory):
        if entry.is_dir(follow_symlinks=False):
            yield entry.name, entry.path
        else:
            _tell(on_stray, entry.path, "a stray file: only directories belong there")


def _entries(directory: str) -> Iterator[os.DirEntry[str]]:
    with Explaining("look through the cache", directory):
        try:
            with os.scandir(directory) as entries:
                yield from entries
        except FileNotFoundError:
            return


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _tell(on_stray: OnStray | None, path: str, why: str) -> None:
    if on_stray is not None and not os.path.basename(path).startswith(_REMOVED):
        on_stray(path, why)


def _temp(directory: str) -> Tally:
    with Explaining("look at temporary files", directory):
        sizes = [tree_size(entry.path) for entry in _entries(directory)]
    return Tally(len(sizes), sum(sizes))

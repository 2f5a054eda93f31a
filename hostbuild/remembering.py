"""What is remembered of one source from run to run: what its files were, and which layers it ships.

The files are a blob and its record, the layers records, as all that the cache keeps: what is damaged is none,
and what nobody asks for goes when the cache is pruned. They belong to the directory itself, by its inode, so
that one that is moved is known where it is now.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hostbuild import version
from hostbuild.errors import InvalidDigestError, StoreError
from hostbuild.oci.digest import Digest
from hostbuild.plan import key_of
from hostbuild.source import StatIndex, decode_index
from hostbuild.store.cache import Cache

#: Types of file systems (as mountinfo names them) that take times from this machine's own clock.
_OWN_CLOCK = frozenset(
    {
        "bcachefs",
        "btrfs",
        "erofs",
        "exfat",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "iso9660",
        "jfs",
        "msdos",
        "ntfs3",
        "overlay",
        "ramfs",
        "reiserfs",
        "squashfs",
        "tmpfs",
        "udf",
        "vfat",
        "xfs",
        "zfs",
    }
)


class SourceMemory:
    """Of the source at `root`. `anew`: nothing that was kept counts; `writes`: something is kept."""

    def __init__(self, cache: Cache, root: str, *, anew: bool, writes: bool) -> None:
        self._cache = cache
        self._root = os.path.realpath(root)
        self._anew = anew
        self._writes = writes
        self._clocks: dict[int, bool] = {}
        self._mine: dict[str, Mapping[str, Any]] = {}

    def load_index(self) -> StatIndex:
        """What the files were when they were read last; empty where that is not known."""
        root = os.fsencode(self._root)
        found = None if self._anew else self._record()
        if found is None:
            return StatIndex(root)
        try:
            return decode_index(self._cache.blobs.read(*found), root)
        except StoreError:
            return StatIndex(root)

    def save_index(self, index: StatIndex) -> None:
        """Keep this in place of what was saved before. Raises StoreError."""
        older = self._record()
        digest, size = self._cache.blobs.put(index.encode())
        value = {"digest": str(digest), "size": size, "epoch": self._epoch(begin=True)}
        self._cache.keys.put(self._key("files"), value)
        if older is not None and older[0] != digest:
            self._cache.blobs.discard(older[0])

    def discard(self) -> None:
        """Forget the files, and what any request made of them. Raises StoreError."""
        self._anew = True
        self._mine.clear()
        self._cache.keys.discard(self._key("files"))

    def recall(self, kind: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """What `keep` was given for these inputs: by another process too, unless all is made anew."""
        key = self._key(kind, **inputs)
        if key in self._mine:
            return self._mine[key]
        record = (None if self._anew else self._cache.keys.get(key)) or {}
        value, epoch = record.get("value"), record.get("epoch")
        if not isinstance(value, dict) or record.get("sum") != _sum(value) or epoch != self._epoch():
            return {}
        return value

    def keep(self, kind: str, inputs: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Keep it in place of what was kept before. Raises StoreError."""
        key = self._key(kind, **inputs)
        self._mine[key] = value
        if self._writes:
            epoch = self._epoch(begin=True)
            self._cache.keys.put(key, {"value": value, "sum": _sum(value), "epoch": epoch})

    def same_clock(self, path: bytes, device: int) -> bool:
        """Whether times on this device, on which `path` lies, are of this machine's clock."""
        if device not in self._clocks:
            self._clocks[device] = _has_own_clock(os.fsdecode(path))
        return self._clocks[device]

    def _epoch(self, *, begin: bool = False) -> str:
        """What all that is kept has in common until it is forgotten; a new one where there is none."""
        key = self._key("files")
        epoch = (self._cache.keys.get(key) or {}).get("epoch")
        if isinstance(epoch, str) and epoch:
            return epoch
        epoch = os.urandom(8).hex()
        if begin:
            self._cache.keys.put(key, {"epoch": epoch})
        return epoch

    def _record(self) -> tuple[Digest, int] | None:
        record = self._cache.keys.get(self._key("files")) or {}
        digest, size = record.get("digest"), record.get("size")
        if not isinstance(digest, str) or not isinstance(size, int):
            return None
        try:
            return Digest.parse(digest), size
        except InvalidDigestError:
            return None

    def _key(self, kind: str, **inputs: Any) -> str:
        try:
            status = os.stat(self._root)
        except OSError:
            place = [self._root]  # whoever looks at the source says what is wrong with it
        else:
            place = [str(status.st_dev), str(status.st_ino)]
        return key_of(f"source {kind}", place=place, version=version.VERSION, **inputs)


def _sum(value: Mapping[str, Any]) -> str:
    return key_of("source memory", value=value)


def _has_own_clock(path: str) -> bool:
    from hostbuild.store.filesystems import mount_of, read_mounts

    mounts = read_mounts()
    mount = mount_of(os.path.realpath(os.path.dirname(path)), mounts)
    # Where there is no list of mounts there is no way to tell; macOS, where most file systems are its own.
    return mount.kind in _OWN_CLOCK if mount is not None else not mounts

"""A blob that is found damaged while it is used is dropped, said, and made anew in the same build."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from hostbuild.errors import (
    BaseImageError,
    CorruptBlobError,
    ElfError,
    HostbuildError,
    LocalImageError,
    StoreError,
    WheelError,
)
from hostbuild.model import Event, EventCallback
from hostbuild.oci.digest import Digest
from hostbuild.store.cache import Cache

_Made = TypeVar("_Made")

#: What a damaged blob can show as: who reads a wheel or a base's layer does not ask for its digest first.
_SIGNS = (BaseImageError, ElfError, LocalImageError, StoreError, WheelError)
#: Each attempt may find one more; a disk that damages whatever is made is not healed by making it again.
_ATTEMPTS = 20


def healing(cache: Cache, tell: EventCallback, action: Callable[[], _Made]) -> _Made:
    """What `action` gives; it is begun anew after an error that a damaged blob of the cache explains.

    Raises what `action` raises.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return action()
        except _SIGNS as error:
            if not drop_damaged(cache, error, tell):
                raise
    return action()


def drop_damaged(
    cache: Cache, error: HostbuildError, tell: EventCallback, also: Iterable[tuple[Digest, int]] = ()
) -> bool:
    """Drop what is damaged among the blobs that this process uses, those in `also` and the one in `error`.

    Whether there was any, or one that has vanished (a repair drops what is damaged). All of them are read
    for it: about a second for a GB, only where something failed.
    """
    suspects = {**cache.blobs.claimed, **dict(also)}
    named = error.extra.get("digest")
    if isinstance(error, CorruptBlobError) and isinstance(named, str):
        suspects.setdefault(Digest.parse(named), -1)
    found = False
    for digest, size in suspects.items():
        if cache.blobs.drop_if_damaged(digest):
            said = "was damaged and is made anew"
        elif size >= 0 and not cache.blobs.has(digest, size):
            cache.blobs.claimed.pop(digest, None)
            said = "was removed by another program and is made anew"
        else:
            continue
        found = True
        tell(Event("warning", f"a blob in the cache {said}: {digest}", data={"digest": str(digest)}))
    return found

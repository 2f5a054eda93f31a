"""Wheels into the cache: each once on this machine, however many processes want it.

The race is that of all blobs: two processes need a wheel and neither has it. So it is fetched under the lock
of its digest, and looked for again there (`Cache.produce`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from hostbuild.crew import Crew
from hostbuild.errors import OfflineError, WheelError
from hostbuild.model import Access, Event, EventCallback, ignore_event
from hostbuild.oci.digest import Digest
from hostbuild.oci.quoting import quote
from hostbuild.plan import key_of
from hostbuild.points import reach
from hostbuild.store.cache import Cache
from hostbuild.wheels.credentials import Credentials
from hostbuild.wheels.places import Place, Reach, Tally
from hostbuild.wheels.wanted import WheelSource

#: Connections that one process opens for wheels.
PARALLEL = 6
_NAMED = 5


class CachedWheel(NamedTuple):
    """A wheel in the cache: where its bytes are, and whether they had to be fetched now."""

    filename: str
    digest: Digest
    size: int
    path: str
    is_new: bool


def fetch_wheels(
    plan: Sequence[WheelSource],
    cache: Cache,
    access: Access,
    on_event: EventCallback = ignore_event,
    *,
    credentials: Credentials | None = None,
) -> tuple[CachedWheel, ...]:
    """Bring the wheels into the cache, verified, in the order of `plan`; connections only where one misses.

    `credentials` are for the servers that the locations name. The first error ends all that is under way.

    Raises WheelError (another digest than wanted, no digest for what comes from a server, a file that cannot
    be read), OfflineError, StoreError, and the errors of HTTP: UnreachableError, AuthenticationError,
    NetworkError, ….
    """
    job = _Job(cache, access, on_event, credentials or Credentials())
    found = [job.look(source) for source in plan]
    missing = {
        source.digest or source.location: source for source, got in zip(plan, found, strict=True) if not got
    }
    if not missing:
        return tuple(wheel for wheel in found if wheel)
    if access.offline:
        _refuse_offline([source for source in missing.values() if not Place.parse(source.location).is_here])
    fetched = job.fetch_all(list(missing.values()))
    return tuple(
        wheel or fetched[source.digest or source.location]._replace(filename=source.filename)
        for source, wheel in zip(plan, found, strict=True)
    )


def _refuse_offline(sources: Sequence[WheelSource]) -> None:
    if sources:
        names = ", ".join(quote(source.filename) for source in sources[:_NAMED])
        more = f" and {len(sources) - _NAMED} more" if len(sources) > _NAMED else ""
        raise OfflineError(
            f"{len(sources)} wheels are not in the cache",
            why=f"--offline forbids to fetch {names}{more}",
            fix="build once without --offline",
        )


class _Job:
    """One call of `fetch_wheels`: threads take from one list, over one transport."""

    def __init__(
        self, cache: Cache, access: Access, on_event: EventCallback, credentials: Credentials
    ) -> None:
        self._cache = cache
        self._access = access
        self._on_event = on_event
        self._credentials = credentials

    def look(self, source: WheelSource) -> CachedWheel | None:
        """The wheel, if it is in the cache."""
        digest, size = source.digest, source.size
        if digest is None:
            return None
        if size is None or not self._cache.blobs.claim(digest, size):
            value = self._cache.recorded(_key(digest))
            if value is None or size not in (None, value["size"]):
                return None
            size = int(value["size"])
        return CachedWheel(source.filename, digest, size, self._cache.blobs.path(digest), False)

    def fetch_all(self, sources: Sequence[WheelSource]) -> dict[Digest | str, CachedWheel]:
        """Fetch on threads, and wait for them; the first error stops the others and is raised."""
        from hostbuild.http import Transport

        begun = time.monotonic()
        fetched: dict[Digest | str, CachedWheel] = {}
        tally = Tally(self._on_event, sum(source.size or 0 for source in sources))
        with Transport(self._access, on_event=self._on_event, pool=PARALLEL) as transport:
            reach = Reach(transport, self._credentials, self._on_event)

            def fetch(source: WheelSource) -> None:
                place = Place.parse(source.location, reach)
                fetched[source.digest or source.location] = self._fetch(source, place, tally)

            Crew(PARALLEL, threading.Event(), transport.close).run(
                partial(fetch, source) for source in sources
            )
        self._tell(list(fetched.values()), time.monotonic() - begun)
        return fetched

    def _tell(self, wheels: Sequence[CachedWheel], seconds: float) -> None:
        new = [wheel for wheel in wheels if wheel.is_new]
        if new:
            size = sum(wheel.size for wheel in new)
            count = "1 wheel" if len(new) == 1 else f"{len(new)} wheels"
            self._on_event(
                Event(
                    "info",
                    f"{count} fetched in {seconds:.1f} s",
                    data={"step": "wheels", "count": len(new), "size": size},
                )
            )

    def _fetch(self, source: WheelSource, place: Place, tally: Tally) -> CachedWheel:
        if source.digest is None:
            if not place.is_here:
                raise WheelError(
                    f"{quote(source.filename)} will not be fetched",
                    why="the lock has no digest for it, so nobody could tell what came",
                    fix="lock anew, from an index that gives digests",
                    wheel=source.filename,
                    member="",
                )
            digest, size = self._bring(source, place, tally)
            return CachedWheel(source.filename, digest, size, self._cache.blobs.path(digest), True)
        wanted = source.digest

        def make() -> dict[str, Any]:
            if source.size is not None and self._cache.blobs.claim(wanted, source.size):
                return {"digest": str(wanted), "size": source.size}
            digest, size = self._bring(source, place, tally)
            return {"digest": str(digest), "size": size}

        value, made = self._cache.produce(
            _key(wanted),
            make,
            what=f"fetches {source.filename}",
            on_wait=lambda wait: self._on_event(Event("waiting", wait.text, data={"pid": wait.pid})),
        )
        return CachedWheel(source.filename, wanted, int(value["size"]), self._cache.blobs.path(wanted), made)

    def _bring(self, source: WheelSource, place: Place, tally: Tally) -> tuple[Digest, int]:
        algorithm = source.digest.algorithm if source.digest else "sha256"
        with self._cache.blobs.writer(algorithm) as writer:

            def write(data: bytes | memoryview) -> None:
                writer.write(data)
                reach("wheel-partly-fetched")

            place.copy(source.filename, source.size, tally.counting(write, source.size))
            digest, size = writer.digest, writer.size
            if digest != (source.digest or digest):
                raise WheelError(
                    f"{quote(source.filename)} is not the wheel that was locked",
                    why=f"{place} gives {size} bytes with the digest {digest}, locked is {source.digest}",
                    fix="lock anew if it was replaced on purpose; otherwise do not trust it",
                    wheel=source.filename,
                    member="",
                )
            writer.commit(digest, size)
        return digest, size


def _key(digest: Digest) -> str:
    return key_of("wheel", digest=str(digest))

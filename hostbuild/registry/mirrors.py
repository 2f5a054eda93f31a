"""Mirrors: other hosts that serve a registry's content, tried before it, for pulls only.

A mirror is written `host[:port][/prefix]`: `mirror.example/hub` serves docker.io/library/nginx as
`mirror.example`'s repository `hub/library/nginx`. A mirror that fails, or lacks what is asked for, is passed
over; what it serves is verified by its digest as a registry's own answer is. A tag is what the first mirror
says it is.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from hostbuild.errors import (
    BaseImageError,
    CorruptBlobError,
    HostbuildError,
    InvalidReferenceError,
    NetworkError,
    SettingsError,
    UnreachableError,
)
from hostbuild.model import Event, EventCallback, Pairs
from hostbuild.oci.quoting import quote
from hostbuild.oci.reference import Reference

#: What a mirror is passed over for; anything else is no fault of its.
FAULTS = (NetworkError, UnreachableError, CorruptBlobError, BaseImageError)


class Mirror(NamedTuple):
    """A mirror's host, and what it puts before a repository ("" for nothing)."""

    registry: str
    prefix: str = ""

    def repository(self, repository: str) -> str:
        """The name that the mirror has for a repository."""
        return f"{self.prefix}/{repository}" if self.prefix else repository

    def __str__(self) -> str:
        return f"{self.registry}/{self.prefix}" if self.prefix else self.registry


def parse_mirror(text: str) -> Mirror:
    """The mirror that `host[:port][/prefix]` spells. Raises SettingsError."""
    host, _, prefix = text.rstrip("/").partition("/")
    fix = "write it as host[:port][/prefix], such as mirror.example:5000/hub"
    if "://" in text:
        raise SettingsError(f"{quote(text)} is not a mirror", why="it has a scheme", fix=fix)
    try:
        # A host that stands alone needs a dot or a port to be told from a repository; here it always is the
        # host.
        known = host if any(sign in host for sign in ".:") or host == "localhost" else f"{host}:443"
        Reference.parse(f"{known}/{prefix + '/' if prefix else ''}x")
    except InvalidReferenceError as error:
        raise SettingsError(f"{quote(text)} is not a mirror", why=error.why, fix=fix) from None
    return Mirror(host, prefix)


class Mirrors:
    """The mirrors of all registries, without those that have failed; for use by many threads."""

    def __init__(self, pairs: Pairs, on_event: EventCallback) -> None:
        self._on_event = on_event
        self._lock = threading.Lock()
        self._passed_over: set[Mirror] = set()
        self._mirrors: dict[str, list[Mirror]] = {}
        for registry, address in pairs:
            known = "docker.io" if registry == "index.docker.io" else registry
            self._mirrors.setdefault(known, []).append(parse_mirror(address))

    def of(self, registry: str) -> tuple[Mirror, ...]:
        """Those to try before `registry`, in order."""
        with self._lock:
            return tuple(
                mirror for mirror in self._mirrors.get(registry, ()) if mirror not in self._passed_over
            )

    def pass_over(self, mirror: Mirror, error: HostbuildError) -> None:
        """Ask this mirror nothing more; said once."""
        with self._lock:
            if mirror in self._passed_over:
                return
            self._passed_over.add(mirror)
        self._on_event(
            Event("warning", f"the mirror {mirror} is passed over: {error}", data={"mirror": str(mirror)})
        )

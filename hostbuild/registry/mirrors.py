"""Mirrors: other hosts that serve a registry's content, tried before it, for pulls only.

A mirror is written `host[:port][/prefix]`: `mirror.example/hub` serves docker.io/library/nginx as
`mirror.example`'s repository `hub/library/nginx`. A mirror that fails, or lacks what is asked for, is passed
over; what it serves is verified by its digest as a registry's own answer is. A tag is what the first mirror
says it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from hostbuild.errors import (
    BaseImageError,
    CorruptBlobError,
    HostbuildError,
    InvalidReferenceError,
    NetworkError,
    NotInRegistryError,
    ProtocolError,
    SettingsError,
    TlsError,
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


class Answers:
    """What mirrors answered to one question: the registry's own failure may be explained by it."""

    def __init__(self) -> None:
        self._answers: list[str] = []

    def add(self, mirror: Mirror, error: HostbuildError | None = None) -> None:
        """Note what a mirror said; without an error, that it lacks what was asked for."""
        if error is None or isinstance(error, NotInRegistryError):
            self._answers.append(f"the mirror {mirror} does not have it")
        else:
            self._answers.append(f"the mirror {mirror} failed: {error.why or error.what}")

    @contextmanager
    def told(self) -> Iterator[None]:
        """Where the registry cannot be reached either, the error also says what the mirrors answered."""
        try:
            yield
        except (UnreachableError, TlsError, ProtocolError) as error:
            if self._answers:
                error.why = "; ".join(([error.why] if error.why else []) + self._answers)
                self._answers = []
            raise


class Mirrors:
    """The mirrors of all registries, without those that have failed; for use by many threads."""

    def __init__(self, pairs: Pairs, on_event: EventCallback) -> None:
        self._on_event = on_event
        self._lock = threading.Lock()
        self._passed_over: dict[Mirror, HostbuildError] = {}
        self._served: set[Mirror] = set()
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

    def asked(self, registry: str) -> Answers:
        """Answers to a new question, with those of the mirrors that failed and are not asked any more."""
        answers = Answers()
        with self._lock:
            for mirror in self._mirrors.get(registry, ()):
                if mirror in self._passed_over:
                    answers.add(mirror, self._passed_over[mirror])
        return answers

    def served(self, mirror: Mirror, name: str) -> None:
        """Something of the repository `name` came from this mirror; said once a mirror."""
        with self._lock:
            if mirror in self._served:
                return
            self._served.add(mirror)
        self._on_event(
            Event(
                "info", f"{name} comes from the mirror {mirror}", data={"mirror": str(mirror), "name": name}
            )
        )

    def pass_over(self, mirror: Mirror, error: HostbuildError) -> None:
        """Ask this mirror nothing more; said once."""
        with self._lock:
            if mirror in self._passed_over:
                return
            self._passed_over[mirror] = error
        self._on_event(
            Event("warning", f"the mirror {mirror} is passed over: {error}", data={"mirror": str(mirror)})
        )

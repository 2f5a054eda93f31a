"""Registries and their repositories: what the rest of hostbuild asks of them.

One `Registries` a process: one transport, one session a registry, and what was learned of each registry and
mirror. Everything here may be used by many threads at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from hostbuild.errors import NotInRegistryError, OfflineError
from hostbuild.http import download
from hostbuild.model import Access, Event, EventCallback, ignore_event
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.reference import Reference
from hostbuild.registry import fetching, manifests, referrers
from hostbuild.registry.mirrors import FAULTS, Mirror, Mirrors
from hostbuild.registry.patience import Pacing
from hostbuild.registry.place import Place
from hostbuild.registry.uploads import BlobStatus, Limits, Upload

if TYPE_CHECKING:
    from hostbuild.http import Transport
    from hostbuild.registry.bodies import Opener
    from hostbuild.registry.credentials import CredentialStore
    from hostbuild.registry.session import RegistrySession


class Host(NamedTuple):
    """One registry as this process knows it: how to ask it, and what bodies it takes."""

    session: RegistrySession
    limits: Limits


class Registries:
    """The registries that one process talks to; a context manager. Nothing is asked before it is needed.

    `pool` is how many connections to one host are kept. Raises SettingsError for a mirror that cannot be
    understood.
    """

    def __init__(self, access: Access, *, on_event: EventCallback = ignore_event, pool: int = 8) -> None:
        self.access = access
        self._lock = threading.RLock()
        self._event_lock = threading.Lock()
        self._closed = threading.Event()
        self._hosts: dict[str, Host] = {}
        self._transport: Transport | None = None
        self._credentials: CredentialStore | None = None
        self._pool = pool
        self.on_event = self.one_at_a_time(on_event)
        self.mirrors = Mirrors(access.mirrors, self.on_event)
        self.pacing = Pacing(access.retry_time, self.on_event, self._closed.wait)

    def one_at_a_time(self, on_event: EventCallback) -> EventCallback:
        """The callback, called by one thread at a time."""
        if on_event is ignore_event:
            return on_event

        def emit(event: Event) -> None:
            with self._event_lock:
                on_event(event)

        return emit

    def repository(self, reference: Reference) -> Repository:
        """The repository that a reference names; asks nothing yet. Raises OfflineError."""
        if self.access.offline:
            raise OfflineError(
                f"{reference.name} cannot be asked",
                why="--offline forbids the network",
                fix="leave --offline out, or have in the cache what is needed",
            )
        return Repository(self, reference)

    def host(self, registry: str) -> Host:
        """The one session with a registry, or with a mirror."""
        with self._lock:
            if registry not in self._hosts:
                self._hosts[registry] = Host(self._session(registry), Limits())
            return self._hosts[registry]

    @property
    def transport(self) -> Transport:
        """The one transport, made when it is first needed."""
        with self._lock:
            if self._transport is None:
                from hostbuild.http import Transport

                self._transport = Transport(self.access, on_event=self.on_event, pool=self._pool)
                if self._closed.is_set():
                    self._transport.close()
            return self._transport

    def _session(self, registry: str) -> RegistrySession:
        from hostbuild.registry.credentials import CredentialStore
        from hostbuild.registry.session import RegistrySession

        if self._credentials is None:
            self._credentials = CredentialStore(self.access, on_event=self.on_event)
        return RegistrySession(self.transport, self._credentials, registry, self.on_event)

    def close(self) -> None:
        """Break what is under way and wake what waits; from any thread. Nothing can be asked after it."""
        self._closed.set()
        with self._lock:
            transport = self._transport
        if transport is not None:
            transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Repository:
    """One repository, and the tag or digest that its reference names."""

    def __init__(self, registries: Registries, reference: Reference) -> None:
        self.reference = reference
        self._registries = registries

    def _place(self) -> Place:
        session = self._registries.host(self.reference.registry).session
        return Place(session, self.reference.repository, self.reference.familiar_name)

    def _mirrored(self) -> list[tuple[Place, Mirror]]:
        return [
            (self._mirror_place(mirror), mirror)
            for mirror in self._registries.mirrors.of(self.reference.registry)
        ]

    def _mirror_place(self, mirror: Mirror) -> Place:
        repository = mirror.repository(self.reference.repository)
        session = self._registries.host(mirror.registry).session
        return Place(session, repository, f"{mirror.registry}/{repository}", mirror=True)

    def head(self, identifier: str) -> Descriptor | None:
        """The descriptor of a tag's or digest's manifest; None when it is absent, or may not be seen (403).

        Mirrors are asked first. Where HEAD tells too little it is a GET. A tag's digest is the registry's
        word: what is fetched by it is verified.
        """
        mirrors, name = self._registries.mirrors, self.reference.familiar_name
        answers = mirrors.asked(self.reference.registry)
        for place, mirror in self._mirrored():
            try:
                found = manifests.head(place, identifier, place.pull_scopes)
            except FAULTS as error:
                answers.add(mirror, error)
                mirrors.pass_over(mirror, error)
                continue
            if found is not None:
                mirrors.served(mirror, name)
                return found
            answers.add(mirror)
        place = self._place()
        with answers.told():
            return manifests.head(place, identifier, place.pull_scopes)

    def holds(self, identifier: str, descriptor: Descriptor) -> bool:
        """Whether the registry itself has `descriptor`'s manifest under this tag or digest (asked as a push
        asks).
        """
        place = self._place()
        return manifests.holds(place, identifier, descriptor, place.push_scopes)

    def manifest(self, identifier: str) -> tuple[Descriptor, bytes]:
        """A tag's or digest's manifest or index, at most 4 MiB, verified by its digest. Mirrors are asked
        first.

        Raises NotInRegistryError, BaseImageError (schema 1), ProtocolError (no manifest, or not what the
        registry's own digest says), CorruptBlobError (not the digest asked for).
        """
        mirrors = self._registries.mirrors
        answers = mirrors.asked(self.reference.registry)
        for place, mirror in self._mirrored():
            try:
                found = manifests.read(place, identifier, place.pull_scopes)
            except FAULTS as error:
                answers.add(mirror, error)
                if not isinstance(error, NotInRegistryError):
                    mirrors.pass_over(mirror, error)
                continue
            mirrors.served(mirror, self.reference.familiar_name)
            return found
        place = self._place()
        with answers.told():
            return manifests.read(place, identifier, place.pull_scopes)

    def fetch(self, descriptor: Descriptor, write: Callable[[bytes | memoryview], object]) -> None:
        """Give a whole blob to `write`, in order, each byte once; after breaks the rest is asked for. What
        `write` gets is valid until it returns.

        Mirrors are asked first, the addresses of a foreign layer's descriptor last. The size is checked; the
        digest is for the caller's writer to check. Raises NotInRegistryError, UnreachableError,
        ProtocolError, and CorruptBlobError where a mirror served other bytes (it is not asked again: fetch
        anew).
        """
        registries = self._registries
        sources: list[fetching.Source] = [
            fetching.PlaceSource(place, mirror) for place, mirror in self._mirrored()
        ]
        verifying = fetching.Verifying(descriptor, write) if sources else None
        sources.append(fetching.PlaceSource(self._place()))
        sources += fetching.foreign_sources(descriptor, registries.transport)
        answers = registries.mirrors.asked(self.reference.registry)
        stream = fetching.OneStream(descriptor, sources, registries.mirrors, answers)
        with answers.told():
            download(
                stream,
                verifying or write,
                size=descriptor.size,
                what=f"fetching blob {descriptor.digest} from {self.reference.familiar_name}",
                access=registries.access,
                on_event=registries.on_event,
            )
        for mirror in stream.used:
            registries.mirrors.served(mirror, self.reference.familiar_name)
        if verifying is not None:
            verifying.check(stream.used, registries.mirrors)

    def push_blob(
        self,
        descriptor: Descriptor,
        opener: Opener,
        *,
        mount_from: Sequence[str] = (),
    ) -> BlobStatus:
        """Have a blob here: found, mounted from one of the repositories of this registry, or uploaded.

        `opener(offset)` gives its bytes from there on; it may be called several times. Raises RegistryError,
        UnreachableError, CorruptBlobError when it gives fewer bytes than `descriptor.size`, and what
        `opener` raises.
        """
        limits = self._registries.host(self.reference.registry).limits
        upload = Upload(self._place(), descriptor, opener, limits=limits, pacing=self._registries.pacing)
        return upload.run(mount_from)

    def put_manifest(self, identifier: str, data: bytes, media_type: str) -> None:
        """Put a manifest or index under a tag or a digest; what it names must be there before.

        Where it has a subject and the registry does not list referrers, the fallback tag's index is
        maintained. Raises RegistryError, also when the registry then has other bytes than these.
        """
        subject = referrers.subject_of(data, media_type)
        headers = manifests.write(self._place(), identifier, data, media_type)
        if subject is not None and not headers.get("OCI-Subject"):
            entry = referrers.entry_for(data, media_type)
            referrers.add_referrer(self._tags(), subject.digest, entry, pause=self._pause)

    def _tags(self) -> referrers.Tags:
        return _OwnTags(self._place())

    def _pause(self, attempt: int) -> None:
        pacing = self._registries.pacing
        pacing.sleep(pacing.random() * 0.1 * 2**attempt)


class _OwnTags:
    """The registry's own tags, without mirrors, as a writer sees them."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def read(self, tag: str) -> tuple[Descriptor, bytes]:
        return manifests.read(self._place, tag, self._place.push_scopes)

    def write(self, tag: str, data: bytes, media_type: str) -> None:
        manifests.write(self._place, tag, data, media_type, contended=True)

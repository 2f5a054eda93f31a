"""Images in memory for the tests of this room, and clients that do not really wait."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from hostbuild.http import Transport
from hostbuild.model import Access, Event
from hostbuild.oci import media_types
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.index import Index
from hostbuild.oci.json import canonical
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.platform import Platform
from hostbuild.oci.reference import Reference
from hostbuild.registry import Registries, Repository


class Content:
    """A `PushContent`; `opened` are the offsets at which blobs were opened."""

    def __init__(self) -> None:
        self.data: dict[Digest, bytes] = {}
        self.known_in: dict[Digest, tuple[Reference, ...]] = {}
        self.opened: list[tuple[Digest, int]] = []
        self.reads = 0

    def add(self, media_type: str, data: bytes, **fields: Any) -> Descriptor:
        descriptor = Descriptor.of(media_type, data, **fields)
        self.data[descriptor.digest] = data
        return descriptor

    def read(self, descriptor: Descriptor) -> bytes:
        self.reads += 1
        return self.data[descriptor.digest]

    def open(self, descriptor: Descriptor, offset: int) -> BinaryIO:
        self.opened.append((descriptor.digest, offset))
        return io.BytesIO(self.data[descriptor.digest][offset:])

    def origins(self, descriptor: Descriptor) -> tuple[Reference, ...]:
        return self.known_in.get(descriptor.digest, ())

    def image(self, architecture: str, layers: Sequence[bytes], **fields: Any) -> Descriptor:
        config = self.add(media_types.OCI_CONFIG, canonical({"architecture": architecture, "os": "linux"}))
        added = tuple(self.add(media_types.OCI_LAYER, layer) for layer in layers)
        data = Manifest(config=config, layers=added, **fields).encode()
        return self.add(media_types.OCI_MANIFEST, data, platform=Platform.parse(f"linux/{architecture}"))

    def index(self, *children: Descriptor) -> Descriptor:
        return self.add(media_types.OCI_INDEX, Index(children).encode())


class Client:
    """Registries whose waiting is written down, and their events."""

    def __init__(self, access: Access) -> None:
        self.events: list[Event] = []
        self.slept: list[float] = []
        self.registries = Registries(access, on_event=self.events.append)
        self.registries._transport = Transport(
            access, on_event=self.registries.on_event, sleep=self.slept.append, random=lambda: 0.0
        )
        self.registries.pacing = self.registries.pacing._replace(sleep=self.slept.append, random=lambda: 0.0)

    def repository(self, name: str) -> Repository:
        return self.registries.repository(Reference.parse(name))

    def kinds(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


@contextmanager
def client(access: Access | None = None) -> Iterator[Client]:
    one = Client(access or Access(retry_time=20.0, silence=5.0))
    with one.registries:
        yield one

"""A blob that is pushed to the registry in memory, and what became of it."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import BinaryIO

from hostbuild.oci.descriptor import Descriptor
from hostbuild.registry.uploads import Limits
from tests.registry.image import Client
from tests.registry.server import MemoryRegistry

DATA = random.Random(1).randbytes(300_000)
BLOB = Descriptor.of("application/octet-stream", DATA)
UPLOAD = r"/blobs/uploads/u\d"


def opener(data: bytes = DATA) -> Callable[[int], BinaryIO]:
    return lambda offset: io.BytesIO(data[offset:])


def limits(user: Client, registry: MemoryRegistry, start: int = 65536, least: int = 4096) -> Limits:
    """Chunk sizes that fit the test's blob."""
    found = user.registries.host(registry.address).limits
    found.start, found.least = start, least
    return found


def push(user: Client, registry: MemoryRegistry, *sources: str, blob: Descriptor = BLOB) -> str:
    repository = user.repository(f"{registry.address}/team/app:v1")
    return repository.push_blob(blob, opener(), mount_from=sources)


def stored(registry: MemoryRegistry) -> bytes | None:
    return registry.blobs.get("team/app", {}).get(str(BLOB.digest))

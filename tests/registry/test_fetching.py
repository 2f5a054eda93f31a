"""A blob's bytes: resumed, bounded, and from wherever they can be had."""

from __future__ import annotations

import random

import pytest

from hostbuild.errors import (
    AuthenticationError,
    CorruptBlobError,
    HostbuildError,
    NotInRegistryError,
    OfflineError,
    ProtocolError,
    UnreachableError,
)
from hostbuild.model import Access
from hostbuild.oci import media_types
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.reference import Reference
from hostbuild.registry import Registries
from tests.registry.image import Client, client
from tests.registry.server import MemoryRegistry, cut_after, reset_after, status

DATA = random.Random(3).randbytes(6_500_000)
BLOB = Descriptor.of(media_types.OCI_LAYER, DATA)


def fetch(user: Client, registry: MemoryRegistry, blob: Descriptor = BLOB) -> bytes:
    got = bytearray()
    user.repository(f"{registry.address}/base:1").fetch(blob, got.extend)
    return bytes(got)


@pytest.fixture(autouse=True)
def _a_blob(registry: MemoryRegistry) -> None:
    registry.add_blob("base", DATA)


def test_a_blob(user: Client, registry: MemoryRegistry) -> None:
    assert fetch(user, registry) == DATA
    assert [one.method for one in registry.asked] == ["GET", "GET"]
    assert "Range" not in registry.asked[-1].headers


@pytest.mark.parametrize("ranges", [True, False])
def test_after_breaks_the_rest_is_asked_for(user: Client, registry: MemoryRegistry, ranges: bool) -> None:
    registry.ranges = ranges
    registry.fail("GET", "/blobs/", cut_after(1_000_000))
    registry.fail("GET", "/blobs/", cut_after(1_000_000 if ranges else 2_000_000))
    assert fetch(user, registry) == DATA
    assert [one.headers.get("Range") for one in registry.requests("GET", "/blobs/")] == [
        None,
        "bytes=1000000-",
        "bytes=2000000-",
    ]


def test_statuses_that_pass(user: Client, registry: MemoryRegistry) -> None:
    registry.fail("GET", "/blobs/", status(503), times=2)
    registry.fail("GET", "/blobs/", reset_after(0))
    assert fetch(user, registry) == DATA


@pytest.mark.parametrize("size", [1_000_000, 6_500_000])
def test_a_link_that_always_cuts_is_got_over(user: Client, registry: MemoryRegistry, size: int) -> None:
    data = DATA[:size]
    registry.add_blob("base", data)
    registry.fail("GET", "/blobs/", cut_after(100_000), times=1000)
    assert fetch(user, registry, Descriptor.of(media_types.OCI_LAYER, data)) == data


def test_statuses_without_end(user: Client, registry: MemoryRegistry) -> None:
    registry.fail("GET", "/blobs/", status(429, {"Retry-After": "50"}), times=1000)
    with pytest.raises(UnreachableError, match="429"):
        fetch(user, registry)


def test_a_blob_that_is_not_there(user: Client, registry: MemoryRegistry) -> None:
    blob = Descriptor.of(media_types.OCI_LAYER, b"another")
    with pytest.raises(NotInRegistryError, match=str(blob.digest)):
        fetch(user, registry, blob)


def test_a_blob_that_may_not_be_had(user: Client, registry: MemoryRegistry) -> None:
    registry.fail("GET", "/blobs/", status(403), times=100)
    with pytest.raises(AuthenticationError):
        fetch(user, registry)


@pytest.mark.parametrize("wrong", [-1, 1])
def test_another_size(user: Client, registry: MemoryRegistry, wrong: int) -> None:
    blob = Descriptor(BLOB.media_type, BLOB.digest, BLOB.size + wrong)
    got = bytearray()
    with pytest.raises(HostbuildError):
        user.repository(f"{registry.address}/base:1").fetch(blob, got.extend)
    assert len(got) <= blob.size


def test_a_page_in_place_of_the_blob(user: Client, registry: MemoryRegistry) -> None:
    page = b"<html>log in</html>"
    registry.fail("GET", "/blobs/", status(200, {"Content-Type": "text/html"}, page), times=100)
    got = bytearray()
    with pytest.raises(ProtocolError, match="web page"):
        user.repository(f"{registry.address}/base:1").fetch(BLOB, got.extend)
    assert got == b""


def test_a_broken_writer_is_not_tried_again(user: Client, registry: MemoryRegistry) -> None:
    def write(data: bytes | memoryview) -> None:
        raise CorruptBlobError("disk full")

    with pytest.raises(CorruptBlobError, match="disk full"):
        user.repository(f"{registry.address}/base:1").fetch(BLOB, write)
    assert registry.count_of("GET", "/blobs/") == 1


# Foreign layers


def test_a_foreign_layer_comes_from_its_addresses(user: Client, registry: MemoryRegistry) -> None:
    registry.add_blob("elsewhere", b"foreign")
    foreign = Descriptor.of(media_types.OCI_FOREIGN_LAYER, b"foreign")
    address = f"http://{registry.address}/v2/elsewhere/blobs/{foreign.digest}"
    urls = ["file:///etc/passwd", 7, f"http://{registry.address}/nothing", address]
    blob = Descriptor(foreign.media_type, foreign.digest, foreign.size, extra={"urls": urls})
    assert fetch(user, registry, blob) == b"foreign"


def test_addresses_of_other_layers_are_ignored(user: Client, registry: MemoryRegistry) -> None:
    digest = registry.add_blob("elsewhere", b"layer")
    layer = Descriptor.of(media_types.OCI_LAYER, b"layer")
    urls = [f"http://{registry.address}/v2/elsewhere/blobs/{digest}"]
    blob = Descriptor(layer.media_type, layer.digest, layer.size, extra={"urls": urls})
    with pytest.raises(NotInRegistryError):
        fetch(user, registry, blob)


def test_offline_asks_nothing(registry: MemoryRegistry) -> None:
    with Registries(Access(offline=True)) as registries, pytest.raises(OfflineError):
        registries.repository(Reference.parse(f"{registry.address}/base:1"))


def test_a_closed_client_asks_nothing(registry: MemoryRegistry) -> None:
    with client() as user:
        repository = user.repository(f"{registry.address}/base:1")
    with pytest.raises(HostbuildError):
        repository.fetch(BLOB, lambda data: None)
    assert registry.asked == []


def test_a_registry_that_is_gone(user: Client) -> None:
    with MemoryRegistry().running() as gone:
        pass
    with pytest.raises(UnreachableError):
        fetch(user, gone)

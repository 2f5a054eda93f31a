"""One blob's way into a repository: the specification's ways, bodies that are too large, the blob itself."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

import pytest

from hostbuild.errors import (
    CorruptBlobError,
    ProtocolError,
    RegistryError,
    StoreError,
)
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from tests.registry.image import Client
from tests.registry.server import MemoryRegistry, status
from tests.registry.uploading import BLOB, DATA, limits, opener, push, stored

# The ways of the specification


@pytest.mark.parametrize(("method", "code"), [("POST", 202), ("PUT", 201), ("PUT", 200)])
def test_a_web_page_is_no_answer(user: Client, registry: MemoryRegistry, method: str, code: int) -> None:
    headers, page = {"Content-Type": "text/html; charset=utf-8"}, b"<html>welcome</html>"
    registry.fail("HEAD", "/blobs/", status(200, headers, page))
    registry.fail(method, "/blobs/", status(code, headers, page))
    with pytest.raises(ProtocolError, match="web page"):
        push(user, registry)


def test_200_is_believed_only_where_the_blob_is_there(user: Client, registry: MemoryRegistry) -> None:
    registry.fail("PUT", "/blobs/", status(200))
    with pytest.raises(ProtocolError, match="200"):
        push(user, registry)


def test_a_blob_is_head_post_and_one_put(user: Client, registry: MemoryRegistry) -> None:
    assert push(user, registry) == "uploaded"
    assert stored(registry) == DATA
    assert [one.method for one in registry.asked] == ["GET", "HEAD", "POST", "PUT"]
    put = registry.asked[-1]
    assert put.headers["Content-Type"] == "application/octet-stream"
    assert put.headers["Content-Length"] == str(len(DATA))
    assert "Content-Range" not in put.headers


def test_what_is_there_is_not_sent(user: Client, registry: MemoryRegistry) -> None:
    registry.add_blob("team/app", DATA)
    assert push(user, registry, "base") == "present"
    assert registry.count_of("POST") == 0


@pytest.mark.parametrize("code", [400, 403, 404, 405])
def test_a_head_that_is_refused_means_absent(user: Client, registry: MemoryRegistry, code: int) -> None:
    registry.fail("HEAD", "/blobs/", status(code))
    assert push(user, registry) == "uploaded"


def test_an_empty_blob(user: Client, registry: MemoryRegistry) -> None:
    blob = Descriptor.of("application/octet-stream", b"")
    assert push(user, registry, blob=blob) == "uploaded"
    assert registry.blobs["team/app"][str(blob.digest)] == b""


@pytest.mark.parametrize("style", ["relative", "absolute", "query"])
def test_locations_are_followed_as_they_are(user: Client, registry: MemoryRegistry, style: str) -> None:
    registry.location = style
    assert push(user, registry) == "uploaded"
    query = parse_qs(urlsplit(registry.asked[-1].path).query, strict_parsing=True)
    assert query["digest"] == [str(BLOB.digest)]
    assert query.get("_state") == (["a+b=0"] if style == "query" else None)


def test_an_algorithm_that_is_not_usual_is_announced(user: Client, registry: MemoryRegistry) -> None:
    blob = Descriptor("x/y", Digest("sha512", hashlib.sha512(DATA).hexdigest()), len(DATA))
    assert push(user, registry, blob=blob) == "uploaded"
    assert registry.requests("POST")[0].path.endswith("?digest-algorithm=sha512")


# Bodies that are too large


@pytest.mark.parametrize("location", ["relative", "query"])
def test_a_cap_on_bodies_leads_to_chunks(user: Client, registry: MemoryRegistry, location: str) -> None:
    limits(user, registry)
    registry.body_cap, registry.location = 70_000, location
    assert push(user, registry) == "uploaded"
    assert stored(registry) == DATA
    ranges = [one.headers["Content-Range"] for one in registry.requests("PATCH")]
    assert ranges[0] == "0-65535"
    assert ranges[-1] == "262144-299999"
    assert registry.asked[-1].method == "PUT"
    assert registry.asked[-1].headers["Content-Length"] == "0"


def test_a_chunk_is_halved_until_it_passes_and_the_size_is_remembered(
    user: Client, registry: MemoryRegistry
) -> None:
    known = limits(user, registry)
    registry.body_cap = 20_000
    assert push(user, registry) == "uploaded"
    assert known.body == 16384
    registry.asked.clear()
    registry.blobs.clear()
    assert push(user, registry) == "uploaded"
    assert max(one.body for one in registry.asked) == 16384
    assert registry.count_of("GET") == 0  # nothing was refused


def test_416_at_the_right_offset_means_too_large(user: Client, registry: MemoryRegistry) -> None:
    limits(user, registry)
    registry.body_cap, registry.chunk_cap = 200_000, 40_000
    assert push(user, registry) == "uploaded"
    assert stored(registry) == DATA


def test_no_size_passes(user: Client, registry: MemoryRegistry) -> None:
    limits(user, registry)
    registry.body_cap = 1000
    with pytest.raises(RegistryError) as caught:
        push(user, registry)
    assert caught.value.extra["status"] == 413
    assert registry.count_of("PATCH") < 10


def test_chunks_are_as_large_as_the_registry_wants_them(user: Client, registry: MemoryRegistry) -> None:
    limits(user, registry)
    registry.body_cap, registry.chunk_min = 250_000, 100_000
    assert push(user, registry) == "uploaded"
    sizes = [one.body for one in registry.requests("PATCH")]
    assert all(size >= 100_000 for size in sizes[:-1])
    assert sum(sizes) == len(DATA)


def test_a_registry_that_takes_a_part_of_each_chunk(user: Client, registry: MemoryRegistry) -> None:
    limits(user, registry)
    registry.body_cap, registry.chunks = 150_000, "partial"
    assert push(user, registry) == "uploaded"
    assert stored(registry) == DATA


@pytest.mark.parametrize("chunks", ["no", "stale"])
def test_neither_whole_nor_in_chunks(user: Client, registry: MemoryRegistry, chunks: str) -> None:
    limits(user, registry)
    registry.body_cap, registry.chunks = 150_000, chunks
    with pytest.raises(RegistryError) as caught:
        push(user, registry)
    assert caught.value.extra["status"] == 413


# The blob itself


def test_a_blob_that_is_too_short(user: Client, registry: MemoryRegistry) -> None:
    repository = user.repository(f"{registry.address}/team/app:v1")
    with pytest.raises(CorruptBlobError, match="1000 bytes before"):
        repository.push_blob(BLOB, opener(DATA[:-1000]))
    assert registry.count_of("PUT") <= 1


class Failing(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        raise OSError(5, "Input/output error")


def test_a_disk_that_fails_is_not_taken_for_the_network(user: Client, registry: MemoryRegistry) -> None:
    repository = user.repository(f"{registry.address}/team/app:v1")
    with pytest.raises(StoreError, match="Input/output error"):
        repository.push_blob(BLOB, lambda offset: io.BufferedReader(Failing(), 1))
    assert registry.count_of("PUT") <= 1

    def missing(offset: int) -> BinaryIO:
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(StoreError, match="No such file"):
        repository.push_blob(BLOB, missing)

"""One blob's way into a repository: the spec's ways, and every way back from a failure."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from hostbuild.errors import (
    AuthenticationError,
    CorruptBlobError,
    ProtocolError,
    RegistryError,
    StoreError,
    UnreachableError,
)
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.registry.patience import MAX_FAILURES, Pacing
from hostbuild.registry.uploads import Limits, Upload
from tests.registry.image import Client
from tests.registry.server import Handler, MemoryRegistry, lose_answer, reset_after, status

if TYPE_CHECKING:
    from hostbuild.http import Response

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


# Breaks


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("status_of_uploads", [True, False])
@pytest.mark.parametrize("size", [0, 1, 100_000, len(DATA)])
def test_a_body_that_breaks_once(
    user: Client, registry: MemoryRegistry, keeps: bool, status_of_uploads: bool, size: int
) -> None:
    registry.keeps_partial, registry.status_of_uploads = keeps, status_of_uploads
    registry.fail("PUT", UPLOAD, reset_after(size))
    assert push(user, registry) == "uploaded"
    assert stored(registry) == DATA
    assert len(user.kinds("waiting")) == 1


def test_only_the_rest_is_sent_again(user: Client, registry: MemoryRegistry) -> None:
    registry.fail("PUT", UPLOAD, reset_after(100_000))
    assert push(user, registry) == "uploaded"
    [patch] = registry.requests("PATCH")
    assert patch.headers["Content-Range"] == "100000-299999"


def test_repeated_breaks_lead_to_chunks(user: Client, registry: MemoryRegistry) -> None:
    limits(user, registry)
    registry.keeps_partial = False
    registry.fail("PUT", UPLOAD, reset_after(100_000), times=2)
    assert push(user, registry) == "uploaded"
    assert stored(registry) == DATA
    assert registry.count_of("PATCH") == 5


@pytest.mark.parametrize("keeps", [True, False])
def test_a_chunk_that_breaks(user: Client, registry: MemoryRegistry, keeps: bool) -> None:
    limits(user, registry)
    registry.keeps_partial, registry.body_cap = keeps, 70_000
    registry.fail("PATCH", UPLOAD, reset_after(10_000), skip=2)
    assert push(user, registry) == "uploaded"
    assert stored(registry) == DATA


def test_a_chunk_that_breaks_where_nothing_is_told(user: Client, registry: MemoryRegistry) -> None:
    """A registry that neither keeps parts of chunks nor has GET of an upload (crane's)."""
    limits(user, registry)
    registry.status_of_uploads, registry.body_cap = False, 70_000
    registry.fail("PATCH", UPLOAD, reset_after(0), skip=2)
    assert push(user, registry) == "uploaded"
    assert registry.count_of("POST") == 2  # one for the whole body, which was refused
    assert stored(registry) == DATA
    registry.blobs.clear()
    registry.fail("PATCH", UPLOAD, reset_after(10_000), skip=2)  # it kept these: 416, and then all anew
    assert push(user, registry) == "uploaded"
    assert stored(registry) == DATA


def test_the_answer_that_is_lost(user: Client, registry: MemoryRegistry) -> None:
    registry.fail("PUT", UPLOAD, lose_answer)
    assert push(user, registry) == "uploaded"
    assert registry.count_of("PUT") == 1  # HEAD found that it is there


def test_a_lost_answer_to_a_chunk(user: Client, registry: MemoryRegistry) -> None:
    limits(user, registry)
    registry.body_cap = 70_000
    registry.fail("PATCH", UPLOAD, lose_answer, skip=1)
    assert push(user, registry) == "uploaded"
    assert stored(registry) == DATA
    assert registry.count_of("PATCH") == 5


def test_breaks_without_progress_end(user: Client, registry: MemoryRegistry) -> None:
    limits(user, registry)
    registry.fail("PUT", UPLOAD, reset_after(0), times=1000)
    registry.fail("PATCH", UPLOAD, reset_after(0), times=1000)
    with pytest.raises(UnreachableError):
        push(user, registry)
    assert registry.count_of("PUT") + registry.count_of("PATCH") == MAX_FAILURES


def test_a_few_bytes_each_time_are_no_progress(user: Client, registry: MemoryRegistry) -> None:
    registry.fail("PUT", UPLOAD, reset_after(10), times=1000)
    registry.fail("PATCH", UPLOAD, reset_after(10), times=1000)
    with pytest.raises(UnreachableError):
        push(user, registry)
    assert registry.count_of("PUT") + registry.count_of("PATCH") == MAX_FAILURES


def test_breaks_with_progress_do_not_end_it(user: Client, registry: MemoryRegistry) -> None:
    data = DATA * 10
    blob = Descriptor.of("application/octet-stream", data)
    limits(user, registry, start=1 << 20, least=100_000)
    registry.fail("PUT", UPLOAD, reset_after(70_000), times=2)
    registry.fail("PATCH", UPLOAD, reset_after(70_000), times=3 * MAX_FAILURES)
    user.repository(f"{registry.address}/team/app:v1").push_blob(blob, opener(data))
    assert registry.blobs["team/app"] == {str(blob.digest): data}


# Refusals


@pytest.mark.parametrize("code", [408, 429, 499, 500, 502, 503, 504, 522])
def test_a_status_that_asks_to_come_later(user: Client, registry: MemoryRegistry, code: int) -> None:
    registry.fail("PUT", UPLOAD, status(code, {"Retry-After": "7"}), times=2)
    assert push(user, registry) == "uploaded"
    assert stored(registry) == DATA
    assert user.slept == [7.0, 7.0]


def test_later_without_end(user: Client, registry: MemoryRegistry) -> None:
    registry.fail("PUT", UPLOAD, status(503), times=1000)
    with pytest.raises(UnreachableError) as caught:
        push(user, registry)
    assert "503" in str(caught.value)
    assert registry.count_of("PUT") == MAX_FAILURES


def test_a_retry_after_beyond_the_budget(user: Client, registry: MemoryRegistry) -> None:
    registry.fail("PUT", UPLOAD, status(429, {"Retry-After": "50"}), times=1000)
    with pytest.raises(UnreachableError):
        push(user, registry)
    assert user.slept == []


@pytest.mark.parametrize(
    ("code", "word"), [(404, "BLOB_UPLOAD_UNKNOWN"), (400, "BLOB_UPLOAD_INVALID"), (410, "")]
)
def test_a_lost_upload_begins_anew(user: Client, registry: MemoryRegistry, code: int, word: str) -> None:
    def lose(handler: Handler) -> bool:
        handler.read_body()
        registry.uploads.clear()
        return handler.refuse(code, word)

    registry.fail("PUT", UPLOAD, lose)
    assert push(user, registry) == "uploaded"
    assert stored(registry) == DATA
    assert registry.count_of("POST") == 2


def test_uploads_that_are_always_lost_end(user: Client, registry: MemoryRegistry) -> None:
    registry.fail("PUT", UPLOAD, status(404), times=1000)
    registry.status_of_uploads = False
    with pytest.raises(RegistryError):
        push(user, registry)
    assert registry.count_of("PUT") == MAX_FAILURES


def test_bytes_damaged_on_the_way_are_sent_once_more(user: Client, registry: MemoryRegistry) -> None:
    def damaged(handler: Handler) -> bool:
        handler.read_body()
        registry.uploads.clear()
        return handler.refuse(400, "DIGEST_INVALID")

    registry.fail("PUT", UPLOAD, damaged)
    assert push(user, registry) == "uploaded"
    registry.blobs.clear()
    registry.fail("PUT", UPLOAD, damaged, times=2)
    with pytest.raises(RegistryError) as caught:
        push(user, registry)
    assert caught.value.extra["codes"] == ("DIGEST_INVALID",)


@pytest.mark.parametrize("code", [400, 401, 403, 405, 501])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_plain_refusal_ends_it_at_once(
    user: Client, registry: MemoryRegistry, method: str, code: int
) -> None:
    registry.fail(method, "/blobs/uploads/", status(code), times=1000)
    with pytest.raises((RegistryError, UnreachableError)) as caught:
        push(user, registry)
    assert caught.value.extra["status"] == code
    assert isinstance(caught.value, AuthenticationError) == (code in (401, 403))
    assert registry.count_of(method) <= 2


def test_another_digest_in_the_answer(user: Client, registry: MemoryRegistry) -> None:
    wrong = "sha256:" + "0" * 64
    registry.fail(
        "PUT",
        UPLOAD,
        lambda handler: bool(handler.read_body()) and handler.answer(201, {"Docker-Content-Digest": wrong}),
    )
    with pytest.raises(RegistryError, match=wrong):
        push(user, registry)


def test_no_location(user: Client, registry: MemoryRegistry) -> None:
    registry.fail("POST", "/blobs/", status(202))
    with pytest.raises(ProtocolError, match="Location"):
        push(user, registry)


@pytest.mark.parametrize("location", ["http://[", "ftp://x/y", "http://:80/x"])
def test_a_location_that_cannot_be_used(user: Client, registry: MemoryRegistry, location: str) -> None:
    registry.fail("POST", "/blobs/", status(202, {"Location": location}))
    with pytest.raises(ProtocolError, match="Location"):
        push(user, registry)


class Said(NamedTuple):
    """As much of an answer as a Location needs."""

    url: str
    headers: dict[str, str]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/a/u1?x=%2F", "https://r.example:5000/v2/a/u1?x=%2F"),
        ("https://r.example:5000/u1#part", "https://r.example:5000/u1"),
        ("http://r.example/v2/a/u1", "https://r.example:5000/v2/a/u1"),
        ("https://storage.example/u1?sig=a", "https://storage.example/u1?sig=a"),
        ("http://storage.example/u1?sig=a", None),
    ],
)
def test_no_location_leads_from_https_to_http(
    user: Client, registry: MemoryRegistry, location: str, expected: str | None
) -> None:
    place = user.repository(f"{registry.address}/team/app:v1")._place()
    upload = Upload(place, BLOB, opener(), limits=Limits(), pacing=Pacing())
    said = cast("Response", Said("https://r.example:5000/v2/a/blobs/uploads/", {"Location": location}))
    if expected is not None:
        assert upload._next_location(said) == expected
    else:
        with pytest.raises(ProtocolError) as caught:
            upload._next_location(said)
        assert "sig" not in str(caught.value)


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

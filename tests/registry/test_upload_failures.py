"""Every way back from a failure in the upload of a blob, and where it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import pytest

from hostbuild.errors import (
    AuthenticationError,
    ProtocolError,
    RegistryError,
    UnreachableError,
)
from hostbuild.oci.descriptor import Descriptor
from hostbuild.registry.patience import MAX_FAILURES, Pacing
from hostbuild.registry.uploads import Limits, Upload
from tests.registry.image import Client
from tests.registry.server import Handler, MemoryRegistry, lose_answer, reset_after, status

if TYPE_CHECKING:
    from hostbuild.http import Response

from tests.registry.uploading import BLOB, DATA, UPLOAD, limits, opener, push, stored

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


@pytest.mark.parametrize(
    ("kept", "keeps_partial"),
    [(5000, True), (70_000, False)],
    ids=["less than 64 KiB in all tries", "64 KiB and more, and forgotten"],
)
def test_what_the_registry_does_not_keep_is_no_progress(
    user: Client, registry: MemoryRegistry, kept: int, keeps_partial: bool
) -> None:
    data = DATA * 20
    blob = Descriptor.of("application/octet-stream", data)
    limits(user, registry, start=1 << 20, least=100_000)
    registry.keeps_partial = keeps_partial
    for method in ("PUT", "PATCH"):
        registry.fail(method, UPLOAD, reset_after(kept), times=1000)
    with pytest.raises(UnreachableError):
        user.repository(f"{registry.address}/team/app:v1").push_blob(blob, opener(data))
    assert registry.count_of("PUT") + registry.count_of("PATCH") <= 2 * MAX_FAILURES


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
    with pytest.raises(UnreachableError, match="it asks to wait for 50 s"):
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

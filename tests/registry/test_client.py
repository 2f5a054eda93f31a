"""Manifests by tag and digest: what is believed, what is refused, and what is asked twice."""

from __future__ import annotations

import hashlib

import pytest

from hostbuild.errors import (
    AuthenticationError,
    BaseImageError,
    CorruptBlobError,
    InvalidDocumentError,
    NotInRegistryError,
    ProtocolError,
    RegistryError,
    UnreachableError,
)
from hostbuild.oci import media_types
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.index import Index
from hostbuild.oci.json import MAX_DOCUMENT
from hostbuild.oci.manifest import Manifest
from hostbuild.registry import Repository
from tests.registry.image import Client
from tests.registry.server import Handler, MemoryRegistry, status

CONFIG = Descriptor.of(media_types.OCI_CONFIG, b"{}")
MANIFEST = Manifest(CONFIG, ()).encode()
DIGEST = Digest.of(MANIFEST)
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


@pytest.fixture
def repository(user: Client, registry: MemoryRegistry) -> Repository:
    registry.add_manifest("team/app", MANIFEST, media_types.OCI_MANIFEST, "v1")
    return user.repository(f"{registry.address}/team/app:v1")


@pytest.mark.parametrize("identifier", ["v1", str(DIGEST)])
def test_a_manifest(repository: Repository, registry: MemoryRegistry, identifier: str) -> None:
    expected = Descriptor(media_types.OCI_MANIFEST, DIGEST, len(MANIFEST))
    assert repository.manifest(identifier) == (expected, MANIFEST)
    assert repository.head(identifier) == expected
    accepted = registry.asked[-1].headers["Accept"].split(", ")
    assert set(accepted) == media_types.INDEXES | media_types.MANIFESTS
    assert registry.asked[-1].method == "HEAD"


def test_a_sha512_digest(repository: Repository, registry: MemoryRegistry) -> None:
    digest = "sha512:" + hashlib.sha512(MANIFEST).hexdigest()
    registry.manifests["team/app"][digest] = (media_types.OCI_MANIFEST, MANIFEST)
    assert str(repository.manifest(digest)[0].digest) == digest


def test_what_is_not_there(repository: Repository, registry: MemoryRegistry) -> None:
    assert repository.head("v2") is None
    with pytest.raises(NotInRegistryError, match="team/app:v2"):
        repository.manifest("v2")
    registry.head = "403"
    assert repository.head("v1") is None


def test_a_head_that_needs_a_login(repository: Repository, registry: MemoryRegistry) -> None:
    registry.head = "401"
    with pytest.raises(AuthenticationError):
        repository.head("v1")


def test_a_head_that_is_always_told_to_wait(
    repository: Repository, registry: MemoryRegistry, user: Client
) -> None:
    registry.fail("HEAD", "/manifests/", status(503, {"Retry-After": "60"}), times=1000)
    with pytest.raises(UnreachableError):
        repository.head("v1")


@pytest.mark.parametrize("head", ["bare", "405", "400", "501"])
def test_a_head_that_tells_nothing_becomes_a_get(
    repository: Repository, registry: MemoryRegistry, head: str
) -> None:
    registry.head = head
    found = repository.head("v1")
    assert found == Descriptor(media_types.OCI_MANIFEST, DIGEST, len(MANIFEST))
    assert repository.holds("v1", found)
    assert not repository.holds("v1", CONFIG)
    if head != "bare":
        assert repository.head("v2") is None
        assert not repository.holds("v2", found)


def test_a_head_without_a_digest_becomes_a_get(repository: Repository, registry: MemoryRegistry) -> None:
    registry.digest_headers = False
    found = repository.head("v1")
    assert found is not None
    assert found.digest == DIGEST
    assert registry.count_of("GET", "/manifests/") == 1


def test_other_bytes_than_the_digest_asked_for(repository: Repository, registry: MemoryRegistry) -> None:
    registry.manifests["team/app"][str(DIGEST)] = (media_types.OCI_MANIFEST, MANIFEST + b" ")
    registry.digest_headers = False
    with pytest.raises(CorruptBlobError, match="not what was asked for"):
        repository.manifest(str(DIGEST))


def test_other_bytes_than_the_registry_says(repository: Repository, registry: MemoryRegistry) -> None:
    headers = {"Docker-Content-Digest": str(CONFIG.digest), "Content-Type": media_types.OCI_MANIFEST}
    registry.fail("GET", "/manifests/", status(200, headers, MANIFEST))
    with pytest.raises(ProtocolError, match="Docker-Content-Digest"):
        repository.manifest("v1")


@pytest.mark.parametrize("content_type", [SCHEMA_1, "application/json"])
def test_schema_1(repository: Repository, registry: MemoryRegistry, content_type: str) -> None:
    registry.add_manifest("team/app", b'{"schemaVersion": 1, "fsLayers": []}', content_type, "old")
    with pytest.raises(BaseImageError, match="schema 1"):
        repository.manifest("old")
    with pytest.raises(BaseImageError, match="schema 1"):
        repository.head("old")


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"<!DOCTYPE html><html></html>", "text/html; charset=utf-8"),
        (b"<html></html>", media_types.OCI_MANIFEST),
        (b"no JSON", "application/json"),
        (b"[]", "application/json"),
        (b"{}", "application/json"),
        (b'{"schemaVersion": 2, "mediaType": "x/y"}', "x/y"),
        (MANIFEST, media_types.OCI_INDEX),
    ],
)
def test_what_is_no_manifest(
    repository: Repository, registry: MemoryRegistry, data: bytes, content_type: str
) -> None:
    registry.add_manifest("team/app", data, content_type, "odd")
    with pytest.raises(ProtocolError):
        repository.manifest("odd")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "", "application/octet-stream"])
def test_the_document_tells_what_it_is(
    repository: Repository, registry: MemoryRegistry, content_type: str
) -> None:
    untold = Manifest(CONFIG, (), media_type="").encode()
    index = Index((), media_type="").encode()
    for data, expected in (
        (MANIFEST, media_types.OCI_MANIFEST),
        (untold, media_types.OCI_MANIFEST),
        (index, media_types.OCI_INDEX),
    ):
        registry.add_manifest("team/app", data, content_type, "odd")
        assert repository.manifest("odd")[0].media_type == expected


def test_a_manifest_that_is_too_large(repository: Repository, registry: MemoryRegistry) -> None:
    registry.add_manifest("team/app", b" " * (MAX_DOCUMENT + 1), media_types.OCI_MANIFEST, "large")
    with pytest.raises(ProtocolError):
        repository.manifest("large")
    with pytest.raises(InvalidDocumentError, match=str(MAX_DOCUMENT)):
        repository.put_manifest("large", b'{"schemaVersion":2}' + b" " * MAX_DOCUMENT, "x/y")


def test_a_manifest_that_breaks_off_is_asked_for_again(
    repository: Repository, registry: MemoryRegistry
) -> None:
    def cut(handler: Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(MANIFEST)))
        handler.end_headers()
        handler.wfile.write(MANIFEST[:10])
        handler.wfile.flush()
        handler.reset()
        return True

    registry.fail("GET", "/manifests/", cut, times=2)
    assert repository.manifest("v1")[1] == MANIFEST


def test_putting(repository: Repository, registry: MemoryRegistry) -> None:
    repository.put_manifest("v2", MANIFEST, media_types.OCI_MANIFEST)
    assert registry.manifests["team/app"]["v2"] == (media_types.OCI_MANIFEST, MANIFEST)


@pytest.mark.parametrize("code", [400, 403, 404, 413])
def test_a_refused_put(repository: Repository, registry: MemoryRegistry, code: int) -> None:
    registry.fail("PUT", "/manifests/", status(code, {}, b'{"errors":[{"code":"MANIFEST_INVALID"}]}'))
    with pytest.raises(RegistryError) as caught:
        repository.put_manifest("v2", MANIFEST, media_types.OCI_MANIFEST)
    assert caught.value.extra["status"] == code


def test_a_busy_registry_is_asked_again(
    repository: Repository, registry: MemoryRegistry, user: Client
) -> None:
    registry.fail("PUT", "/manifests/", status(429, {"Retry-After": "3"}), times=2)
    repository.put_manifest("v2", MANIFEST, media_types.OCI_MANIFEST)
    assert user.slept == [3.0, 3.0]

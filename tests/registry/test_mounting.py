"""Blobs that come from another repository of the registry, and what a failed mount costs."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.registry.image import Client
from tests.registry.server import MemoryRegistry, reset_after
from tests.registry.uploading import BLOB, DATA, push, stored


def test_a_mount_costs_one_request(user: Client, registry: MemoryRegistry) -> None:
    registry.add_blob("base/image", DATA)
    assert push(user, registry, "base/image") == "mounted"
    assert stored(registry) == DATA
    assert registry.count_of("PUT") == registry.count_of("PATCH") == 0
    [post] = registry.requests("POST")
    query = parse_qs(urlsplit(post.path).query)
    assert query == {"mount": [str(BLOB.digest)], "from": ["base/image"]}


def test_the_upload_in_place_of_a_mount_is_used(user: Client, registry: MemoryRegistry) -> None:
    assert push(user, registry, "nothing/there") == "uploaded"
    assert registry.count_of("POST") == 1
    assert registry.uploads == {}


@pytest.mark.parametrize("code", ["400", "403", "404", "405", "429", "500", "503"])
def test_a_mount_that_fails_is_tried_once(user: Client, registry: MemoryRegistry, code: str) -> None:
    registry.mounts = code
    assert push(user, registry, "base/image") == "uploaded"
    assert registry.count_of("POST", "mount") == 1
    assert registry.count_of("POST") == 2
    assert user.slept == []


def test_a_mount_that_breaks_is_tried_once(user: Client, registry: MemoryRegistry) -> None:
    registry.fail("POST", "mount", reset_after(0))
    assert push(user, registry, "base/image") == "uploaded"
    assert registry.count_of("POST", "mount") == 1


def test_each_source_once_and_not_the_repository_itself(user: Client, registry: MemoryRegistry) -> None:
    registry.add_blob("third", DATA)
    assert push(user, registry, "first", "team/app", "first", "third") == "mounted"
    assert registry.count_of("POST") == 2
    assert registry.uploads == {}


def test_uploads_that_are_not_used_are_given_back(user: Client, registry: MemoryRegistry) -> None:
    assert push(user, registry, "first", "second") == "uploaded"
    assert registry.uploads == {}
    assert registry.count_of("DELETE") == 1

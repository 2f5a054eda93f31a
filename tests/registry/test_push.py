"""Pushing whole images: the order, what is left out, what several references share, and how it ends early."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from hostbuild.errors import (
    CorruptBlobError,
    InvalidDocumentError,
    RegistryError,
    UsageError,
)
from hostbuild.model import Event
from hostbuild.oci import media_types
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.index import Index
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.reference import Reference
from hostbuild.records import replace
from hostbuild.registry import Pushed, push
from tests.registry.image import Client, Content, client
from tests.registry.server import MemoryRegistry

SHARED = random.Random(2).randbytes(50_000)


@pytest.fixture
def content() -> Content:
    return Content()


@pytest.fixture
def root(content: Content) -> Descriptor:
    return content.index(
        content.image("amd64", [SHARED, b"for amd64"]), content.image("arm64", [SHARED, b"for arm64"])
    )


@pytest.fixture
def other() -> Iterator[MemoryRegistry]:
    with MemoryRegistry().running() as running:
        yield running


def references(registry: MemoryRegistry, *names: str) -> list[Reference]:
    return [Reference.parse(f"{registry.address}/{name}") for name in names]


def everything_is_there(registry: MemoryRegistry, name: str, content: Content) -> bool:
    there = {*registry.blobs.get(name, {}), *registry.manifests.get(name, {})}
    return {str(digest) for digest in content.data} <= there


def test_the_order(user: Client, registry: MemoryRegistry, content: Content, root: Descriptor) -> None:
    wrong: list[str] = []

    def check(name: str, reference: str) -> None:
        media_type, data = registry.manifests[name][reference]
        if media_type in media_types.INDEXES:
            needed = [str(child.digest) for child in Index.decode(data).manifests]
            wrong.extend(each for each in needed if each not in registry.manifests[name])
        else:
            manifest = Manifest.decode(data)
            needed = [str(blob.digest) for blob in (manifest.config, *manifest.layers)]
            wrong.extend(each for each in needed if each not in registry.blobs[name])

    registry.on_put = check
    results = push(user.registries, root, content, references(registry, "app:v1", "app:latest"))
    assert wrong == []
    assert everything_is_there(registry, "app", content)
    puts = [one.path.rpartition("/")[2] for one in registry.requests("PUT", "/manifests/")]
    assert puts[-3:] == [str(root.digest), "v1", "latest"]
    assert len(puts) == 5
    assert [(one.reference.tag, one.status) for one in results] == [("v1", "pushed"), ("latest", "pushed")]
    assert results[0].digest == root.digest
    assert results[0].bytes_sent == sum(
        len(data) for digest, data in content.data.items() if str(digest) in registry.blobs["app"]
    )
    assert results[1].bytes_sent == 0


def test_a_blob_of_several_manifests_is_asked_for_once(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    push(user.registries, root, content, references(registry, "app:v1"))
    heads = [one.path for one in registry.requests("HEAD", "/blobs/")]
    assert len(heads) == len(set(heads)) == 5
    assert content.opened.count((Digest.of(SHARED), 0)) == 1


def test_nothing_to_do_is_a_ping_and_a_head_a_tag(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    push(user.registries, root, content, references(registry, "app:v1"))
    registry.asked.clear()
    content.reads = 0
    with client() as second:
        results = push(second.registries, root, content, references(registry, "app:v1"))
    assert [str(one) for one in registry.asked] == ["GET /v2/", "HEAD /v2/app/manifests/v1"]
    assert results[0].status == "present"
    assert content.reads == 0


def test_another_tag_costs_no_blobs(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    push(user.registries, root, content, references(registry, "app:v1"))
    registry.asked.clear()
    results = push(user.registries, root, content, references(registry, "app:v1", "app:v2"))
    assert [one.status for one in results] == ["present", "pushed"]
    assert registry.count_of("HEAD", "/blobs/") == 0
    assert [one.path for one in registry.requests("PUT")] == ["/v2/app/manifests/v2"]
    registry.asked.clear()
    push(user.registries, root, content, references(registry, "app:v3"))
    assert [one.method for one in registry.asked] == ["HEAD", "HEAD", "PUT"]


def test_a_child_that_is_there_saves_its_blobs(
    user: Client, registry: MemoryRegistry, content: Content
) -> None:
    first = content.image("amd64", [b"first"])
    push(user.registries, content.index(first), content, references(registry, "app:v1"))
    registry.asked.clear()
    root = content.index(first, content.image("arm64", [b"second"]))
    push(user.registries, root, content, references(registry, "app:v2"))
    assert registry.count_of("HEAD", "/blobs/") == 2
    assert everything_is_there(registry, "app", content)


def test_a_moved_tag_is_moved_back(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    push(user.registries, root, content, references(registry, "app:v1"))
    registry.add_manifest("app", b"{}", "application/vnd.docker.distribution.manifest.v1+prettyjws", "v1")
    [result] = push(user.registries, root, content, references(registry, "app:v1"))
    assert result.status == "pushed"
    assert registry.manifests["app"]["v1"][1] == content.data[root.digest]


def test_by_digest(user: Client, registry: MemoryRegistry, content: Content, root: Descriptor) -> None:
    refs = references(registry, "app:v1")
    [result] = push(user.registries, root, content, refs, by_digest=True)
    assert result.status == "pushed"
    assert set(registry.manifests["app"]) >= {str(root.digest)}
    assert "v1" not in registry.manifests["app"]
    [again] = push(user.registries, root, content, refs, by_digest=True)
    assert again == Pushed(refs[0], root.digest, "present", 0)


def test_a_reference_with_a_digest(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    [result] = push(user.registries, root, content, references(registry, f"app@{root.digest}"))
    assert result.status == "pushed"
    registry.asked.clear()
    with pytest.raises(UsageError, match=str(root.digest)):
        push(user.registries, root, content, references(registry, "app:v1", f"app@{Digest.of(b'')}"))
    assert registry.asked == []


def test_repositories_of_one_registry_mount_from_each_other(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    results = push(user.registries, root, content, references(registry, "one:v1", "two:v1", "one:v2"))
    assert everything_is_there(registry, "two", content)
    assert [one.bytes_sent > 0 for one in results] == [True, False, False]
    assert registry.count_of("POST", "from=one") == 5


def test_several_registries(
    user: Client, registry: MemoryRegistry, other: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    refs = [*references(registry, "app:v1"), *references(other, "app:v1")]
    assert [one.reference for one in push(user.registries, root, content, refs)] == refs
    assert everything_is_there(registry, "app", content)
    assert everything_is_there(other, "app", content)
    assert other.count_of("POST", "mount") == 0


def test_origins_on_the_same_registry_are_mounted(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    registry.add_blob("library/base", SHARED)
    content.known_in[Digest.of(SHARED)] = (
        Reference.parse("elsewhere.example/base:1"),
        *references(registry, "library/base:1"),
    )
    push(user.registries, root, content, references(registry, "app:v1"))
    assert (Digest.of(SHARED), 0) not in content.opened
    assert "elsewhere" not in str(registry.requests("POST", "mount"))


def test_a_single_manifest_and_a_nested_index(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    nested = content.index(content.index(root), content.image("s390x", [SHARED]))
    push(user.registries, nested, content, references(registry, "app:v1"))
    assert everything_is_there(registry, "app", content)
    single = content.image("ppc64le", [b"alone"])
    push(user.registries, single, content, references(registry, "app:v2"))
    assert everything_is_there(registry, "app", content)


def test_foreign_layers_with_addresses_stay_where_they_are(
    user: Client, registry: MemoryRegistry, content: Content
) -> None:
    config = content.add(media_types.OCI_CONFIG, b"{}")
    away = Descriptor(
        media_types.OCI_FOREIGN_LAYER, Digest.of(b"x"), 1, extra={"urls": ["https://x.example/x"]}
    )
    here = content.add(media_types.OCI_FOREIGN_LAYER_GZIP, b"pushed all the same")
    root = content.add(media_types.OCI_MANIFEST, Manifest(config, (away, here)).encode())
    push(user.registries, root, content, references(registry, "app:v1"))
    assert set(registry.blobs["app"]) == {str(config.digest), str(here.digest)}


# Content that is not what it says


def test_a_manifest_of_another_size(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    with pytest.raises(CorruptBlobError):
        push(user.registries, replace(root, size=root.size + 1), content, references(registry, "app:v1"))
    content.data[root.digest] = content.data[root.digest][:-1] + b" "
    with pytest.raises(CorruptBlobError):
        push(user.registries, root, content, references(registry, "app:v1"))
    assert registry.count_of("PUT") == 0


def test_a_config_of_another_size(user: Client, registry: MemoryRegistry, content: Content) -> None:
    config = replace(content.add(media_types.OCI_CONFIG, b"{}"), size=5)
    root = content.add(media_types.OCI_MANIFEST, Manifest(config, ()).encode())
    with pytest.raises(CorruptBlobError):
        push(user.registries, root, content, references(registry, "app:v1"))
    assert "v1" not in registry.manifests["app"]


def test_a_descriptor_of_another_kind(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    with pytest.raises(InvalidDocumentError):
        push(
            user.registries,
            replace(root, media_type=media_types.DOCKER_INDEX),
            content,
            references(registry, "app:v1"),
        )


def test_one_blob_with_two_sizes(user: Client, registry: MemoryRegistry, content: Content) -> None:
    config = content.add(media_types.OCI_CONFIG, b"{}")
    layer = content.add(media_types.OCI_LAYER, b"layer")
    data = Manifest(config, (layer, replace(layer, size=6))).encode()
    with pytest.raises(InvalidDocumentError, match="5 and 6"):
        push(
            user.registries,
            content.add(media_types.OCI_MANIFEST, data),
            content,
            references(registry, "app:v1"),
        )


def test_a_manifest_that_is_too_large(user: Client, registry: MemoryRegistry, content: Content) -> None:
    config = content.add(media_types.OCI_CONFIG, b"{}")
    data = Manifest(config, (), annotations={"x": "y" * (4 << 20)}).encode()
    root = content.add(media_types.OCI_MANIFEST, data)
    with pytest.raises(InvalidDocumentError, match="4194304"):
        push(user.registries, root, content, references(registry, "app:v1"))


# Registries that change what they are given


def test_a_registry_that_rewrites_manifests(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    registry.rewrite = lambda data: data + b"\n"
    with pytest.raises(RegistryError, match="rewrites"):
        push(user.registries, root, content, references(registry, "app:v1"))
    assert "v1" not in registry.manifests["app"]


def test_one_that_rewrites_them_and_does_not_say(
    user: Client, registry: MemoryRegistry, content: Content
) -> None:
    registry.digest_headers = False
    registry.on_put = lambda name, reference: registry.manifests[name].update(
        {reference: ("x/y", b"something else")}
    )
    with pytest.raises(RegistryError, match="rewrites"):
        push(user.registries, content.image("amd64", []), content, references(registry, "app:v1"))


def test_one_that_says_no_digests(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor
) -> None:
    registry.digest_headers = False
    push(user.registries, root, content, references(registry, "app:v1"))
    assert everything_is_there(registry, "app", content)
    [again] = push(user.registries, root, content, references(registry, "app:v1"))
    assert again.status == "present"


def test_a_tag_that_moves_meanwhile(user: Client, registry: MemoryRegistry, content: Content) -> None:
    wrong = "sha256:" + "1" * 64
    registry.fail(
        "PUT",
        "/manifests/v1",
        lambda handler: bool(handler.read_body()) and handler.answer(201, {"Docker-Content-Digest": wrong}),
    )
    with pytest.raises(RegistryError, match=wrong):
        push(user.registries, content.image("amd64", []), content, references(registry, "app:v1"))


@pytest.mark.parametrize("code", [200, 201, 202])
def test_what_a_put_may_be_answered(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor, code: int
) -> None:
    registry.fail(
        "PUT",
        "/manifests/v1",
        lambda handler: (
            bool(handler.read_body()) and handler.answer(code, {"Docker-Content-Digest": str(root.digest)})
        ),
    )
    push(user.registries, root, content, references(registry, "app:v1"))


# Events


def test_events(user: Client, registry: MemoryRegistry, content: Content, root: Descriptor) -> None:
    registry.add_blob("app", SHARED)
    registry.add_blob("base", b"for amd64")
    content.known_in[Digest.of(b"for amd64")] = tuple(references(registry, "base:1"))
    events: list[Event] = []
    push(user.registries, root, content, references(registry, "app:v1"), on_event=events.append)
    blobs = [event.data for event in events if event.kind == "done" and event.data["step"] == "blob"]
    assert sorted(data["status"] for data in blobs) == ["mounted", "present", *["uploaded"] * 3]
    total = sum(data["size"] for data in blobs)
    progress = [event.data for event in events if event.kind == "progress"]
    assert progress[-1] == {"step": "push", "done": total, "total": total}
    assert [data["done"] for data in progress] == sorted(data["done"] for data in progress)
    assert events[0].kind == "start"
    assert events[-1].data["step"] == "push"
    assert events[-1].data["digest"] == str(root.digest)
    assert events[-1].data["sent"] > 0

"""The fallback index of referrers: only where it is needed, no duplicates, and against other writers."""

from __future__ import annotations

import pytest

from hostbuild.errors import RegistryError, TryLaterError
from hostbuild.oci import media_types
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.index import Index
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.reference import Reference
from hostbuild.registry import Repository, push
from hostbuild.registry.referrers import entry_for, fallback_tag
from tests.registry.image import Client, Content
from tests.registry.server import MemoryRegistry

SUBJECT = Descriptor.of(media_types.OCI_MANIFEST, b"the subject need not be there")
TAG = f"sha256-{SUBJECT.digest.hex}"
CONFIG = Descriptor.of("application/vnd.example.config", b"{}")


def referrer(name: str, artifact_type: str = "application/vnd.example.sbom") -> bytes:
    manifest = Manifest(CONFIG, (), annotations={"name": name}, artifact_type=artifact_type, subject=SUBJECT)
    return manifest.encode()


@pytest.fixture
def repository(user: Client, registry: MemoryRegistry) -> Repository:
    return user.repository(f"{registry.address}/app:v1")


def put(repository: Repository, data: bytes, media_type: str = media_types.OCI_MANIFEST) -> None:
    repository.put_manifest(str(Digest.of(data)), data, media_type)


def listed(registry: MemoryRegistry) -> list[Descriptor]:
    media_type, data = registry.manifests["app"][TAG]
    assert media_type == media_types.OCI_INDEX
    return list(Index.decode(data).manifests)


def test_a_registry_that_lists_referrers_needs_no_index(
    repository: Repository, registry: MemoryRegistry
) -> None:
    registry.subjects = True
    put(repository, referrer("one"))
    assert TAG not in registry.manifests["app"]


def test_no_subject_no_index(repository: Repository, registry: MemoryRegistry) -> None:
    put(repository, Manifest(CONFIG, ()).encode())
    assert len(registry.asked) == 2


def test_the_index_is_made_and_added_to(repository: Repository, registry: MemoryRegistry) -> None:
    put(repository, referrer("one"))
    put(repository, referrer("two", ""))
    index = Index((), annotations={"two": "2"}, artifact_type="a/b", subject=SUBJECT).encode()
    put(repository, index, media_types.OCI_INDEX)
    first, second, third = listed(registry)
    assert first == Descriptor(
        media_types.OCI_MANIFEST,
        Digest.of(referrer("one")),
        len(referrer("one")),
        artifact_type="application/vnd.example.sbom",
        annotations={"name": "one"},
    )
    assert second.artifact_type == CONFIG.media_type
    assert (third.artifact_type, dict(third.annotations)) == ("a/b", {"two": "2"})
    assert third.media_type == media_types.OCI_INDEX


def test_no_duplicates(repository: Repository, registry: MemoryRegistry) -> None:
    put(repository, referrer("one"))
    put(repository, referrer("one"))
    assert len(listed(registry)) == 1
    assert registry.count_of("PUT", TAG) == 1


def test_what_others_wrote_stays_as_it_is(repository: Repository, registry: MemoryRegistry) -> None:
    other = Descriptor.of("x/y", b"other")
    index = Index((other,), annotations={"kept": "yes"}, extra={"com.example.unknown": [1]})
    registry.add_manifest("app", index.encode(), media_types.OCI_INDEX, TAG)
    put(repository, referrer("one"))
    found = Index.decode(registry.manifests["app"][TAG][1])
    assert found.manifests[0] == other
    assert len(found.manifests) == 2
    assert (found.annotations, found.extra) == (index.annotations, index.extra)


def overwrite(registry: MemoryRegistry, times: int) -> None:
    """Another writer, who read before each of our writes and writes after it, without our entry."""
    before: list[Descriptor] = []

    def rival(name: str, reference: str) -> None:
        if reference == TAG and len(before) < times:
            before.append(Descriptor.of("x/y", b"rival %d" % len(before)))
            data = Index(tuple(before)).encode()
            registry.manifests[name][TAG] = (media_types.OCI_INDEX, data)

    registry.on_put = rival


def test_an_entry_that_was_overwritten_is_written_again(
    repository: Repository, registry: MemoryRegistry, user: Client
) -> None:
    overwrite(registry, 2)
    put(repository, referrer("one"))
    digests = [entry.digest for entry in listed(registry)]
    assert digests == [Digest.of(b"rival 0"), Digest.of(b"rival 1"), Digest.of(referrer("one"))]
    assert len(user.slept) == 2


def test_other_writers_without_end(repository: Repository, registry: MemoryRegistry) -> None:
    overwrite(registry, 1000)
    with pytest.raises(TryLaterError):
        put(repository, referrer("one"))
    assert registry.count_of("PUT", TAG) < 10


def test_a_tag_that_is_something_else(repository: Repository, registry: MemoryRegistry) -> None:
    registry.add_manifest("app", Manifest(CONFIG, ()).encode(), media_types.OCI_MANIFEST, TAG)
    with pytest.raises(RegistryError, match="no image index"):
        put(repository, referrer("one"))
    assert registry.count_of("PUT", TAG) == 0


def test_tags() -> None:
    assert fallback_tag(SUBJECT.digest) == TAG
    long = Digest("sha512", "a" * 128)
    assert fallback_tag(long) == "sha512-" + "a" * 64


def test_what_is_neither_manifest_nor_index() -> None:
    assert entry_for(b"bytes", "x/y") == Descriptor.of("x/y", b"bytes")


def test_a_push_that_ended_before_the_index_is_made_up_for(registry: MemoryRegistry, user: Client) -> None:
    content = Content()
    config = content.add(CONFIG.media_type, b"{}")
    manifest = Manifest(config, (), artifact_type="application/vnd.example.sbom", subject=SUBJECT)
    root = content.add(media_types.OCI_MANIFEST, manifest.encode())
    registry.add_blob("app", b"{}")
    registry.add_manifest("app", manifest.encode(), media_types.OCI_MANIFEST)
    order: list[str] = []
    registry.on_put = lambda _, reference: order.append(reference)
    push(user.registries, root, content, [Reference.parse(f"{registry.address}/app:v1")])
    assert [each.digest for each in listed(registry)] == [root.digest]
    assert order.index(TAG) < order.index("v1"), "the tag says that all is done"


@pytest.mark.parametrize("ended_early", [True, False])
def test_a_push_by_digest_only_too(registry: MemoryRegistry, user: Client, ended_early: bool) -> None:
    """No tag says that it is listed, so that it is seen to each time; listed once all the same."""
    content = Content()
    config = content.add(CONFIG.media_type, b"{}")
    manifest = Manifest(config, (), artifact_type="application/vnd.example.sbom", subject=SUBJECT)
    root = content.add(media_types.OCI_MANIFEST, manifest.encode())
    registry.add_blob("app", b"{}")
    registry.add_manifest("app", manifest.encode(), media_types.OCI_MANIFEST)
    references = [Reference.parse(f"{registry.address}/app@{root.digest}")]
    if not ended_early:
        push(user.registries, root, content, references)
    push(user.registries, root, content, references)
    assert [each.digest for each in listed(registry)] == [root.digest]
    assert registry.count_of("PATCH", "") + registry.count_of("POST", "") == 0, "no blob is sent again"

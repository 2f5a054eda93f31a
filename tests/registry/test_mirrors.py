"""Mirrors: first for pulls, never for pushes, verified, and passed over with one warning when they fail."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

import pytest

from hostbuild.errors import CorruptBlobError, NotInRegistryError, SettingsError, UnreachableError
from hostbuild.model import Access, ignore_event
from hostbuild.oci import media_types
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.manifest import Manifest
from hostbuild.registry import push
from hostbuild.registry.mirrors import Mirror, Mirrors, parse_mirror
from tests.registry.image import Client, Content, client
from tests.registry.server import Handler, MemoryRegistry, cut_after, reset_after, status

DATA = random.Random(4).randbytes(500_000)
BLOB = Descriptor.of(media_types.OCI_LAYER, DATA)
CONFIG = Descriptor.of(media_types.OCI_CONFIG, b"{}")
MANIFEST = Manifest(CONFIG, ()).encode()


@pytest.fixture
def mirror() -> Iterator[MemoryRegistry]:
    with MemoryRegistry().running() as running:
        yield running


@pytest.fixture
def user(registry: MemoryRegistry, mirror: MemoryRegistry) -> Iterator[Client]:
    mirrors = ((registry.address, f"{mirror.address}/of/it"),)
    with client(Access(retry_time=20.0, silence=5.0, mirrors=mirrors)) as one:
        yield one


def fetch(user: Client, registry: MemoryRegistry) -> bytes:
    got = bytearray()
    user.repository(f"{registry.address}/base:1").fetch(BLOB, got.extend)
    return bytes(got)


def test_a_mirror_is_asked_first(user: Client, registry: MemoryRegistry, mirror: MemoryRegistry) -> None:
    mirror.add_blob("of/it/base", DATA)
    digest = mirror.add_manifest("of/it/base", MANIFEST, media_types.OCI_MANIFEST, "1")
    repository = user.repository(f"{registry.address}/base:1")
    assert fetch(user, registry) == DATA
    assert repository.manifest("1")[1] == repository.manifest(digest)[1] == MANIFEST
    found = repository.head("1")
    assert found is not None
    assert str(found.digest) == digest
    assert registry.asked == []
    [event] = user.events  # once a mirror
    assert event.kind == "info"
    assert event.message == f"{registry.address}/base comes from the mirror {mirror.address}/of/it"


def test_what_a_mirror_lacks_comes_from_the_registry(
    user: Client, registry: MemoryRegistry, mirror: MemoryRegistry
) -> None:
    registry.add_blob("base", DATA)
    registry.add_manifest("base", MANIFEST, media_types.OCI_MANIFEST, "1")
    repository = user.repository(f"{registry.address}/base:1")
    assert fetch(user, registry) == DATA
    assert repository.manifest("1")[1] == MANIFEST
    assert repository.head("1") is not None
    assert mirror.count_of("GET", "/blobs/") == 1
    assert user.kinds("warning") == []
    assert repository.head("2") is None
    with pytest.raises(NotInRegistryError, match=registry.address):
        repository.manifest("2")


@pytest.mark.parametrize("action", [status(500), status(401), reset_after(0), status(200, {}, b"short")])
def test_a_mirror_that_fails_is_passed_over_once(
    user: Client, registry: MemoryRegistry, mirror: MemoryRegistry, action: object
) -> None:
    registry.add_blob("base", DATA)
    registry.add_manifest("base", MANIFEST, media_types.OCI_MANIFEST, "1")
    mirror.add_blob("of/it/base", DATA)
    assert callable(action)
    mirror.fail("GET", "/blobs/", action, times=100)
    assert fetch(user, registry) == DATA
    assert fetch(user, registry) == DATA
    assert user.repository(f"{registry.address}/base:1").manifest("1")[1] == MANIFEST
    assert mirror.count_of("GET", "/blobs/|/manifests/") == 1
    [warning] = user.kinds("warning")
    assert f"{mirror.address}/of/it" in warning.message
    assert user.slept == []


def test_a_mirror_that_is_gone(registry: MemoryRegistry) -> None:
    registry.add_blob("base", DATA)
    with MemoryRegistry().running() as gone:
        pass
    access = Access(retry_time=20.0, mirrors=((registry.address, gone.address),))
    with client(access) as user:
        assert fetch(user, registry) == DATA
        assert len(user.kinds("warning")) == 1


@pytest.mark.parametrize("ask", ["head", "manifest", "fetch"])
@pytest.mark.parametrize(
    ("action", "said"), [(None, "does not have it"), (status(500), "failed: .*answered 500 Internal")]
)
def test_what_the_mirror_said_is_told_where_the_registry_is_gone(
    ask: str, action: Callable[[Handler], bool] | None, said: str
) -> None:
    with MemoryRegistry().running() as gone:
        pass
    with MemoryRegistry().running() as mirror:
        if action is not None:
            mirror.fail("GET", "/base/", action)
            mirror.fail("HEAD", "/base/", action)
        mirrors = ((gone.address, mirror.address),)
        with client(Access(retry_time=0.0, silence=5.0, mirrors=mirrors)) as user:
            repository = user.repository(f"{gone.address}/base:1")
            arguments = (BLOB, lambda _: None) if ask == "fetch" else ("1",)
            with pytest.raises(UnreachableError) as caught:
                getattr(repository, ask)(*arguments)
            assert caught.value.what == f"{gone.address} cannot be reached as a registry"
            assert re.search(f"connection refused.*; the mirror {mirror.address} {said}", caught.value.why)
            if action is not None:  # and again, when the mirror is not asked any more
                with pytest.raises(UnreachableError, match=f"; the mirror {mirror.address} {said}"):
                    repository.manifest("1")


def test_a_refusal_of_the_registry_stands_alone(
    user: Client, registry: MemoryRegistry, mirror: MemoryRegistry
) -> None:
    with pytest.raises(NotInRegistryError) as caught:
        user.repository(f"{registry.address}/base:1").manifest("1")
    assert "mirror" not in str(caught.value)


def test_the_registry_goes_on_where_the_mirror_broke_off(
    user: Client, registry: MemoryRegistry, mirror: MemoryRegistry
) -> None:
    registry.add_blob("base", DATA)
    mirror.add_blob("of/it/base", DATA)
    mirror.fail("GET", "/blobs/", cut_after(200_000))
    mirror.fail("GET", "/blobs/", reset_after(0))
    assert fetch(user, registry) == DATA
    assert registry.requests("GET", "/blobs/")[0].headers["Range"] == "bytes=200000-"


def test_a_mirror_that_gives_other_bytes(
    user: Client, registry: MemoryRegistry, mirror: MemoryRegistry
) -> None:
    registry.add_blob("base", DATA)
    mirror.blobs["of/it/base"] = {str(BLOB.digest): DATA[:-1] + b"x"}
    with pytest.raises(CorruptBlobError, match="mirror"):
        fetch(user, registry)
    assert fetch(user, registry) == DATA


def test_a_mirrors_other_manifest(user: Client, registry: MemoryRegistry, mirror: MemoryRegistry) -> None:
    digest = registry.add_manifest("base", MANIFEST, media_types.OCI_MANIFEST, "1")
    mirror.manifests["of/it/base"] = {digest: (media_types.OCI_MANIFEST, MANIFEST + b"\n")}
    assert user.repository(f"{registry.address}/base:1").manifest(digest)[1] == MANIFEST
    assert len(user.kinds("warning")) == 1


def test_a_push_does_not_ask_mirrors(user: Client, registry: MemoryRegistry, mirror: MemoryRegistry) -> None:
    content = Content()
    root = content.image("amd64", [DATA])
    mirror.add_manifest("of/it/app", content.data[root.digest], root.media_type, "1")
    repository = user.repository(f"{registry.address}/app:1")
    [result] = push(user.registries, root, content, [repository.reference])
    assert result.status == "pushed"
    assert mirror.asked == []


@pytest.mark.parametrize(
    ("text", "mirror"),
    [
        ("mirror.example", Mirror("mirror.example")),
        ("mirror.example:5000/a/b/", Mirror("mirror.example:5000", "a/b")),
        ("cache/hub", Mirror("cache", "hub")),
        ("[::1]:5000", Mirror("[::1]:5000")),
        ("localhost", Mirror("localhost")),
    ],
)
def test_addresses(text: str, mirror: Mirror) -> None:
    assert parse_mirror(text) == mirror
    assert str(mirror) == text.rstrip("/")


@pytest.mark.parametrize(
    "text", ["", "https://mirror.example", "mirror.example/UP", "a b", "x/y:tag", "x//y"]
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="mirror"):
        parse_mirror(text)


def test_the_old_name_of_docker_hub_and_the_order() -> None:
    pairs = (
        ("index.docker.io", "one.example"),
        ("docker.io", "two.example"),
        ("other.example", "three.example"),
    )
    mirrors = Mirrors(pairs, ignore_event)
    assert mirrors.of("docker.io") == (Mirror("one.example"), Mirror("two.example"))
    mirrors.pass_over(Mirror("one.example"), CorruptBlobError("x"))
    assert mirrors.of("docker.io") == (Mirror("two.example"),)
    assert mirrors.of("elsewhere.example") == ()

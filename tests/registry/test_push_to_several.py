"""Pushing to several repositories: no tag before everybody has everything, and what is told."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from hostbuild.errors import AuthenticationError, HostbuildError, RegistryError
from hostbuild.model import Event
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.reference import Reference
from hostbuild.registry import push
from hostbuild.registry.progress import short, summary
from tests.registry.image import Client, Content
from tests.registry.server import Handler, MemoryRegistry, status

SHARED = random.Random(3).randbytes(50_000)
ASKS_FOR_LOGIN = status(401, {"WWW-Authenticate": 'Basic realm="r"'})


@pytest.fixture
def content() -> Content:
    return Content()


@pytest.fixture
def root(content: Content) -> Descriptor:
    return content.index(content.image("amd64", [SHARED, b"for amd64"]), content.image("arm64", [SHARED]))


@pytest.fixture
def other() -> Iterator[MemoryRegistry]:
    with MemoryRegistry().running() as running:
        yield running


@pytest.fixture
def references(registry: MemoryRegistry, other: MemoryRegistry) -> list[Reference]:
    names = (f"{registry.address}/app:v1", f"{registry.address}/app:v2", f"{other.address}/app:v1")
    return [Reference.parse(name) for name in names]


def failed(
    user: Client, root: Descriptor, content: Content, references: list[Reference]
) -> tuple[HostbuildError, list[str]]:
    with pytest.raises(HostbuildError) as caught:
        push(user.registries, root, content, references)
    return caught.value, caught.value.extra["published"]


def test_a_missing_login_is_found_before_anything_is_sent(
    user: Client,
    registry: MemoryRegistry,
    other: MemoryRegistry,
    content: Content,
    root: Descriptor,
    references: list[Reference],
) -> None:
    for method in ("GET", "HEAD", "POST", "PUT"):
        other.fail(method, "", ASKS_FOR_LOGIN, times=1000)
    error, published = failed(user, root, content, references)
    assert isinstance(error, AuthenticationError)
    assert published == []
    assert error.why.endswith("; nothing was published")
    assert registry.count_of("POST") == registry.count_of("PUT") == 0


def test_who_refuses_only_uploads_is_found_before_much_is_sent(
    user: Client,
    registry: MemoryRegistry,
    other: MemoryRegistry,
    content: Content,
    root: Descriptor,
    references: list[Reference],
) -> None:
    other.fail("POST", "/blobs/uploads/", status(403), times=1000)
    error, published = failed(user, root, content, references)
    assert isinstance(error, AuthenticationError)
    assert published == []
    assert [len(data) for data in registry.blobs["app"].values()] == [9]
    assert registry.manifests["app"] == {}


def test_no_tag_is_set_before_all_have_all(
    user: Client,
    registry: MemoryRegistry,
    other: MemoryRegistry,
    content: Content,
    root: Descriptor,
    references: list[Reference],
) -> None:
    other.fail("PUT", "/manifests/sha256:", status(400))
    error, published = failed(user, root, content, references)
    assert isinstance(error, RegistryError)
    assert published == []
    assert not {"v1", "v2", str(root.digest)} & set(registry.manifests["app"])


def test_what_was_published_is_said(
    user: Client,
    registry: MemoryRegistry,
    other: MemoryRegistry,
    content: Content,
    root: Descriptor,
    references: list[Reference],
) -> None:
    other.fail("PUT", "/manifests/v1", status(400), times=1000)
    error, published = failed(user, root, content, references)
    assert isinstance(error, RegistryError)
    assert published == [f"{registry.address}/app:v1", f"{registry.address}/app:v2"]
    assert f"left as it is: {', '.join(published)}" in error.why
    other.faults.clear()
    assert [each.status for each in push(user.registries, root, content, references)] == [
        "present",
        "present",
        "pushed",
    ]


def test_an_interruption_says_it_in_an_event(
    user: Client,
    registry: MemoryRegistry,
    other: MemoryRegistry,
    content: Content,
    root: Descriptor,
    references: list[Reference],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if event.kind == "done" and event.data["step"] == "push":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        push(user.registries, root, content, references, on_event=on_event)
    assert events[-1].kind == "warning"
    assert events[-1].data["published"] == [f"{registry.address}/app:v1", f"{registry.address}/app:v2"]
    assert f"{registry.address}/app:v2" in events[-1].message


def test_a_push_to_one_that_fails_says_nothing_more(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor, references: list[Reference]
) -> None:
    registry.fail("PUT", "/manifests/v1", status(400))
    with pytest.raises(RegistryError) as caught:
        push(user.registries, root, content, references[:1])
    assert "published" not in caught.value.why


# What is told


def test_one_line_a_repository_says_the_sum(
    user: Client, registry: MemoryRegistry, content: Content, root: Descriptor, references: list[Reference]
) -> None:
    registry.add_blob("app", SHARED)
    registry.add_blob("base", b"for amd64")
    content.known_in[Digest.of(b"for amd64")] = (Reference.parse(f"{registry.address}/base:1"),)
    events: list[Event] = []
    push(user.registries, root, content, references, on_event=events.append)
    starts = [event.message for event in events if event.kind == "start"]
    assert starts == [f"pushing to {each.familiar_name}" for each in (references[0], references[2])]
    first, second = (event for event in events if event.kind == "done" and event.data["step"] == "push")
    told = re.escape(
        f"pushed {references[0].familiar_name}: 2 blobs of 74 B sent, 1 mounted, 1 there already"
    )
    assert re.fullmatch(told + r", in \d+\.\d s", first.message)
    assert (first.data["uploaded"], first.data["mounted"], first.data["present"]) == (2, 1, 1)
    assert first.data["digest"] == str(root.digest)
    assert first.data["sent"] == 74
    assert "4 blobs of 50.1 kB sent, in " in second.message
    for event in events:
        assert not re.search("[0-9a-f]{64}", event.message)
        if event.kind == "done" and event.data["step"] == "blob":
            assert event.message.endswith(event.data["digest"][:19])
    events.clear()
    push(user.registries, root, content, [references[0].with_tag("v3")], on_event=events.append)
    assert "/app: all blobs there already, in " in events[-1].message


@pytest.mark.parametrize(
    ("counts", "sent", "text"),
    [
        ((1, 0, 0), 999, "1 blob of 999 B sent"),
        ((3, 4, 2), 12_300_000, "3 blobs of 12.3 MB sent, 4 mounted, 2 there already"),
        ((2, 0, 0), 999_960, "2 blobs of 1.0 MB sent"),
        ((2, 0, 0), 12_345_000_000_000_000, "2 blobs of 12345.0 TB sent"),
        ((0, 1, 0), 0, "1 mounted"),
        ((0, 0, 0), 0, "all blobs there already"),
    ],
)
def test_sums(counts: tuple[int, int, int], sent: int, text: str) -> None:
    assert summary(dict(zip(("uploaded", "mounted", "present"), counts, strict=True)), sent) == text


def test_a_short_digest() -> None:
    assert short(Digest.parse("sha512:" + "ab" * 64)) == "sha512:abababababab"


def test_a_small_blob_goes_first_and_once(
    user: Client,
    registry: MemoryRegistry,
    other: MemoryRegistry,
    content: Content,
    root: Descriptor,
    references: list[Reference],
) -> None:
    def note(handler: Handler) -> bool:
        order.append(handler.headers["Host"])
        return False

    order: list[str] = []
    for one in (registry, other):
        one.fail("PUT", "/blobs/uploads/", note, times=1000)
    push(user.registries, root, content, references)
    assert order[:2] == [registry.address, other.address]
    assert len(order) == 8

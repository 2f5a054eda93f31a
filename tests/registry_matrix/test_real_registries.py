"""hostbuild against real registries of three kinds: others read what it pushes, it pulls what they have."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pytest

from hostbuild.errors import AuthenticationError, TlsError
from hostbuild.model import Access
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.index import Index
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.reference import Reference
from hostbuild.registry import Registries, push
from tests.registry_matrix.house import random_bytes
from tests.registry_matrix.operations import Content, Prepared
from tests.rig.fault_proxy import FaultProxy
from tests.rig.layout import INDEX, blob_path
from tests.rig.pulling import Puller
from tests.rig.registries import PASSWORD, USER, Kind, Registry
from tests.rig.tls import Authority
from tests.rig.tokens import ALL_ACTIONS, Account, TokenServer

Mode = Literal["plain", "passwords", "tls", "tls and passwords", "tokens", "tokens of a second"]
SETTINGS: list[tuple[Kind, Mode]] = [
    ("crane", "plain"),
    ("crane", "tls"),
    *((kind, mode) for kind in ("docker-registry", "distribution") for mode in get_args(Mode)),
]


@dataclass
class Found:
    """A registry that runs, how hostbuild gets in, and how others do."""

    address: str
    access: Access
    puller: Puller
    tokens: TokenServer | None


@contextmanager
def open_registry(kind: Kind, mode: Mode, directory: Path) -> Iterator[Found]:
    with ExitStack() as stack:
        authority = Authority(directory / "ca") if "tls" in mode else None
        tokens = None
        if "tokens" in mode:
            account = Account(PASSWORD, {"*": ALL_ACTIONS})
            tokens = stack.enter_context(TokenServer(accounts={USER: account}))
        if kind == "crane":
            registry = stack.enter_context(Registry(kind, directory / "r"))
            proxy = stack.enter_context(FaultProxy(registry.address, tls=authority))
            address = proxy.address
        else:
            registry = stack.enter_context(
                Registry(kind, directory / "r", passwords="passwords" in mode, tokens=tokens, tls=authority)
            )
            address = registry.address
        if mode == "tokens of a second" and tokens is not None:
            tokens.lifetime = 1
        closed = "passwords" in mode or tokens is not None
        access = Access(
            environment={"HOME": str(directory)},
            credentials=((address, f"{USER}:{PASSWORD}"),) if closed else (),
            ca_file=str(authority.ca_file) if authority else "",
            retry_time=20,
            silence=20,
        )
        ca_file = authority.ca_file if authority else None
        puller = Puller(directory / "p", login=(USER, PASSWORD) if closed else None, ca_file=ca_file)
        yield Found(address, access, puller, tokens)


def make_image() -> Prepared:
    made = Prepared("team/app")
    shared = random_bytes(500_000)
    manifests = [made.add_image(arch, [shared, random_bytes(1000)]) for arch in ("amd64", "arm64")]
    made.add({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, INDEX)
    return made


def pull(registries: Registries, reference: Reference) -> dict[str, bytes]:
    """All that hostbuild gets of an image, by digest."""
    repository = registries.repository(reference)
    root, data = repository.manifest(reference.tag)
    got = {str(root.digest): data}

    def fetch(descriptor: Descriptor) -> None:
        content = bytearray()
        repository.fetch(descriptor, content.extend)
        got[str(descriptor.digest)] = bytes(content)

    for child in Index.decode(data, "index").manifests:
        _, got[str(child.digest)] = repository.manifest(str(child.digest))
        manifest = Manifest.decode(got[str(child.digest)], "manifest")
        for descriptor in (manifest.config, *manifest.layers):
            fetch(descriptor)
    return got


@pytest.mark.parametrize(("kind", "mode"), SETTINGS)
def test_what_is_pushed_is_what_others_read_and_what_is_pulled_again(
    kind: Kind, mode: Mode, tmp_path: Path
) -> None:
    image = make_image()
    with open_registry(kind, mode, tmp_path) as found:
        references = [Reference.parse(f"{found.address}/team/app:{tag}") for tag in ("v1", "latest")]
        with Registries(found.access) as registries:
            done = push(registries, image.root, Content(image, ()), references)
            assert [one.status for one in done] == ["pushed", "pushed"]
            again = push(registries, image.root, Content(image, ()), references)
            assert [(one.status, one.bytes_sent) for one in again] == [("present", 0)] * 2
            got = pull(registries, references[0])
        name = str(references[0])
        found.puller.validate(name)
        assert found.puller.digest(name) == str(image.root.digest)
        assert sorted(found.puller.tags(f"{found.address}/team/app")) == ["latest", "v1"]
        copied = found.puller.skopeo(name, tmp_path / "copied")
        everything = {
            **{digest: data for digest, (data, _) in image.documents.items()},
            **{"sha256:" + hashlib.sha256(data).hexdigest(): data for data in image.blobs + image.configs},
        }
        assert got == everything
        for digest, data in everything.items():
            assert blob_path(copied, digest).read_bytes() == data


@pytest.mark.parametrize("kind", ["docker-registry", "distribution"])
@pytest.mark.parametrize("mode", ["tls and passwords", "tokens"])
def test_a_wrong_password_is_one_clear_error(kind: Kind, mode: Mode, tmp_path: Path) -> None:
    image = make_image()
    with open_registry(kind, mode, tmp_path) as found:
        access = found.access._replace(credentials=((found.address, f"{USER}:not this"),))
        reference = Reference.parse(f"{found.address}/team/app:v1")
        with Registries(access) as registries, pytest.raises(AuthenticationError) as caught:
            push(registries, image.root, Content(image, ()), [reference])
        assert found.address in str(caught.value)
        assert caught.value.fix
        assert "not this" not in repr(caught.value) + str(caught.value.__dict__)


def test_an_unknown_authority_is_one_clear_error(tmp_path: Path) -> None:
    with open_registry("distribution", "tls", tmp_path) as found:
        reference = Reference.parse(f"{found.address}/team/app:v1")
        with Registries(found.access._replace(ca_file="")) as registries, pytest.raises(TlsError) as caught:
            registries.repository(reference).head("v1")
        assert "--ca-file" in caught.value.fix
        with Registries(found.access._replace(ca_file="", verify=False)) as registries:
            assert registries.repository(reference).head("v1") is None

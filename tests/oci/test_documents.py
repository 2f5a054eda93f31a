"""Descriptor, manifest, index and config: what comes in goes out again; what is wrong is a typed error."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import HostbuildError, InvalidDocumentError
from hostbuild.oci.config import History, ImageConfig, RunConfig
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.index import Index
from hostbuild.oci.json import canonical
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.media_types import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    translate,
)
from tests.oci.samples import BASE_CONFIG, BASE_MANIFEST, assert_explains
from tests.oci.strategies import JSON, damaged

D = str(Digest.of(b"x"))

DESCRIPTOR: dict[str, Any] = {
    "mediaType": OCI_MANIFEST,
    "digest": D,
    "size": 7,
    "platform": {"os": "linux", "architecture": "arm", "variant": "v7", "features": ["neon"]},
    "annotations": {"a": "b", "empty": ""},
    "artifactType": "application/x",
    "urls": ["https://registry.example/x"],
    "data": "eA==",
    "org.example.later": {"deep": [None, 1.5]},
}
MANIFEST: dict[str, Any] = {
    **BASE_MANIFEST,
    "annotations": {"k": "v"},
    "artifactType": "application/x",
    "subject": {"mediaType": OCI_MANIFEST, "digest": D, "size": 0},
    "later": True,
}
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": OCI_INDEX,
    "manifests": [
        DESCRIPTOR,
        {**DESCRIPTOR, "platform": {"os": "unknown", "architecture": "unknown"}},
    ],
    "annotations": {"k": "v"},
    "artifactType": "application/x",
    "subject": {"mediaType": OCI_MANIFEST, "digest": D, "size": 0},
    "later": [1],
}
CONFIG: dict[str, Any] = {
    **BASE_CONFIG,
    "config": {
        **BASE_CONFIG["config"],
        "Later": 1,
    },
    "rootfs": {"type": "layers", "diff_ids": [D], "later": 0},
    "history": [{"created_by": "x", "author": "a", "empty_layer": True, "later": []}],
}


class Document(Protocol):
    """What all of them have."""

    def to_json(self) -> dict[str, Any]: ...


KINDS: list[tuple[Callable[[object], Document], dict[str, Any]]] = [
    (Descriptor.from_json, DESCRIPTOR),
    (Manifest.from_json, MANIFEST),
    (Index.from_json, INDEX),
    (ImageConfig.from_json, CONFIG),
]


@pytest.mark.parametrize(("read", "document"), KINDS, ids=["descriptor", "manifest", "index", "config"])
def test_what_comes_in_goes_out(read: Callable[[object], Document], document: dict[str, Any]) -> None:
    found = read(document)
    assert found.to_json() == document
    assert read(json.loads(canonical(found.to_json()))) == found
    assert pickle.loads(pickle.dumps(found)) == found
    assert len({found, read(document)}) == 1


@pytest.mark.parametrize(("read", "document"), KINDS, ids=["descriptor", "manifest", "index", "config"])
@given(data=st.data())
def test_damaged_documents(
    read: Callable[[object], Document], document: dict[str, Any], data: st.DataObject
) -> None:
    hostile = data.draw(damaged(document) | JSON)
    try:
        canonical(read(hostile).to_json())
    except InvalidDocumentError as error:
        assert_explains(error)


def test_null_is_absent() -> None:
    plain = ImageConfig.from_json(
        {"os": "linux", "architecture": "arm64", "rootfs": {"type": "layers", "diff_ids": []}}
    )
    nulls = dict.fromkeys(["config", "history", "created", "author", "variant", "os.features"])
    assert ImageConfig.from_json({**plain.to_json(), **nulls}) == plain
    run = dict.fromkeys(
        ["User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "Labels", "WorkingDir"]
    )
    assert RunConfig.from_json(run) == RunConfig()


def test_a_manifest_without_media_type_stays_without() -> None:
    document = {key: value for key, value in BASE_MANIFEST.items() if key != "mediaType"}
    assert Manifest.from_json(document).to_json() == document


WRONG: list[tuple[Callable[[Any], Document], dict[str, Any], dict[str, Any], str]] = [
    (Descriptor.from_json, DESCRIPTOR, {"mediaType": None}, "descriptor has no 'mediaType'"),
    (Descriptor.from_json, DESCRIPTOR, {"mediaType": "nonsense"}, "nonsense"),
    (Descriptor.from_json, DESCRIPTOR, {"digest": None}, "descriptor has no 'digest'"),
    (Descriptor.from_json, DESCRIPTOR, {"digest": "sha256:../../x"}, "sha256:../../x"),
    (Descriptor.from_json, DESCRIPTOR, {"digest": 1}, "descriptor.digest is 1"),
    (Descriptor.from_json, DESCRIPTOR, {"size": None}, "descriptor has no 'size'"),
    (Descriptor.from_json, DESCRIPTOR, {"size": True}, "descriptor.size is true"),
    (Descriptor.from_json, DESCRIPTOR, {"size": -1}, "descriptor.size is -1"),
    (Descriptor.from_json, DESCRIPTOR, {"size": 1.0}, "descriptor.size is 1.0"),
    (Descriptor.from_json, DESCRIPTOR, {"size": 2**63}, "it is too large: at most 9223372036854775807"),
    (Descriptor.from_json, DESCRIPTOR, {"size": 10**5000}, "a very large number"),
    (Descriptor.from_json, DESCRIPTOR, {"annotations": {"a": 1}}, "descriptor.annotations is an object"),
    (Descriptor.from_json, DESCRIPTOR, {"annotations": []}, "descriptor.annotations is an array"),
    (Descriptor.from_json, DESCRIPTOR, {"platform": "linux"}, "descriptor.platform is 'linux'"),
    (
        Descriptor.from_json,
        DESCRIPTOR,
        {"platform": {"os": "linux"}},
        "descriptor.platform has no 'architecture'",
    ),
    (Manifest.from_json, MANIFEST, {"schemaVersion": 1}, "schemaVersion is 1"),
    (Manifest.from_json, MANIFEST, {"schemaVersion": None}, "no 'schemaVersion'"),
    (Manifest.from_json, MANIFEST, {"mediaType": OCI_INDEX}, "not an image manifest"),
    (Manifest.from_json, MANIFEST, {"manifests": []}, "'manifests'"),
    (Manifest.from_json, MANIFEST, {"schemaVersion": 1, "fsLayers": []}, "'fsLayers'"),
    (Manifest.from_json, MANIFEST, {"config": None}, "no 'config'"),
    (Manifest.from_json, MANIFEST, {"layers": {}}, "manifest.layers is an object"),
    (Manifest.from_json, MANIFEST, {"layers": [DESCRIPTOR, None]}, "manifest.layers[1] is null"),
    (Index.from_json, INDEX, {"mediaType": DOCKER_MANIFEST}, "not an image index"),
    (Index.from_json, INDEX, {"layers": []}, "'layers'"),
    (Index.from_json, INDEX, {"config": {}}, "'config'"),
    (Index.from_json, INDEX, {"manifests": [{**DESCRIPTOR, "size": "1"}]}, "index.manifests[0].size is '1'"),
    (ImageConfig.from_json, CONFIG, {"os": None}, "no 'os'"),
    (ImageConfig.from_json, CONFIG, {"architecture": ""}, "no 'architecture'"),
    (ImageConfig.from_json, CONFIG, {"rootfs": None}, "no 'rootfs'"),
    (ImageConfig.from_json, CONFIG, {"rootfs": {"type": "zip", "diff_ids": []}}, "rootfs.type is 'zip'"),
    (ImageConfig.from_json, CONFIG, {"rootfs": {"type": "layers", "diff_ids": ["x"]}}, "rootfs.diff_ids[0]"),
    (ImageConfig.from_json, CONFIG, {"config": {"Env": ["A=1", 2]}}, "config.Env"),
    (ImageConfig.from_json, CONFIG, {"config": {"Cmd": "sh"}}, "config.Cmd is 'sh'"),
    (ImageConfig.from_json, CONFIG, {"config": {"Volumes": {"/x": 1}}}, "config.Volumes"),
    (ImageConfig.from_json, CONFIG, {"config": {"Labels": {"x": None}}}, "config.Labels"),
    (ImageConfig.from_json, CONFIG, {"history": [{"empty_layer": "yes"}]}, "history[0].empty_layer is 'yes'"),
]


@pytest.mark.parametrize(("read", "document", "change", "said"), WRONG)
def test_what_is_wrong_is_named(
    read: Callable[[Any], Document], document: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        read({**document, **change})
    assert said in str(caught.value)
    assert_explains(caught.value)
    assert caught.value.exit_code == 1


def test_bytes_are_read_and_named() -> None:
    assert Manifest.decode(canonical(MANIFEST)).encode() == canonical(MANIFEST)
    assert Index.decode(canonical(INDEX)).encode() == canonical(INDEX)
    assert ImageConfig.decode(canonical(CONFIG)).encode() == canonical(CONFIG)
    for read in (Manifest.decode, Index.decode, ImageConfig.decode):
        with pytest.raises(InvalidDocumentError, match="base image's"):
            read(b"{", "the base image's document")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_document_or_the_typed_error(data: bytes) -> None:
    for read in (Manifest.decode, Index.decode, ImageConfig.decode):
        with pytest.raises(HostbuildError):
            read(data)


def test_an_entry_that_says_nothing() -> None:
    assert History().to_json() == {}


@pytest.mark.parametrize(
    ("docker", "oci"),
    [
        (DOCKER_INDEX, OCI_INDEX),
        (DOCKER_MANIFEST, OCI_MANIFEST),
        (DOCKER_CONFIG, OCI_CONFIG),
        (DOCKER_LAYER_GZIP, OCI_LAYER_GZIP),
        (OCI_LAYER_GZIP, OCI_LAYER_GZIP),
        ("application/x-other", "application/x-other"),
    ],
)
def test_translation(docker: str, oci: str) -> None:
    assert translate(docker) == oci

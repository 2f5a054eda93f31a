"""What this room writes, against the image specification's own JSON schemas."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from hostbuild.oci.compose import ComposedImage, compose_image, compose_index
from hostbuild.oci.layout import layout_index, oci_layout_bytes
from hostbuild.oci.reference import Reference
from tests.oci.samples import base, spec
from tests.rig.schemas import Schemas


@cache
def _schemas() -> Schemas:
    return Schemas()


def faults(schema: str, data: bytes) -> list[str]:
    return _schemas().errors(schema, json.loads(data))


FULL: dict[str, Any] = {
    "env": (("A", "1"),),
    "entrypoint": ("/p",),
    "cmd": ("x",),
    "ports": ("8080",),
    "volumes": ("/data",),
    "labels": (("k", "v"),),
    "annotations": (("k", "v"),),
    "descriptor_annotations": (("k", "v"),),
}
IMAGES = [
    compose_image(spec(), None),
    compose_image(spec("linux/arm/v7", **FULL), None),
    compose_image(spec(**FULL), base()),
    compose_image(spec(**FULL), base(history=None, config=None)),
]


@pytest.mark.parametrize("image", IMAGES)
def test_configs_and_manifests(image: ComposedImage) -> None:
    assert faults("config-schema.json", image.config) == []
    assert faults("image-manifest-schema.json", image.manifest) == []


def test_indexes_and_layout() -> None:
    children = [image.manifest_descriptor for image in IMAGES[:2]]
    index, descriptor = compose_index(children, (("k", "v"),))
    assert faults("image-index-schema.json", index) == []
    assert (
        faults("image-index-schema.json", layout_index(descriptor, Reference.parse("a/b:c")).encode()) == []
    )
    assert faults("image-layout-schema.json", oci_layout_bytes()) == []


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ("config-schema.json", b'{"os":"linux","architecture":"amd64"}'),
        ("image-manifest-schema.json", IMAGES[0].manifest.replace(b'"size":', b'"size":"","was":')),
        ("image-manifest-schema.json", IMAGES[0].manifest.replace(b'"sha256:', b'"sha256/')),
        ("image-index-schema.json", b'{"schemaVersion":1,"manifests":[]}'),
        ("image-layout-schema.json", b'{"imageLayoutVersion":"2.0.0"}'),
    ],
)
def test_the_schemas_find_faults(schema: str, data: bytes) -> None:
    assert faults(schema, data)

"""Documents that the tests of this room start from."""

from __future__ import annotations

from typing import Any

from hostbuild.errors import HostbuildError
from hostbuild.oci.compose import BaseImage, ImageSpec, LayerRef
from hostbuild.oci.config import ImageConfig
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.media_types import (
    DOCKER_CONFIG,
    DOCKER_FOREIGN_LAYER_GZIP,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_LAYER_GZIP,
)
from hostbuild.oci.platform import Platform

CREATED = "2024-05-01T12:00:00Z"


def layer(name: str) -> LayerRef:
    data = name.encode()
    return LayerRef(Descriptor.of(OCI_LAYER_GZIP, data), Digest.of(b"diff " + data), f"make {name}")


def assert_explains(error: HostbuildError) -> None:
    """The error says what, why and what to do, in one line each that a terminal may show."""
    for text in (error.what, error.why, error.fix):
        assert text, repr(error.what)
        assert text.isprintable()
        assert len(text) < 600


def spec(platform: str = "linux/amd64", **more: Any) -> ImageSpec:
    values: dict[str, Any] = {
        "platform": Platform.parse(platform),
        "created": CREATED,
        "layers": (layer("data"), layer("binary")),
        **more,
    }
    return ImageSpec(**values)


BASE_CONFIG: dict[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "os.version": "12.1",
    "os.features": ["f1"],
    "author": "somebody",
    "created": "2020-01-01T00:00:00.123456789Z",
    "docker_version": "20.10",
    "container": "0123",
    "container_config": {"Cmd": ["old"]},
    "org.example.kept": [1],
    "config": {
        "User": "app",
        "Env": ["PATH=/opt/bin:/bin", "LANG=C", "LANG=C.UTF-8", "odd"],
        "Entrypoint": ["/entry"],
        "Cmd": ["base"],
        "ExposedPorts": {"53/udp": {}},
        "Volumes": {"/var/base": {}},
        "WorkingDir": "/base",
        "Labels": {"a": "base", "b": "base"},
        "StopSignal": "SIGQUIT",
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30000000000},
        "Shell": ["/bin/bash", "-c"],
        "OnBuild": ["RUN x"],
        "ArgsEscaped": True,
        "Image": "sha256:0",
    },
    "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(b"d1")), str(Digest.of(b"d2"))]},
    "history": [
        {"created_by": "ADD rootfs", "created": "2020-01-01T00:00:00Z"},
        {"created_by": "ENV LANG", "empty_layer": True},
        {"created_by": "RUN x", "comment": "c"},
    ],
}

BASE_MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": DOCKER_MANIFEST,
    "config": Descriptor.of(DOCKER_CONFIG, b"config").to_json(),
    "layers": [
        Descriptor.of(DOCKER_LAYER_GZIP, b"l1").to_json(),
        {
            **Descriptor.of(DOCKER_FOREIGN_LAYER_GZIP, b"l2").to_json(),
            "urls": ["https://registry.example/l2"],
        },
    ],
}


def base(**changes: object) -> BaseImage:
    """The base image, with fields of its config replaced."""
    return BaseImage(
        ImageConfig.from_json({**BASE_CONFIG, **changes}),
        Manifest.from_json(BASE_MANIFEST),
        "docker.io/library/base:1",
        str(Digest.of(b"index")),
    )

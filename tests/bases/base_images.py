"""Small base images in layouts, written by hand: any platforms, any media types, any lies."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.rig.handmade import put, put_json, tar_of
from tests.rig.layout import CONFIG, INDEX, LAYER, MANIFEST

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def platform_of(text: str) -> dict[str, str]:
    """The JSON object of os/architecture[/variant]."""
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def put_image(
    layout: Path,
    config_platform: Mapping[str, Any],
    *,
    content: bytes = b"base",
    docker: bool = False,
    layer_type: str = "",
    config_fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One image's blobs; the descriptor of its manifest, without a platform."""
    tar = tar_of({"base.txt": content})
    layer = put(
        layout, gzip.compress(tar, mtime=0), layer_type or (DOCKER_LAYER if docker else f"{LAYER}+gzip")
    )
    config = {
        **config_platform,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
        "config": {"Env": ["PATH=/base/bin", "BASE=1"], "User": "7:7", "Labels": {"from": "base"}},
        "history": [{"created_by": "the base"}],
        **(config_fields or {}),
    }
    config_descriptor = put_json(layout, config, DOCKER_CONFIG if docker else CONFIG)
    media_type = DOCKER_MANIFEST if docker else MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config_descriptor,
        "layers": [layer],
    }
    return put_json(layout, manifest, media_type)


def write_base(
    layout: Path,
    platforms: Sequence[str],
    *,
    docker: bool = False,
    extra: Sequence[dict[str, Any]] = (),
    name: str = "registry.example/base:1",
    layer_type: str = "",
) -> Path:
    """A layout that holds an index of one image a platform, and what `extra` describes besides."""
    children = [
        {
            **put_image(
                layout, platform_of(each), content=each.encode(), docker=docker, layer_type=layer_type
            ),
            "platform": platform_of(each),
        }
        for each in platforms
    ]
    media_type = DOCKER_INDEX if docker else INDEX
    index = {"schemaVersion": 2, "mediaType": media_type, "manifests": [*children, *extra]}
    return finish(layout, put_json(layout, index, media_type), name)


def finish(layout: Path, top: dict[str, Any], name: str = "registry.example/base:1") -> Path:
    """Write what makes the blobs a layout whose one image is `top`."""
    named = {**top, "annotations": {"org.opencontainers.image.ref.name": name}}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return layout

"""Write a small, right image layout by hand, so that the rig itself can be tested without hostbuild."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.rig.layout import CONFIG, INDEX, LAYER, MANIFEST, REFERENCE_NAME


def put(layout: Path, data: bytes, media_type: str) -> dict[str, Any]:
    """Write a blob and return its descriptor."""
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (layout / "blobs/sha256" / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def put_json(layout: Path, document: Mapping[str, Any], media_type: str) -> dict[str, Any]:
    return put(layout, json.dumps(document).encode(), media_type)


def tar_of(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid, info.gid = len(data), 0o755, 1000, 1000
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def write_image(
    layout: Path, platform: str, files: Mapping[str, bytes], config: Mapping[str, Any]
) -> dict[str, Any]:
    """One platform's layer, config and manifest; the manifest's descriptor."""
    os_name, architecture, variant = [*platform.split("/"), ""][:3]
    target = {"os": os_name, "architecture": architecture, **({"variant": variant} if variant else {})}
    archive = tar_of(files)
    layer = put(layout, gzip.compress(archive, mtime=0), LAYER + "+gzip")
    document = {
        **target,
        "created": "1970-01-01T00:00:00Z",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(archive).hexdigest()]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "hand"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": put_json(layout, document, CONFIG),
        "layers": [layer],
    }
    return {**put_json(layout, manifest, MANIFEST), "platform": target}


def write_handmade(
    layout: Path, reference: str, files: Mapping[str, Mapping[str, bytes]], config: Mapping[str, Any]
) -> None:
    """A layout with a nested index; `files` maps each platform to its files."""
    layout.mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    manifests = [write_image(layout, platform, content, config) for platform, content in files.items()]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    named = {**put_json(layout, index, INDEX), "annotations": {REFERENCE_NAME: reference}}
    outer = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}
    (layout / "index.json").write_text(json.dumps(outer))

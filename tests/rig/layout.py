"""Read an OCI image layout and judge every byte of it, in plain Python, without hostbuild's own code.

`read_layout` walks index.json, the nested index, the manifests, configs and layers as the image specification
describes them, and raises AssertionError where anything is not as it must be.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OCI = "application/vnd.oci.image."
INDEX = OCI + "index.v1+json"
MANIFEST = OCI + "manifest.v1+json"
CONFIG = OCI + "config.v1+json"
LAYER = OCI + "layer.v1.tar"
REFERENCE_NAME = "org.opencontainers.image.ref.name"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Member:
    """One name in a layer, as tarfile tells it."""

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    target: str
    data: bytes
    owner_names: tuple[str, str]


@dataclass(frozen=True)
class Image:
    """One platform's image; `layers` holds each layer's members in their order."""

    platform: str
    descriptor: dict[str, Any]
    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: tuple[tuple[Member, ...], ...]

    @property
    def env(self) -> dict[str, str]:
        """The config's environment; a name that stands twice is an error."""
        pairs = [text.partition("=")[::2] for text in self.config["config"].get("Env", [])]
        assert len({name for name, _ in pairs}) == len(pairs), f"a name stands twice in {pairs}"
        return dict(pairs)

    @property
    def files(self) -> dict[str, Member]:
        """What a container would see: later layers over earlier ones (whiteouts are not expected here)."""
        seen = {member.path: member for layer in self.layers for member in layer}
        assert not [path for path in seen if "/.wh." in f"/{path}"], "whiteouts in an image without a base"
        return seen


@dataclass(frozen=True)
class Layout:
    """A whole layout: the one reference it carries, the nested index, and one image a platform."""

    path: Path
    reference: str
    digest: str
    index: dict[str, Any]
    images: dict[str, Image]


def platform_text(platform: dict[str, Any]) -> str:
    """`os/architecture[/variant]`; arm64's v8 is the default and is not told."""
    variant = platform.get("variant", "")
    if platform["architecture"] == "arm64" and variant == "v8":
        variant = ""
    return "/".join(part for part in (platform["os"], platform["architecture"], variant) if part)


def blob_path(layout: Path, digest: str) -> Path:
    assert DIGEST.fullmatch(digest), f"not a digest: {digest!r}"
    return layout / "blobs" / "sha256" / digest.partition(":")[2]


def read_blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    """The bytes that a descriptor names; size and digest are checked."""
    data = blob_path(layout, descriptor["digest"]).read_bytes()
    assert len(data) == descriptor["size"], (
        f"{descriptor['digest']} has {len(data)} bytes, not {descriptor['size']}"
    )
    found = "sha256:" + hashlib.sha256(data).hexdigest()
    assert found == descriptor["digest"], f"the blob named {descriptor['digest']} is {found}"
    return data


def read_document(layout: Path, descriptor: dict[str, Any], media_type: str) -> dict[str, Any]:
    assert descriptor["mediaType"] == media_type, f"{descriptor['mediaType']} where {media_type} belongs"
    document: dict[str, Any] = json.loads(read_blob(layout, descriptor))
    assert document.get("mediaType", media_type) == media_type
    return document


def read_members(data: bytes) -> tuple[Member, ...]:
    """A tar archive's members; it must end as the format asks, with nothing after it."""
    members = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            kind = "dir" if info.isdir() else "link" if info.issym() else "file" if info.isreg() else "other"
            assert kind != "other", f"{info.name} is of type {info.type!r}"
            assert not info.name.startswith(("/", "./")), f"{info.name!r} is not a plain relative name"
            assert ".." not in info.name.split("/"), f"{info.name!r} leaves the image"
            opened = archive.extractfile(info) if kind == "file" else None
            content = opened.read() if opened is not None else b""
            members.append(
                Member(
                    path=info.name.rstrip("/"),
                    kind=kind,
                    mode=info.mode,
                    uid=info.uid,
                    gid=info.gid,
                    mtime=int(info.mtime),
                    target=info.linkname,
                    data=content,
                    owner_names=(info.uname, info.gname),
                )
            )
    assert len(data) % 512 == 0, f"the archive's {len(data)} bytes are not whole records"
    assert data.endswith(bytes(1024)), "the archive lacks its two closing records"
    names = [member.path for member in members]
    assert len(set(names)) == len(names), "a name stands twice in one layer"
    return tuple(members)


def read_layer(layout: Path, descriptor: dict[str, Any], diff_id: str) -> tuple[Member, ...]:
    data = read_blob(layout, descriptor)
    media_type = descriptor["mediaType"]
    assert media_type in (LAYER, LAYER + "+gzip"), f"a layer of type {media_type}"
    if media_type.endswith("+gzip"):
        data = gzip.decompress(data)
    found = "sha256:" + hashlib.sha256(data).hexdigest()
    assert found == diff_id, f"layer {descriptor['digest']} has diff ID {found}, the config says {diff_id}"
    return read_members(data)


def read_image(layout: Path, descriptor: dict[str, Any]) -> Image:
    manifest = read_document(layout, descriptor, MANIFEST)
    assert manifest["schemaVersion"] == 2
    config = read_document(layout, manifest["config"], CONFIG)
    platform = platform_text(descriptor["platform"])
    assert platform_text(config) == platform, f"config says {platform_text(config)}, the index {platform}"
    assert config["rootfs"]["type"] == "layers"
    diff_ids = config["rootfs"]["diff_ids"]
    assert len(diff_ids) == len(manifest["layers"]), "diff IDs and layers differ in number"
    history = [entry for entry in config["history"] if not entry.get("empty_layer")]
    assert len(history) == len(manifest["layers"]), "non-empty history entries and layers differ in number"
    layers = tuple(
        read_layer(layout, layer, diff_id)
        for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True)
    )
    return Image(platform, descriptor, manifest, config, layers)


def read_layout(path: Path) -> Layout:
    """The layout at `path`, every blob of it verified and every blob in it named by something."""
    assert json.loads((path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    outer = json.loads((path / "index.json").read_bytes())
    assert outer["schemaVersion"] == 2
    assert len(outer["manifests"]) == 1, "index.json names more than one thing: common tools refuse it"
    (named,) = outer["manifests"]
    index = read_document(path, named, INDEX)
    assert index["schemaVersion"] == 2
    images = {}
    for descriptor in index["manifests"]:
        image = read_image(path, descriptor)
        assert image.platform not in images, f"{image.platform} stands twice"
        images[image.platform] = image
    used = {named["digest"]}
    for image in images.values():
        used |= {image.descriptor["digest"], image.manifest["config"]["digest"]}
        used |= {layer["digest"] for layer in image.manifest["layers"]}
    present = {f"{file.parent.name}:{file.name}" for file in (path / "blobs").glob("*/*")}
    assert present == used, f"unnamed or missing blobs: {sorted(present ^ used)}"
    assert {entry.name for entry in path.iterdir()} == {"oci-layout", "index.json", "blobs"}
    return Layout(path, named["annotations"][REFERENCE_NAME], named["digest"], index, images)

"""Archives of `docker save`, as docker, podman, buildx and others write them.

manifest.json lists images: the file of each one's config, and those of its layers, the lowest first. There is
no manifest, so one is made: the same archive gives the same one. Layers are carried as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from hostbuild.errors import CorruptBlobError, InvalidDocumentError, LocalImageError
from hostbuild.layer.archive import PIECE, ArchiveReader
from hostbuild.local.image import LocalImage
from hostbuild.local.places import Place, chosen, full_name, listed
from hostbuild.oci.config import ImageConfig
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.fields import Fields
from hostbuild.oci.json import MAX_DOCUMENT, parse_object
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST
from hostbuild.oci.quoting import quote

MANIFEST_FILE = "manifest.json"

_LAYER_TYPES = {b"\x1f\x8b": OCI_LAYER_GZIP, b"\x28\xb5\x2f\xfd": OCI_LAYER_ZSTD}
_FOREIGN = {b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2"}


class _Listed(NamedTuple):
    """One image of manifest.json."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]


def open_docker_archive(archive: ArchiveReader, place: Place) -> LocalImage:
    """The image in the archive that `place` chooses (by one of its tags, or by its ID), or its only one.

    The root is a manifest of OCI media types. The digest of a layer that is not compressed is its diff ID;
    of another one, its file's name where that is a digest, else it is computed: one reading of the layer.
    Bytes are verified by who copies them.

    Raises LocalImageError where this is no such archive, or lacks a file, or holds several images or not
    the one asked for; InvalidDocumentError, CorruptBlobError for what contradicts itself.
    """
    images = _read_list(archive)
    image = _pick(archive, images, place)
    data = archive.read(image.config, MAX_DOCUMENT)
    digest = Digest.of(data)
    told = _digest_in(image.config)
    if told is not None and told != digest:
        raise CorruptBlobError(
            f"the image config {quote(image.config)} in {archive.path!r} is damaged",
            why=f"its digest is {digest}",
            fix="write or copy the archive anew",
            digest=str(told),
        )
    config = ImageConfig.decode(data, f"the image config {quote(image.config)} of {archive.path!r}")
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(image.layers):
        raise InvalidDocumentError(
            f"the image in {archive.path!r} contradicts itself",
            why=f"{MANIFEST_FILE} lists {len(image.layers)} layers, its config {len(diff_ids)} diff IDs",
            fix="write the archive anew",
        )
    layers = tuple(_layer(archive, *each) for each in zip(image.layers, diff_ids, strict=True))
    manifest = Manifest(config=Descriptor(OCI_CONFIG, digest, len(data)), layers=layers).encode()
    root = Descriptor.of(OCI_MANIFEST, manifest, platform=config.platform)
    where = {layer.digest: name for layer, name in zip(layers, image.layers, strict=True)}
    matching = [image.tags[at] for at in chosen(place.name, ((tag,) for tag in image.tags))]
    return LocalImage(
        archive,
        root,
        name=full_name(next(iter(matching or image.tags), "")),
        locate=where.get,
        made={root.digest: manifest, digest: data},
    )


def _read_list(archive: ArchiveReader) -> list[_Listed]:
    if archive.size(MANIFEST_FILE) is None:
        why, fix = f"it has no file {quote(MANIFEST_FILE)}", "name an archive that docker save wrote"
        if archive.size("oci-layout") is not None:
            fix = "name it as oci-archive:FILE"
        elif archive.size("repositories") is not None:
            fix = "it is of a Docker before 1.10: load it into a newer one, and save it again"
        raise LocalImageError(f"{archive.path!r} is not an archive of docker save", why=why, fix=fix)
    where = f"{MANIFEST_FILE} of {archive.path!r}"
    # The document is an array; our reader, which is strict about everything else too, takes objects.
    document = parse_object(b'{"images":%b}' % archive.read(MANIFEST_FILE, MAX_DOCUMENT - 16), where)
    if list(document) != ["images"]:
        raise InvalidDocumentError(f"{where} is not one JSON array", fix="write the archive anew")
    return list(Fields(document, where).children("images", _listed))


def _listed(document: object, where: str) -> _Listed:
    fields = Fields(document, where)
    return _Listed(
        fields.required_text("Config"), fields.texts("Layers") or (), fields.texts("RepoTags") or ()
    )


def _pick(archive: ArchiveReader, images: Sequence[_Listed], place: Place) -> _Listed:
    if place.digest is not None:
        found = [each for each in images if _digest_in(each.config) == place.digest]
    elif place.name:
        found = [images[at] for at in chosen(place.name, (each.tags for each in images))]
    else:
        found = list(images)
    if len(found) == 1:
        return found[0]
    shown = listed(_shown(each) for each in (found or images))
    if not images:
        raise LocalImageError(f"{archive.path!r} holds no image", why=f"its {MANIFEST_FILE} names none")
    if not found:
        raise LocalImageError(
            f"{archive.path!r} holds no image {quote(str(place.digest or place.name))}",
            why=f"it has {shown}",
            fix="choose one of these" if len(images) > 1 else f"write {archive.path!r} alone",
        )
    first = _shown(found[0])
    mark = "@" if first.startswith("sha256:") else ":"
    raise LocalImageError(
        f"{archive.path!r} holds {len(found)} images",
        why=f"they are {shown}",
        fix=f"choose one: write {quote(mark + first)} after the path",
    )


def _shown(image: _Listed) -> str:
    return next(iter(image.tags), str(_digest_in(image.config) or image.config))


def _digest_in(name: str) -> Digest | None:
    """The digest that a file's name tells: blobs/sha256/HEX, HEX.json."""
    found = re.fullmatch(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?", name.removeprefix("./"))
    return Digest("sha256", found.group(1)) if found else None


def _layer(archive: ArchiveReader, name: str, diff_id: Digest) -> Descriptor:
    size = archive.size(name)
    if size is None:
        raise archive.missing(name)
    with archive.open(name) as stream:
        start = stream.read(8)
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise LocalImageError(
                f"the layer {quote(name)} in {archive.path!r} cannot be used",
                why=f"it is compressed with {what}, and images hold tar, gzip and zstd",
                fix="load it into docker or podman, and save it again",
            )
    media_type = next((kind for magic, kind in _LAYER_TYPES.items() if start.startswith(magic)), OCI_LAYER)
    told = _digest_in(name) if name.removeprefix("./").startswith("blobs/") else None
    if media_type != OCI_LAYER:
        return Descriptor(media_type, told or _hash(archive, name), size)
    if told is not None and told != diff_id:
        raise CorruptBlobError(
            f"the layer {quote(name)} in {archive.path!r} is not the image's",
            why=f"the config says that it has the digest {diff_id}",
            fix="write the archive anew",
            digest=str(diff_id),
        )
    return Descriptor(OCI_LAYER, diff_id, size)


def _hash(archive: ArchiveReader, name: str) -> Digest:
    hasher = hashlib.sha256()
    with archive.open(name) as stream:
        while piece := stream.read(PIECE):
            hasher.update(piece)
    return Digest("sha256", hasher.hexdigest())

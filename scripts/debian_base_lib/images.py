"""Packages to images, one index of them, and the layout that holds it: by hostbuild's own layer and OCI code.

The bytes depend on the packages' files and on hostbuild's layer format only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from debian_base_lib.tree import system, uncompressed
from hostbuild.errors import UsageError
from hostbuild.layer import write_layer
from hostbuild.model import Entry
from hostbuild.oci.compose import DEFAULT_PATH, compose_index
from hostbuild.oci.config import History, ImageConfig, RootFS, RunConfig
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.layout import layout_index
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.media_types import OCI_CONFIG, OCI_MANIFEST
from hostbuild.oci.platform import Platform
from hostbuild.oci.reference import Reference
from hostbuild.store.blobs import BlobStore
from hostbuild.store.cache import Cache
from hostbuild.store.layout import write_layout
from hostbuild.store.publish import publish_directory, stage_beside

#: No clock: the same packages give the same bytes.
_CREATED = "1970-01-01T00:00:00Z"
PACKAGES_LABEL = "hostbuild.test-base.packages"
SUITE_LABEL = "hostbuild.test-base.suite"
_PYTHON = re.compile(r"python3\.\d+-minimal")


class Contents(NamedTuple):
    """What goes into one platform's image: each package's version and its tar archive, by name."""

    versions: Mapping[str, str]
    archives: Mapping[str, bytes]


class Made(NamedTuple):
    """One platform's image: its manifest, Python's version, and the sizes in bytes of files and of blobs."""

    manifest: Descriptor
    python: str
    files: int
    blobs: int


class Base(NamedTuple):
    """A written layout: where it is, the index's digest, the images by platform."""

    layout: Path
    digest: Digest
    images: Mapping[str, Made]


def python_version(versions: Mapping[str, str]) -> str:
    """Python's own full version (3.11.2) out of that of Debian's package of it (3.11.2-6+deb12u8).

    Raises UsageError where no such package is among them.
    """
    for name, version in versions.items():
        if _PYTHON.fullmatch(name):
            return re.split(r"[-+~]", version.partition(":")[2] or version)[0]
    raise UsageError("no Python is among the packages", fix="name python3-minimal")


def write_base(
    layout: Path, contents: Iterable[tuple[str, Contents]], suite: str, reference: Reference
) -> Base:
    """Write the layout of one index with an image for each platform of `contents`, in that order.

    `layout` is replaced if it is a layout, and there at once or not at all. Raises StoreError,
    UsageError without a Python, InvalidDocumentError for packages that do not fit together.
    """
    with stage_beside(str(layout)) as staged:
        cache = Cache(os.path.join(os.path.dirname(staged.path), "cache"))
        blobs: list[tuple[Digest, int]] = []
        images = {
            platform: _write_image(cache.blobs, blobs, Platform.parse(platform), content, suite)
            for platform, content in contents
        }
        index, root = compose_index(made.manifest for made in images.values())
        blobs.append(cache.blobs.put(index))
        write_layout(staged.path, cache.blobs, layout_index(root, reference).encode(), blobs)
        publish_directory(staged.path, str(layout))
    return Base(layout, root.digest, images)


def _write_image(
    store: BlobStore, blobs: list[tuple[Digest, int]], platform: Platform, content: Contents, suite: str
) -> Made:
    python = python_version(content.versions)
    layers: list[Descriptor] = []
    diff_ids: list[Digest] = []
    files = 0
    trees = system(content.archives)
    for entries in trees:
        descriptor, diff_id = _write_layer(store, entries)
        layers.append(descriptor)
        diff_ids.append(diff_id)
        files += uncompressed(entries)
    config = ImageConfig(
        platform=platform,
        rootfs=RootFS(tuple(diff_ids)),
        config=RunConfig(
            env=(f"PATH={DEFAULT_PATH}", "LANG=C.UTF-8", f"PYTHON_VERSION={python}"),
            cmd=("python3",),
            labels={
                PACKAGES_LABEL: " ".join(
                    f"{name}={version}" for name, version in sorted(content.versions.items())
                ),
                SUITE_LABEL: suite,
            },
        ),
        history=tuple(
            History(created=_CREATED, created_by=f"debian_base: {what} of Debian {suite}")
            for what in ("the system", f"Python {python}")
        ),
        created=_CREATED,
    ).encode()
    manifest = Manifest(config=Descriptor.of(OCI_CONFIG, config), layers=tuple(layers)).encode()
    blobs += [*((layer.digest, layer.size) for layer in layers), store.put(config), store.put(manifest)]
    return Made(
        Descriptor.of(OCI_MANIFEST, manifest, platform=platform),
        python,
        files,
        sum(layer.size for layer in layers),
    )


def _write_layer(store: BlobStore, entries: Iterable[Entry]) -> tuple[Descriptor, Digest]:
    with store.writer() as writer:
        result = write_layer(entries, writer.write)
        writer.commit(result.digest, result.size)
    return Descriptor(result.media_type, result.digest, result.size), result.diff_id

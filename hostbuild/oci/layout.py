"""The image layout (image specification, image-layout.md): its names and its two documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.json import canonical
from hostbuild.oci.reference import Reference
from hostbuild.records import replace

if TYPE_CHECKING:
    from hostbuild.oci.index import Index

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
BLOBS = "blobs"
LAYOUT_VERSION = "1.0.0"
#: annotations.md: valid on the descriptors of index.json.
REFERENCE_NAME = "org.opencontainers.image.ref.name"


def oci_layout_bytes() -> bytes:
    """The content of the file `oci-layout`."""
    return canonical({"imageLayoutVersion": LAYOUT_VERSION})


def blob_path(digest: Digest) -> str:
    """Where a blob lies in a layout, relative to it: blobs/sha256/…"""
    return f"{BLOBS}/{digest.algorithm}/{digest.hex}"


def layout_index(child: Descriptor, reference: Reference | None) -> Index:
    """index.json: it names one thing only, `child`, with its full reference where it has one.

    Two things there are refused by common tools ("more than one image"), and a bare tag becomes a name
    on localhost in others. The child's own annotations stay.
    """
    from hostbuild.oci.index import Index

    annotations = dict(child.annotations)
    if reference is not None:
        annotations[REFERENCE_NAME] = str(reference)
    return Index(manifests=(replace(child, annotations=annotations),))

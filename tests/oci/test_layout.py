from __future__ import annotations

import json

from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.layout import REFERENCE_NAME, blob_path, layout_index, oci_layout_bytes
from hostbuild.oci.media_types import OCI_INDEX
from hostbuild.oci.reference import Reference

CHILD = Descriptor(OCI_INDEX, Digest.of(b"index"), 5, annotations={"a": "b"})


def test_the_marker() -> None:
    assert oci_layout_bytes() == b'{"imageLayoutVersion":"1.0.0"}'


def test_it_names_one_thing_by_its_full_reference() -> None:
    document = json.loads(layout_index(CHILD, Reference.parse("app")).encode())
    assert document == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {
                "mediaType": OCI_INDEX,
                "digest": str(CHILD.digest),
                "size": 5,
                "annotations": {"a": "b", REFERENCE_NAME: "docker.io/library/app:latest"},
            }
        ],
    }
    assert CHILD.annotations == {"a": "b"}


def test_without_a_name() -> None:
    assert layout_index(CHILD, None).manifests == (CHILD,)


def test_where_a_blob_lies() -> None:
    assert blob_path(CHILD.digest) == f"blobs/sha256/{CHILD.digest.hex}"

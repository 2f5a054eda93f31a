"""Image indexes (image specification, image-index.md; Docker's manifest list)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.fields import Fields, present
from hostbuild.oci.json import canonical, parse_object
from hostbuild.oci.manifest import SCHEMA_VERSION, check_head
from hostbuild.oci.media_types import INDEXES, OCI_INDEX
from hostbuild.records import field, record


@record(slots=True)
class Index:
    """Manifests, most often one for each platform, in their order. `media_type` may be ""."""

    manifests: tuple[Descriptor, ...]
    media_type: str = OCI_INDEX
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""
    subject: Descriptor | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def decode(cls, data: bytes, where: str = "index") -> Index:
        """The index that the bytes are. Raises InvalidDocumentError."""
        return cls.from_json(parse_object(data, where), where)

    @classmethod
    def from_json(cls, document: object, where: str = "index") -> Index:
        """The index in a JSON object. Raises InvalidDocumentError.

        A document that is a manifest as well is refused: readers would differ in what it is.
        """
        fields = Fields(document, where)
        media_type = check_head(fields, INDEXES, "an image index", foreign=("config", "layers", "fsLayers"))
        return cls(
            manifests=fields.children("manifests", Descriptor.from_json),
            media_type=media_type,
            annotations=fields.text_map("annotations"),
            artifact_type=fields.text("artifactType"),
            subject=fields.child("subject", Descriptor.from_json),
            extra=fields.rest(),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields as they came."""
        return {
            **self.extra,
            "schemaVersion": SCHEMA_VERSION,
            "manifests": [manifest.to_json() for manifest in self.manifests],
            **present(
                mediaType=self.media_type,
                annotations=dict(self.annotations),
                artifactType=self.artifact_type,
                subject=self.subject and self.subject.to_json(),
            ),
        }

    def encode(self) -> bytes:
        """The canonical bytes. Raises InvalidValueError for text that is not Unicode."""
        return canonical(self.to_json())

"""Image manifests (image specification, manifest.md; Docker's image manifest version 2, schema 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostbuild.errors import InvalidDocumentError
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.fields import Fields, present
from hostbuild.oci.json import FIX, canonical, parse_object
from hostbuild.oci.media_types import MANIFESTS, OCI_MANIFEST
from hostbuild.oci.quoting import describe, quote
from hostbuild.records import field, record

SCHEMA_VERSION = 2


@record(slots=True)
class Manifest:
    """One platform's image: its config and its layers, the lowest first. `media_type` may be ""."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = OCI_MANIFEST
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""
    subject: Descriptor | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def decode(cls, data: bytes, where: str = "manifest") -> Manifest:
        """The manifest that the bytes are. Raises InvalidDocumentError."""
        return cls.from_json(parse_object(data, where), where)

    @classmethod
    def from_json(cls, document: object, where: str = "manifest") -> Manifest:
        """The manifest in a JSON object. Raises InvalidDocumentError.

        A document that is an index as well is refused: readers would differ in what it is.
        """
        fields = Fields(document, where)
        media_type = check_head(fields, MANIFESTS, "an image manifest", foreign=("manifests", "fsLayers"))
        return cls(
            config=fields.required_child("config", Descriptor.from_json),
            layers=fields.children("layers", Descriptor.from_json),
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
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
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


def check_head(fields: Fields, media_types: frozenset[str], kind: str, foreign: tuple[str, ...]) -> str:
    """The media type of a manifest or index ("" where it tells none), after its schema version.

    Raises InvalidDocumentError for another version or media type, and where a field of `foreign` is
    there, which belongs to another kind of document.
    """
    for name in foreign:
        if fields.has(name):
            raise InvalidDocumentError(
                f"{fields.where} is not {kind}", why=f"it has the field {quote(name)}", fix=FIX
            )
    version = fields.integer("schemaVersion")
    if version != SCHEMA_VERSION:
        raise InvalidDocumentError(
            f"{fields.where}.schemaVersion is {describe(version)}",
            why=f"only {SCHEMA_VERSION} is read",
            fix=FIX,
        )
    media_type = fields.text("mediaType")
    if media_type and media_type not in media_types:
        raise InvalidDocumentError(
            f"{fields.where}.mediaType is {quote(media_type)}", why=f"that is not {kind}", fix=FIX
        )
    return media_type

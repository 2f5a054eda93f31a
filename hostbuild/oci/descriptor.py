"""Descriptors: media type, digest and size of some bytes (image specification, descriptor.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hostbuild.errors import InvalidDocumentError
from hostbuild.oci.digest import Digest
from hostbuild.oci.fields import Fields, present
from hostbuild.oci.json import FIX
from hostbuild.oci.platform import Platform
from hostbuild.oci.quoting import quote
from hostbuild.records import field, record

_WORD = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"


@record(slots=True)
class Descriptor:
    """What points to a blob; `size` is in bytes. `extra` holds unknown fields, and `urls` and `data`."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def of(cls, media_type: str, data: bytes, *, platform: Platform | None = None) -> Descriptor:
        """The descriptor of these bytes, by their SHA-256 digest."""
        return cls(media_type, Digest.of(data), len(data), platform)

    @classmethod
    def from_json(cls, document: object, where: str = "descriptor") -> Descriptor:
        """The descriptor in a JSON object. Raises InvalidDocumentError."""
        fields = Fields(document, where)
        media_type = fields.required_text("mediaType")
        if re.fullmatch(f"{_WORD}/{_WORD}", media_type) is None:
            raise InvalidDocumentError(
                f"{where}.mediaType is {quote(media_type)}", why="that is not a media type", fix=FIX
            )
        return cls(
            media_type=media_type,
            digest=fields.digest("digest"),
            size=fields.integer("size"),
            platform=fields.child("platform", Platform.from_json),
            annotations=fields.text_map("annotations"),
            artifact_type=fields.text("artifactType"),
            extra=fields.rest(),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields as they came."""
        return {
            **self.extra,
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
            **present(
                platform=self.platform and self.platform.to_json(),
                annotations=dict(self.annotations),
                artifactType=self.artifact_type,
            ),
        }

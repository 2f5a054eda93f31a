"""The referrers of a subject where the registry does not list them itself: an index under a fallback tag.

Distribution specification, "Pushing manifests with subject" and "Referrers tag schema". Two writers may
change the index at once and there is no lock: each reads again after its write and adds what it finds
missing, so that the one who lost its entry notices. A write that falls between another's write and reading
again is noticed by that other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hostbuild.errors import InvalidDocumentError, NotInRegistryError, RegistryError, TryLaterError
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.index import Index
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.media_types import INDEXES, MANIFESTS, OCI_INDEX
from hostbuild.points import reach
from hostbuild.records import replace

#: Writes before another writer is said to be in the way.
_ATTEMPTS = 6


class Tags(Protocol):
    """What is needed of a repository: reading and writing by tag."""

    def read(self, tag: str) -> tuple[Descriptor, bytes]:
        """The manifest of a tag. Raises NotInRegistryError."""
        ...

    def write(self, tag: str, data: bytes, media_type: str) -> None:
        """Put a manifest under a tag."""
        ...


def fallback_tag(subject: Digest) -> str:
    """The tag whose index lists a subject's referrers: `sha256-<hex>`, both parts cut as the specification
    says.
    """
    return f"{subject.algorithm[:32]}-{subject.hex[:64]}"


def subject_of(data: bytes, media_type: str) -> Descriptor | None:
    """The subject of a manifest or index, None where it has none. Raises InvalidDocumentError."""
    document = _decode(data, media_type)
    return None if document is None else document.subject


def entry_for(data: bytes, media_type: str) -> Descriptor:
    """The descriptor that lists a referrer: with its annotations and artifact type, a manifest's by default
    its config's.

    Raises InvalidDocumentError.
    """
    document = _decode(data, media_type)
    descriptor = Descriptor.of(media_type, data)
    if document is None:
        return descriptor
    artifact_type = document.artifact_type
    if not artifact_type and isinstance(document, Manifest):
        artifact_type = document.config.media_type
    return replace(descriptor, artifact_type=artifact_type, annotations=dict(document.annotations))


def add_referrer(tags: Tags, subject: Digest, entry: Descriptor, *, pause: Callable[[int], object]) -> None:
    """Have `entry` in the index under the subject's fallback tag, once; all other entries stay.

    `pause(attempt)` is called before each new attempt. Raises RegistryError when the tag is something else's,
    TryLaterError when other writers are always faster.
    """
    tag = fallback_tag(subject)
    index = _current(tags, tag)
    for attempt in range(_ATTEMPTS):
        if any(listed.digest == entry.digest for listed in index.manifests):
            return
        if attempt:
            pause(attempt)
        changed = replace(index, manifests=(*index.manifests, entry), media_type=OCI_INDEX)
        reach("referrers-before-put")
        tags.write(tag, changed.encode(), OCI_INDEX)
        reach("referrers-after-put")
        index = _current(tags, tag)
    if any(listed.digest == entry.digest for listed in index.manifests):
        return
    raise TryLaterError(
        f"the referrers of {subject} cannot be written",
        why="other writers change their index all the time",
        fix="push again later",
    )


def _current(tags: Tags, tag: str) -> Index:
    try:
        descriptor, data = tags.read(tag)
    except NotInRegistryError:
        return Index(manifests=())
    try:
        index = Index.decode(data, tag) if descriptor.media_type == OCI_INDEX else None
    except InvalidDocumentError:
        index = None
    if index is None:
        raise RegistryError(
            f"the referrers tag {tag} cannot be changed",
            why=f"what it names is no image index ({descriptor.media_type})",
            fix="delete the tag, if nobody needs it, and push again",
        )
    return index


def _decode(data: bytes, media_type: str) -> Manifest | Index | None:
    if media_type in INDEXES:
        return Index.decode(data)
    if media_type in MANIFESTS:
        return Manifest.decode(data)
    return None

"""Manifests and indexes: looking, reading, writing (distribution specification, "Pulling" and "Pushing
manifests").

Read ones are bounded by 4 MiB, what registries must take; their digest is computed here, and what the
registry says of it (`Docker-Content-Digest`) must agree. GETs are metered by some registries (Docker Hub),
HEADs are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostbuild.errors import (
    BaseImageError,
    CorruptBlobError,
    InvalidDocumentError,
    NotInRegistryError,
    ProtocolError,
    RegistryError,
    TransferBrokenError,
)
from hostbuild.oci import media_types
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import SHA256, Digest
from hostbuild.oci.json import MAX_DOCUMENT, parse_object
from hostbuild.oci.quoting import quote
from hostbuild.points import reach
from hostbuild.registry.digests import HEADER, content_digest, digest_of, refuse_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hostbuild.http import Response
    from hostbuild.registry.place import Place

#: Everything that is understood, in the order of preference.
_PREFERRED = (
    media_types.OCI_INDEX,
    media_types.DOCKER_INDEX,
    media_types.OCI_MANIFEST,
    media_types.DOCKER_MANIFEST,
)
ACCEPT = ", ".join(_PREFERRED)
_KNOWN = media_types.INDEXES | media_types.MANIFESTS
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"
_ABSENT = (403, 404)
#: What a registry, or a proxy, says of a method that it does not have.
_NO_HEAD = (400, 405, 501)
#: How often a manifest that breaks off is asked for.
_READS = 4


def head(place: Place, identifier: str, scopes: Sequence[str]) -> Descriptor | None:
    """The manifest's descriptor without its bytes; None when absent. By GET where HEAD tells too little.

    The digest of a tag is the registry's word; whoever fetches by it verifies it.
    """
    what = _looking(place, identifier)
    with _ask(place, "HEAD", identifier, scopes, what) as response:
        if response.status in _ABSENT:
            return None
        if response.status == 200:
            found = _descriptor(response, identifier)
            if found is not None:
                return found
        elif response.status not in _NO_HEAD:
            raise place.session.error(response, what, scopes)
    try:
        return read(place, identifier, scopes)[0]
    except NotInRegistryError:
        return None


def holds(place: Place, identifier: str, descriptor: Descriptor, scopes: Sequence[str]) -> bool:
    """Whether the tag or digest is there and names `descriptor`'s bytes; what else it may name does not
    matter.
    """
    what = _looking(place, identifier)
    with _ask(place, "HEAD", identifier, scopes, what) as response:
        if response.status in _ABSENT:
            return False
        if response.status == 200:
            said = content_digest(response)
            if said is not None and said.algorithm == descriptor.digest.algorithm:
                return said == descriptor.digest
        elif response.status not in _NO_HEAD:
            raise place.session.error(response, what, scopes)
    try:
        data = _read(place, identifier, scopes)[0]
    except NotInRegistryError:
        return False
    return digest_of(data, descriptor.digest.algorithm) == descriptor.digest


def read(place: Place, identifier: str, scopes: Sequence[str]) -> tuple[Descriptor, bytes]:
    """The manifest or index that a tag or digest names.

    Raises NotInRegistryError, BaseImageError (schema 1), ProtocolError (too large, no JSON, a digest that is
    not the bytes'), CorruptBlobError (not the bytes asked for).
    """
    data, content_type, said = _read(place, identifier, scopes)
    name = _name(place, identifier)
    asked = _as_digest(identifier)
    algorithm = asked.algorithm if asked else SHA256
    digest = digest_of(data, algorithm)
    if asked is not None and digest != asked:
        raise CorruptBlobError(
            f"{name} is not what was asked for",
            why=f"{len(data)} bytes with digest {digest} came",
            fix="try again; if it happens again, what is sent is damaged",
            digest=str(asked),
        )
    if said is not None and digest_of(data, said.algorithm) != said:
        raise ProtocolError(
            f"{name} is not what the registry says it is",
            why=f"{HEADER} is {said}, the bytes' digest is {digest_of(data, said.algorithm)}",
            fix="try again; if it happens again, something between here and the registry changes answers",
        )
    return Descriptor(_media_type(data, content_type, name), digest, len(data)), data


def write(
    place: Place, identifier: str, data: bytes, media_type: str, *, contended: bool = False
) -> Mapping[str, str]:
    """Put a manifest by tag or digest; the answer's headers.

    Raises RegistryError, also when the registry stored other bytes than these. Where it does not say what it
    stored, it is asked, unless the tag is `contended`: others may rightly have changed it by then.
    """
    what = f"pushing {_name(place, identifier)}"
    if len(data) > MAX_DOCUMENT:
        raise InvalidDocumentError(
            f"{what} is not possible",
            why=f"it has {len(data)} bytes, registries must take {MAX_DOCUMENT} and not more",
            fix="use fewer platforms, or fewer and shorter annotations",
        )
    reach("manifest-before-put")
    response = place.session.request(
        "PUT",
        place.path(f"manifests/{identifier}"),
        scopes=place.push_scopes,
        headers={"Content-Type": media_type},
        body=data,
        what=what,
    )
    with response:
        if response.status not in (200, 201, 202):
            raise place.session.error(response, what, place.push_scopes)
        stored = content_digest(response)
    reach("manifest-after-put")
    if stored is not None:
        ours = digest_of(data, stored.algorithm)
        if stored != ours:
            raise rewritten(place, identifier, ours, stored)
    elif not contended and not holds(place, identifier, Descriptor.of(media_type, data), place.push_scopes):
        raise rewritten(place, identifier, Digest.of(data), None)
    return response.headers


def rewritten(place: Place, identifier: str, ours: Digest, stored: Digest | None) -> RegistryError:
    """The error for a registry that has something else under a name than what was just put there."""
    return RegistryError(
        f"{_name(place, identifier)} is not what was pushed",
        why=f"{ours} was pushed, the registry has {stored or 'other bytes'}: it rewrites manifests, or "
        "somebody else pushed there meanwhile",
        fix="push again; where that fails too, use another registry, or ask who runs this one",
    )


def _name(place: Place, identifier: str) -> str:
    return f"{place.name}{'@' if ':' in identifier else ':'}{identifier}"


def _looking(place: Place, identifier: str) -> str:
    return f"looking up {_name(place, identifier)}"


def _ask(place: Place, method: str, identifier: str, scopes: Sequence[str], what: str) -> Response:
    return place.session.request(
        method,
        place.path(f"manifests/{identifier}"),
        scopes=scopes,
        headers={"Accept": ACCEPT},
        retry=not place.mirror,
        what=what,
    )


def _read(place: Place, identifier: str, scopes: Sequence[str]) -> tuple[bytes, str, Digest | None]:
    """Bytes, Content-Type and the digest that the registry says. One that breaks off is asked for again."""
    what = f"fetching {_name(place, identifier)}"
    for attempt in range(_READS):
        with _ask(place, "GET", identifier, scopes, what) as response:
            if response.status != 200:
                raise place.session.error(response, what, scopes)
            try:
                data = response.read(MAX_DOCUMENT)
            except TransferBrokenError:
                if attempt + 1 == _READS or place.mirror:
                    raise
                continue
            refuse_page(response, what, data)
            return data, response.headers.get("Content-Type", ""), content_digest(response)
    raise AssertionError("the last attempt returns or raises")


def _as_digest(identifier: str) -> Digest | None:
    return Digest.parse(identifier) if ":" in identifier else None


def _descriptor(response: Response, identifier: str) -> Descriptor | None:
    """What the headers of a HEAD tell, None where that is not enough, or cannot be true."""
    media_type = _essence(response.headers.get("Content-Type", ""))
    length = response.headers.get("Content-Length", "")
    digest = content_digest(response)
    if media_type not in _KNOWN or digest is None or not (length.isascii() and length.isdecimal()):
        return None
    asked = _as_digest(identifier)
    if int(length[:18]) == 0 or (asked is not None and digest != asked):
        return None
    return Descriptor(media_type, digest, int(length[:18]))


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _media_type(data: bytes, content_type: str, name: str) -> str:
    """What kind of manifest the bytes are, by themselves and by Content-Type."""
    told = _essence(content_type)
    try:
        document = parse_object(data, name)
    except InvalidDocumentError as error:
        raise ProtocolError(
            f"{name} cannot be read",
            why=f"what came is no manifest: {error.why or error.what}",
            fix="check the registry's address; if it is right, the image is damaged",
        ) from None
    if told.startswith(_SCHEMA_1) or document.get("schemaVersion") == 1:
        raise BaseImageError(
            f"{name} is of Docker's schema 1",
            why="that format was given up in 2017 and has neither digests of configs nor platforms",
            fix="pull and push it with a recent docker, which converts it, or use another image",
        )
    own = document.get("mediaType")
    if own is not None and not isinstance(own, str):
        own = ""
    if own in _KNOWN and told in _KNOWN and own != told:
        raise ProtocolError(
            f"{name} cannot be read",
            why=f"it says that it is {own}, the registry that it is {told}",
            fix="the image is damaged: have it built and pushed again",
        )
    for candidate in (own, told):
        if candidate in _KNOWN:
            return str(candidate)
    if "manifests" in document:
        return media_types.OCI_INDEX
    if "config" in document and "layers" in document:
        return media_types.OCI_MANIFEST
    raise ProtocolError(
        f"{name} is neither an image nor an index",
        why=f"its media type is {quote(own or told)}",
        fix="check the name",
    )

"""Annotations as a user asks for them, with buildx's prefixes.

KEY=VALUE                              on each platform's manifest
manifest:KEY=VALUE                     the same
manifest[linux/arm64]:KEY=VALUE        on one platform's manifest
manifest-descriptor[linux/arm64]:…     on its descriptor in the image index
index:KEY=VALUE                        on the image index
index-descriptor:KEY=VALUE             on the index's descriptor in the layout's index.json
index,manifest:KEY=VALUE               on several of them
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hostbuild.errors import InvalidPlatformError, InvalidValueError
from hostbuild.oci.fields import Pairs
from hostbuild.oci.platform import Platform
from hostbuild.oci.quoting import quote
from hostbuild.records import record

INDEX = "index"
INDEX_DESCRIPTOR = "index-descriptor"
MANIFEST = "manifest"
MANIFEST_DESCRIPTOR = "manifest-descriptor"

_PLACES = (INDEX, INDEX_DESCRIPTOR, MANIFEST, MANIFEST_DESCRIPTOR)
_OF_A_PLATFORM = (MANIFEST, MANIFEST_DESCRIPTOR)
_DESCRIPTORS = (INDEX_DESCRIPTOR, MANIFEST_DESCRIPTOR)
_FORM = "write KEY=VALUE, index:KEY=VALUE, manifest:KEY=VALUE or manifest[linux/arm64]:KEY=VALUE"


@record(slots=True)
class Annotation:
    """One annotation on one place; `platform` is None where it is for all of them."""

    place: str
    platform: Platform | None
    key: str
    value: str


@record(slots=True)
class Annotations:
    """All that was asked for, in the order given. A later one wins, and one platform's over that of all."""

    entries: tuple[Annotation, ...] = ()

    @property
    def index(self) -> Pairs:
        """Those of the image index, by key."""
        return self._pairs(INDEX, None)

    @property
    def index_descriptor(self) -> Pairs:
        """Those of the index's descriptor in index.json, by key."""
        return self._pairs(INDEX_DESCRIPTOR, None)

    def for_platform(self, platform: Platform) -> Pairs:
        """Those of this platform's manifest, by key."""
        return self._pairs(MANIFEST, platform)

    def for_descriptor(self, platform: Platform) -> Pairs:
        """Those of the descriptor of this platform's manifest in the image index, by key."""
        return self._pairs(MANIFEST_DESCRIPTOR, platform)

    def require_platforms(self, platforms: Iterable[Platform]) -> None:
        """Raises InvalidValueError for an annotation of a platform that is not among these."""
        built = tuple(platforms)
        for entry in self.entries:
            if entry.platform is not None and not any(entry.platform.matches(each) for each in built):
                raise InvalidValueError(
                    f"the annotation {quote(entry.key)} is for {entry.platform}, which is not built",
                    why=f"the platforms are {', '.join(map(str, built))}",
                    fix=f"build for {entry.platform} too, or leave the annotation out",
                )

    def _pairs(self, place: str, platform: Platform | None) -> Pairs:
        here = [entry for entry in self.entries if entry.place == place]
        found = {entry.key: entry.value for entry in here if entry.platform is None}
        if platform is not None:
            own = (entry for entry in here if entry.platform is not None and entry.platform.matches(platform))
            found.update((entry.key, entry.value) for entry in own)
        return tuple(sorted(found.items()))


def parse_annotations(texts: Iterable[str]) -> Annotations:
    """What the texts ask for. Raises InvalidValueError that quotes the text and says what is wrong."""
    return Annotations(tuple(entry for text in texts for entry in _parse(text)))


def _refusal(text: str, why: str, fix: str = _FORM) -> InvalidValueError:
    return InvalidValueError(f"{quote(text)} is not an annotation", why=why, fix=fix)


def _parse(text: str) -> list[Annotation]:
    name, equals, value = text.partition("=")
    if not equals:
        raise _refusal(text, 'it has no "="')
    places, colon, key = name.partition(":")
    if not colon:
        places, key = MANIFEST, name
    if not key or not key.isprintable() or key != key.strip():
        raise _refusal(text, f"its key is {quote(key)}", "write a key such as org.example.key before the =")
    return [Annotation(*_place(text, place, key), key, value) for place in places.split(",")]


def _place(text: str, place: str, key: str) -> tuple[str, Platform | None]:
    found = re.fullmatch(r"([a-z-]+)(?:\[([^\[\]]*)\])?", place)
    if found is None or found[1] not in _PLACES:
        raise _refusal(text, f"{quote(place)} is none of {', '.join(_PLACES)}")
    kind, bracket = found[1], found[2]
    from hostbuild.oci.layout import REFERENCE_NAME  # late: most builds have no annotations

    if kind in _DESCRIPTORS and key == REFERENCE_NAME:
        raise _refusal(text, "hostbuild sets this key itself", "name the image with --tag")
    if bracket is None:
        return kind, None
    if kind not in _OF_A_PLATFORM:
        raise _refusal(text, "an index is of no platform", f"write {kind}: without [{bracket}]")
    try:
        return kind, Platform.parse(bracket)
    except InvalidPlatformError as error:
        raise _refusal(text, str(error), error.fix) from None

"""How a base image is named: a reference, or a place on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, NamedTuple

from hostbuild.errors import UsageError
from hostbuild.oci.reference import Reference

if TYPE_CHECKING:
    from hostbuild.local import LocalImage

Kind = Literal["scratch", "registry", "oci", "oci-archive", "docker-archive"]

_LOCAL: tuple[Kind, ...] = ("oci", "oci-archive", "docker-archive")
#: What others write before a reference; a registry's is the only thing that it can mean.
_REGISTRY_PREFIXES = ("docker://", "docker-image://")


class BaseName(NamedTuple):
    """A base as somebody wrote it: `place` is a reference, or a path with what chooses an image in it."""

    kind: Kind
    place: str

    @property
    def reference(self) -> Reference:
        """The reference of a base in a registry. Raises InvalidReferenceError."""
        return Reference.parse(self.place)

    def __str__(self) -> str:
        """As a user writes it."""
        if self.kind == "scratch":
            return "scratch"
        return self.place if self.kind == "registry" else f"{self.kind}:{self.place}"


SCRATCH = BaseName("scratch", "")


def parse_base(text: str, directory: str = "") -> BaseName:
    """What `text` names; relative paths are below `directory` ("": the current one).

    Raises UsageError for no place, InvalidReferenceError for what is no reference.
    """
    if text == "scratch":
        return SCRATCH
    for kind in _LOCAL:
        if text.startswith(f"{kind}:"):
            place = text.removeprefix(f"{kind}:")
            if not place:
                raise UsageError(
                    f"the base image {text!r} names no place", fix=f"write {kind}:PATH, as in {kind}:base"
                )
            return BaseName(kind, os.path.join(directory, place) if directory else place)
    for prefix in _REGISTRY_PREFIXES:
        text = text.removeprefix(prefix)
    return BaseName("registry", Reference.parse(text).familiar)


def open_place(name: BaseName) -> LocalImage:
    """The image in a layout or archive of this machine; a context manager. Raises what `open_local` does.

    ValueError for a base that is in no such place.
    """
    from hostbuild.local import open_local

    match name.kind:
        case "oci" | "oci-archive" | "docker-archive" as kind:
            return open_local(kind, name.place)
    raise ValueError(f"{name} is not on this machine")

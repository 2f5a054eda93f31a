"""Places: `PATH`, `PATH:NAME` and `PATH@DIGEST`, where name and digest choose one of several images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from hostbuild.errors import InvalidReferenceError, LocalImageError, UsageError
from hostbuild.oci.digest import Digest
from hostbuild.oci.quoting import quote
from hostbuild.oci.reference import Reference

_SHOWN = 8


class Place(NamedTuple):
    """A path that exists, and what chooses an image in it: a name, a digest, or nothing."""

    path: str
    name: str = ""
    digest: Digest | None = None

    @property
    def chooses(self) -> bool:
        """Whether one of several was asked for."""
        return bool(self.name or self.digest)


def find_place(place: str) -> Place:
    """The place that the text names: a path may hold `:` and `@`, so the longest one that exists counts.

    Raises UsageError for no path, LocalImageError where none exists, InvalidDigestError for a digest that
    is none.
    """
    if not place or "\0" in place:
        raise UsageError(f"{place!r} is not a path", fix="name a directory or a file")
    if place == "-":
        raise UsageError(
            "an image cannot be read from standard input",
            why="an archive is read in any order",
            fix="save it to a file, and name that",
        )
    if os.path.lexists(place):
        return Place(place)
    for cut in reversed([found.start() for found in re.finditer("[:@]", place)]):
        path, mark, choice = place[:cut], place[cut], place[cut + 1 :]
        if path and os.path.lexists(path) and (mark == ":" or re.match("sha[0-9]+:", choice)):
            return Place(path, choice) if mark == ":" else Place(path, digest=Digest.parse(choice))
    raise LocalImageError(
        f"there is no {place!r}",
        why="no file or directory has this name"
        + (", nor has one the part before a colon or @" if re.search("[:@]", place) else ""),
        fix="name an image layout's directory or an archive's file, as PATH, PATH:NAME or PATH@DIGEST",
    )


def chosen(choice: str, names: Iterable[Iterable[str]]) -> list[int]:
    """The positions of those that go by the name `choice`; `names` has the names of each.

    The very same name counts first, then one that is the same reference (`app` is
    `docker.io/library/app:latest`), then a reference with this tag.
    """
    all_names = [tuple(each) for each in names]
    wanted = _reference(choice)
    tests = (
        lambda name: name == choice,
        lambda name: wanted is not None and _reference(name) == wanted,
        lambda name: (found := _reference(name)) is not None and ":" in name and found.tag == choice,
    )
    for test in tests if choice else ():
        if positions := [at for at, each in enumerate(all_names) if any(map(test, each))]:
            return positions
    return []


def listed(texts: Iterable[str]) -> str:
    """The texts as a message shows them, not more than a few."""
    every = list(dict.fromkeys(texts))
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(quote(text) for text in every[:_SHOWN]) + more


def full_name(name: str) -> str:
    """A reference in its full form; what is none, as it is."""
    reference = _reference(name)
    return str(reference) if reference is not None else name


def _reference(name: str) -> Reference | None:
    try:
        return Reference.parse(name)
    except InvalidReferenceError:
        return None

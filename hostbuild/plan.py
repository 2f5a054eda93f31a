"""What must be made: a key for each thing, out of all that it depends on, and a reason.

A key is the SHA-256 of the canonical JSON of named inputs. The build ID is the key of the whole; a
layer's key names the layer. Two equal keys mean the same bytes; an input that is forgotten here is a
stale image, so everything that decides bytes is named, and versions of our own recipes with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hostbuild.oci.digest import Digest
from hostbuild.oci.json import canonical

#: Changes whenever the same inputs would give other bytes than the hostbuild before.
RECIPE_VERSION = 3


def key_of(kind: str, /, **inputs: Any) -> str:
    """The key (64 hex digits) of a thing of this kind with these JSON-valued inputs."""
    return Digest.of(canonical({"kind": kind, "recipe": RECIPE_VERSION, "inputs": inputs})).hex


class LayerPlan(NamedTuple):
    """One layer that the image will have; `platform` is "" for one that all platforms share."""

    name: str
    key: str
    platform: str = ""


class BuildPlan(NamedTuple):
    """Everything that a build will make.

    `inputs` maps the name of each input (a file, a setting, a tool) to what it is (a digest or a
    value): the build ID is their key, and the difference of two of them is the reason for a rebuild.
    `shared` are what ships, `language` what the language shares between the platforms, `own` what it makes
    for each of them, in the platforms' order.
    """

    build_id: str
    inputs: Mapping[str, str]
    shared: tuple[LayerPlan, ...]
    language: tuple[LayerPlan, ...]
    own: tuple[tuple[LayerPlan, ...], ...]

    @property
    def layers(self) -> tuple[LayerPlan, ...]:
        """All of them."""
        return (*self.shared, *self.language, *(plan for plans in self.own for plan in plans))


class Difference(NamedTuple):
    """How the inputs of a build differ from those of an earlier one: names, each list sorted."""

    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    first: bool = False

    def __str__(self) -> str:
        """A short reason, as "main.go changed, and 2 more"."""
        if self.first:
            return "nothing was built before"
        words = [f"{name} changed" for name in self.changed]
        words += [f"{name} is new" for name in self.added]
        words += [f"{name} is gone" for name in self.removed]
        if not words:
            return "no input changed"
        more = len(words) - 2
        return ", ".join(words[:2]) + (f", and {more} more" if more > 0 else "")


def compare(before: Mapping[str, str] | None, now: Mapping[str, str]) -> Difference:
    """What changed since `before`, the inputs of an earlier build (None: there was none)."""
    if before is None:
        return Difference(first=True)
    return Difference(
        changed=_sorted(name for name in now if name in before and before[name] != now[name]),
        added=_sorted(name for name in now if name not in before),
        removed=_sorted(name for name in before if name not in now),
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))

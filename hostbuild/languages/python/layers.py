"""Which layers a project's dependencies become; `trees` makes what is in them.

What every platform installs, bytes for bytes, is shared between them; a large wheel is a layer of its own, so
that one blob serves every image that has it; what is small lies together. What names the base's interpreter
(commands, and the RECORD that lists them) is apart, so that all else does not depend on the base. What is
built of the source lies above all that, so that an edit changes it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hostbuild.languages.base import TreePlan
from hostbuild.records import record
from hostbuild.wheels.prefix import DEFAULT_PREFIX

if TYPE_CHECKING:
    from hostbuild.languages.python.values import Archive

#: Changes whenever the same wheels would give other layers.
RECIPE = 2

#: A wheel of at least so many bytes is a layer of its own.
LARGE = 1 << 20
#: How many of them at most: file systems of containers take some 120 layers, the base's among them.
MOST_SHARED = 12
MOST_OWN = 24


@record
class Dependencies:
    """What one platform installs: its wheels in the order of their names, and what its base says.

    `interpreter` and `site` are absolute paths in the image. `built` are wheels of directories, which change
    with the source: the project itself, and what it names by path.
    """

    wheels: tuple[Archive, ...]
    interpreter: str
    site: str
    built: tuple[Archive, ...] = ()


def plan_layers(
    platforms: Sequence[Dependencies], *, further: Mapping[str, Any] | None = None
) -> tuple[tuple[TreePlan, ...], tuple[tuple[TreePlan, ...], ...]]:
    """The trees that all platforms share, and each platform's own, lowest first.

    `further` is put into every recipe: what else decides the bytes.
    """
    common = _common(platforms)
    more = {"recipe": RECIPE, **(further or {})}
    shared = _groups(common, MOST_SHARED, more)
    own = []
    for each in platforms:
        rest = tuple(wheel for wheel in each.wheels if wheel not in common)
        trees = _groups(rest, MOST_OWN, more)
        place = {"interpreter": each.interpreter, "site": each.site}
        for name, wheels in (("commands", each.wheels), ("project", each.built)):
            if wheels:
                recipe = {**_recipe(name, wheels, more), **place}
                trees = (*trees, TreePlan(name, recipe, needs=_sources(wheels)))
        own.append(trees)
    return shared, tuple(own)


def _common(platforms: Sequence[Dependencies]) -> tuple[Archive, ...]:
    """The wheels for any machine that every platform installs; one built for a single platform too."""
    first, *others = (each.wheels for each in platforms)
    everywhere = [wheel for wheel in first if all(wheel in wheels for wheels in others)]
    return tuple(wheel for wheel in everywhere if wheel.filename.endswith("-any.whl"))


def _groups(wheels: Sequence[Archive], most: int, more: Mapping[str, Any]) -> tuple[TreePlan, ...]:
    """Large wheels each for itself, in the order of their names, then all others together."""
    by_size = sorted(wheels, key=lambda wheel: (-(wheel.size or 0), wheel.name))
    alone = {wheel for wheel in by_size[:most] if (wheel.size or 0) >= LARGE}
    plans = [
        TreePlan(f"{wheel.name} {wheel.version}", _recipe("files", [wheel], more), needs=_sources([wheel]))
        for wheel in wheels
        if wheel in alone
    ]
    rest = [wheel for wheel in wheels if wheel not in alone]
    if rest:
        plans.append(TreePlan("dependencies", _recipe("files", rest, more), needs=_sources(rest)))
    return tuple(plans)


def _recipe(part: str, wheels: Iterable[Archive], more: Mapping[str, Any]) -> dict[str, Any]:
    listed = [[wheel.filename, f"sha256:{wheel.sha256}"] for wheel in wheels]
    return {"part": part, "wheels": listed, "prefix": list(DEFAULT_PREFIX), **more}


def _sources(wheels: Iterable[Archive]) -> tuple[Any, ...]:
    return tuple(wheel.source() for wheel in wheels)

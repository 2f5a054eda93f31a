"""The Pythons in a base image, one for each platform: read from its files once, and kept by its digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostbuild.errors import BaseImageError
from hostbuild.model import Event
from hostbuild.wheels.base_python import BasePython

if TYPE_CHECKING:
    from hostbuild.languages.base import BaseFiles, Project, Workshop
    from hostbuild.oci.platform import Platform

#: Changes whenever the same files would be read as another Python.
RECIPE = 1


def read_bases(project: Project) -> tuple[BasePython, ...]:
    """What the base image has for each platform of the project, in their order.

    Raises BaseImageError where there is no base, or no Python in it, and the errors of registries.
    """
    base, workshop = project.base, project.workshop
    if base is None or workshop is None or not base.digest:
        raise BaseImageError(
            "a Python project needs a base image that has a Python",
            why="the base is scratch",
            fix="name one with --base, as --base python:3.13-slim",
        )
    return tuple(_of_platform(base, workshop, platform) for platform in project.platforms)


def _of_platform(base: BaseFiles, workshop: Workshop, platform: Platform) -> BasePython:
    """Known by the digest of the whole and the platform, else by that of the platform's manifest."""
    kind, place = "python of a base", {"base": base.digest, "platform": str(platform), "recipe": RECIPE}
    known = workshop.recall(kind, place)
    if known is None:
        learnt = _learn(base, workshop, platform)
        known = workshop.remember(kind, place, lambda: learnt)
    return BasePython.from_json(known["python"])


def _learn(base: BaseFiles, workshop: Workshop, platform: Platform) -> dict[str, object]:
    from hostbuild.wheels.base_python import learn

    path = base.path(platform)
    inputs = {
        "manifest": base.key(platform),
        "path": path,
        "platform": str(platform),
        "recipe": RECIPE,
    }
    kind = "python of an image"
    found = workshop.recall(kind, inputs)
    if found is None:
        workshop.emit(Event("info", f"{platform}: looking for the Python in {base.label}"))
        layers = base.layers(platform)  # fetched before the lock is taken that `remember` holds
        found = workshop.remember(
            kind,
            inputs,
            lambda: {"python": learn(layers, path=path, platform=platform, label=base.label).to_json()},
        )
    return {"python": found["python"]}

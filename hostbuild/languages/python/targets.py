"""The Pythons in a base image, one for each platform: read from its files once, and kept by its digest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from hostbuild.errors import BaseImageError, HostbuildError
from hostbuild.model import Event
from hostbuild.wheels.base_python import BasePython

if TYPE_CHECKING:
    from hostbuild.languages.base import BaseFiles, Project, Workshop
    from hostbuild.oci.platform import Platform

#: Changes whenever the same files would be read as another Python.
RECIPE = 1

_KIND = "which Python the base has"


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
    known = {platform: workshop.recall(_KIND, _place(base, platform)) for platform in project.platforms}
    unknown = [platform for platform, found in known.items() if found is None]
    if unknown:
        known |= _learn_all(base, workshop, unknown)
    return tuple(BasePython.from_json(found["python"]) for found in known.values() if found)


def _place(base: BaseFiles, platform: Platform) -> dict[str, Any]:
    """Known by the digest of the whole and the platform: the manifest need not be looked for."""
    return {"base": base.digest, "platform": str(platform), "recipe": RECIPE}


def _learn_all(
    base: BaseFiles, workshop: Workshop, platforms: Sequence[Platform]
) -> dict[Platform, dict[str, Any]]:
    """What the base has for these platforms, which are looked at side by side: most of it is unpacking."""
    import threading

    from hostbuild.crew import Crew

    layers = {}
    for platform in platforms:
        workshop.emit(Event("info", f"{platform}: looking for the Python in {base.label}"))
        layers[platform] = base.layers(platform)  # fetched before the locks are taken that `remember` holds
    found: dict[Platform, dict[str, Any]] = {}
    faults: dict[Platform, HostbuildError] = {}

    def learn_one(platform: Platform) -> None:
        try:
            learnt = _learn(base, workshop, platform, layers[platform])
            found[platform] = workshop.remember(_KIND, _place(base, platform), lambda: learnt)
        except HostbuildError as error:
            faults[platform] = error

    jobs = (partial(learn_one, platform) for platform in platforms)
    Crew(len(platforms), threading.Event(), lambda: None).run(jobs)
    for platform in platforms:
        if platform in faults:
            raise faults[platform]
    return found


def _learn(
    base: BaseFiles,
    workshop: Workshop,
    platform: Platform,
    layers: Iterable[Callable[[], BinaryIO]],
) -> dict[str, Any]:
    """By the digest of the platform's manifest, which two bases may share."""
    from hostbuild.wheels.base_python import learn

    path = base.path(platform)
    inputs = {
        "manifest": base.key(platform),
        "path": path,
        "platform": str(platform),
        "recipe": RECIPE,
    }
    found = workshop.remember(
        "which Python an image has",
        inputs,
        lambda: {"python": learn(layers, path=path, platform=platform, label=base.label).to_json()},
    )
    return {"python": found["python"]}

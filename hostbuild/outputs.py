"""Step 7: what the user asked to have besides the layout in the build directory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext

from hostbuild.errors import StoreError
from hostbuild.model import BuildResult, Event, EventCallback, Output, PlatformResult
from hostbuild.oci.digest import Digest
from hostbuild.project import BuildSubject
from hostbuild.store.builds import BuildDir
from hostbuild.store.failures import Explaining
from hostbuild.store.layout import LayoutBlobs, write_layout
from hostbuild.store.publish import is_replaceable, publish_directory, stage_beside


def check_destinations(outputs: Iterable[Output]) -> None:
    """Refuse what could not be replaced at the end, before anything is made. Raises StoreError."""
    for output in outputs:
        target = os.path.realpath(output.destination)
        with Explaining("look at the destination", target):
            reason = is_replaceable(target) if os.path.lexists(target) else ""
        if f"{os.sep}by-hash{os.sep}" in target and f"{os.sep}builds{os.sep}" in target:
            reason = "a published build never changes"
        if reason:
            raise StoreError(
                f"would replace {output.destination!r}", why=reason, fix="name another place with dest="
            )


def write_outputs(
    result: BuildResult, subject: BuildSubject, builds: BuildDir, on_event: EventCallback
) -> None:
    """Write each output from the result's layout. Raises StoreError; each is whole, or as it was before."""
    if not subject.request.outputs:
        return
    with builds.pin(result.build_id) or nullcontext():  # a cleaner must not take it away meanwhile
        for output in subject.request.outputs:
            _layout_directory(result, output.destination)
            on_event(Event("info", f"wrote the image layout {output.destination}"))


def _layout_directory(result: BuildResult, destination: str) -> None:
    """The user's own copy: changing it must not change the cache, so nothing in it is a hard link."""
    blobs = LayoutBlobs(result.layout)
    with open(os.path.join(result.layout, "index.json"), "rb") as stream:
        index = stream.read()
    with stage_beside(destination) as staged:
        listed = blobs_of(result.platforms, result.index_digest, result.index_size)
        write_layout(staged.path, blobs, index, listed, link=False)
        publish_directory(staged.path, destination)


def blobs_of(
    images: Iterable[PlatformResult], index_digest: str, index_size: int
) -> list[tuple[Digest, int]]:
    """Digest and size in bytes of each blob of the image: layers, configs, manifests, and the index."""
    found: dict[str, int] = {}
    for image in images:
        found.update((layer.digest, layer.size) for layer in image.layers)
        found[image.config] = image.config_size
        found[image.manifest] = image.manifest_size
    found[index_digest] = index_size
    return [(Digest.parse(text), size) for text, size in found.items()]

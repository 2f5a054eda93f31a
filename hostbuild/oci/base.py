"""What an image takes over from the base image that it stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostbuild.errors import InvalidDocumentError
from hostbuild.oci.config import History, ImageConfig, RunConfig
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.media_types import translate
from hostbuild.records import replace

if TYPE_CHECKING:
    from hostbuild.oci.compose import BaseImage

#: Fields of an old config that tell of the container it was made in, or of where its layers were cached.
_PAST = frozenset(
    [
        "container",
        "container_config",
        "docker_version",
        "id",
        "parent",
        "throwaway",
        "moby.buildkit.buildinfo.v1",
        "moby.buildkit.cache.v0",
    ]
)
#: The same in a run config; what goes with the command (ArgsEscaped), and what Docker does once (OnBuild).
_PAST_RUN = frozenset(
    [
        "ArgsEscaped",
        "AttachStderr",
        "AttachStdin",
        "AttachStdout",
        "Domainname",
        "Hostname",
        "Image",
        "MacAddress",
        "NetworkDisabled",
        "OnBuild",
        "OpenStdin",
        "StdinOnce",
        "Tty",
    ]
)


def layers_of(
    base: BaseImage, created: str
) -> tuple[tuple[Descriptor, ...], tuple[Digest, ...], tuple[History, ...]]:
    """The base's layers by their OCI media types, their diff IDs, and its history made to match them.

    `created` is the time of history entries that must be added. Raises InvalidDocumentError where layers
    and diff IDs differ in number.
    """
    layers = tuple(replace(each, media_type=translate(each.media_type)) for each in base.manifest.layers)
    diff_ids = base.config.rootfs.diff_ids
    if len(layers) != len(diff_ids):
        raise InvalidDocumentError(
            f"the base image {base.name or base.digest}".rstrip() + " contradicts itself",
            why=f"its manifest has {len(layers)} layers, its config {len(diff_ids)} diff IDs",
            fix="use another base image",
        )
    return layers, diff_ids, _matching(base.config.history, len(layers), created)


def _matching(history: tuple[History, ...], layers: int, created: str) -> tuple[History, ...]:
    """As many non-empty entries as layers: tools drop layers that the history does not list.

    Where entries are missing, they are added after the others; where there are too many, the oldest are
    declared empty, since an image that was squashed has merged those.
    """
    surplus = sum(not entry.empty_layer for entry in history) - layers
    found = list(history)
    for number, entry in enumerate(history):
        if surplus <= 0:
            break
        if not entry.empty_layer:
            found[number] = replace(entry, empty_layer=True)
            surplus -= 1
    missing = History(
        created=created, created_by="hostbuild", comment="a layer without history in the base image"
    )
    return (*found, *(missing for _ in range(-surplus)))


def lasting_fields(config: ImageConfig | RunConfig) -> dict[str, Any]:
    """The unknown fields that also hold for an image above this one, such as Healthcheck and Shell."""
    past = _PAST if isinstance(config, ImageConfig) else _PAST_RUN
    return {name: value for name, value in config.extra.items() if name not in past}

"""Which of a base's images serves a platform; what is missing is an error that lists what is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hostbuild.bases.documents import Documents, documents_of
from hostbuild.bases.network import Network
from hostbuild.bases.values import Base, BasePlatform
from hostbuild.errors import BaseImageError
from hostbuild.oci.config import ImageConfig
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.index import Index
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.media_types import (
    INDEXES,
    MANIFESTS,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    translate,
)
from hostbuild.oci.platform import Platform
from hostbuild.oci.platform_names import VARIANTS
from hostbuild.records import replace
from hostbuild.store.cache import Cache

_CARRIED = frozenset({OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD})
#: An index in an index is allowed (image-index.md); nobody nests deeper than this.
_DEPTH = 3
#: BuildKit marks what describes another manifest so (its attestation storage).
_ATTESTATION = "vnd.docker.reference.type"


#: A manifest of a base and what it is for.
_Told = tuple[Platform, Descriptor]


class _Child(NamedTuple):
    """One manifest of a base; `platform` is None where only its config tells it."""

    descriptor: Descriptor
    platform: Platform | None


def open_base(
    base: Base, platforms: Sequence[Platform], cache: Cache, network: Network
) -> tuple[BasePlatform, ...]:
    """The base's image for each platform, in their order; its documents are in the cache afterwards.

    Raises BaseImageError for a platform that it lacks and for formats that cannot be carried,
    OfflineError, InvalidDocumentError, and the errors of registries.
    """
    with documents_of(base, cache, network) as documents:
        children = _told(list(_children(documents, base)), documents)
        chosen = {platform: best for platform in platforms if (best := _best(children, platform))}
        if len(chosen) < len(platforms):
            raise _lacking(base, children, platforms, [each for each in platforms if each not in chosen])
        return tuple(_serve(base, platform, best, documents) for platform, best in chosen.items())


def platforms_of(base: Base, cache: Cache, network: Network) -> tuple[Platform, ...]:
    """All Linux platforms that the base has, in its order. Raises as `open_base` does."""
    with documents_of(base, cache, network) as documents:
        children = _told(list(_children(documents, base)), documents)
    found = dict.fromkeys(_bare(platform) for platform, _ in children if platform.os == "linux")
    if not found:
        raise BaseImageError(f"the base image {base.source} is for no Linux platform", fix="use another one")
    return tuple(found)


def _bare(platform: Platform) -> Platform:
    return replace(platform, os_version="", os_features=(), extra={})


def _children(documents: Documents, base: Base) -> Iterator[_Child]:
    """The manifests of the base, in order, without those that describe others."""
    descriptor, data = documents.top()
    yield from _descend(descriptor, data, documents, base, _DEPTH)


def _descend(
    descriptor: Descriptor, data: bytes, documents: Documents, base: Base, depth: int
) -> Iterator[_Child]:
    if descriptor.media_type not in INDEXES:
        yield _Child(descriptor, descriptor.platform)
        return
    if depth == 0:
        raise BaseImageError(
            f"the base image {base.source} cannot be used",
            why=f"its indexes are nested more than {_DEPTH} deep",
            fix="use another one",
        )
    for child in Index.decode(data, f"the index of {base.source}").manifests:
        if child.media_type in INDEXES:
            yield from _descend(child, documents.read(child), documents, base, depth - 1)
        elif child.media_type in MANIFESTS and not _describes_another(child):
            yield _Child(child, child.platform)


def _describes_another(child: Descriptor) -> bool:
    platform = child.platform
    # crane names the config's type as the artifact's: that is an image.
    artifact = child.artifact_type and translate(child.artifact_type) != OCI_CONFIG
    unknown = platform and (platform.os, platform.architecture) == ("unknown", "unknown")
    return _ATTESTATION in child.annotations or bool(artifact or unknown)


def _told(children: Sequence[_Child], documents: Documents) -> list[_Told]:
    """Each child with its platform, from its config where no descriptor tells it."""
    told = []
    for child in children:
        platform = child.platform or _decode_config(_documents_of(child.descriptor, documents)[1]).platform
        told.append((platform, child.descriptor))
    return told


def _best(children: Sequence[_Told], wanted: Platform) -> _Told | None:
    """What the machine runs and is nearest to it: its own variant, else the highest below it."""
    fitting = [child for child in children if wanted.runs(child[0])]
    levels = VARIANTS.get(wanted.architecture, ())

    def nearness(child: _Told) -> int:
        variant = child[0].variant
        if variant == wanted.variant:
            return len(levels)
        return levels.index(variant) if variant in levels else -1

    return max(fitting, key=nearness, default=None)


def _serve(base: Base, wanted: Platform, best: _Told, documents: Documents) -> BasePlatform:
    said, descriptor = best
    manifest, config = _documents_of(descriptor, documents)
    decoded = Manifest.decode(manifest, f"the manifest of {base.source} for {wanted}")
    _check_layers(base, wanted, decoded)
    own = _decode_config(config).platform
    if (own.os, own.architecture) == (said.os, said.architecture):
        # A config that names no variant reads as the default one; its descriptor may know better.
        own = replace(own, variant=said.variant, os_version=own.os_version or said.os_version)
    return BasePlatform(wanted, own, manifest, config, base.name, base.digest)


def _documents_of(descriptor: Descriptor, documents: Documents) -> tuple[bytes, bytes]:
    """The bytes of a manifest and of its config. Raises BaseImageError for what is no image."""
    manifest = documents.read(descriptor)
    found = Manifest.decode(manifest, f"the manifest {descriptor.digest}")
    if translate(found.config.media_type) != OCI_CONFIG:
        raise BaseImageError(
            f"the base image's manifest {descriptor.digest} is not of a container image",
            why=f"its config is {found.config.media_type!r}",
            fix="use another base image",
        )
    return manifest, documents.read(found.config)


def _decode_config(config: bytes) -> ImageConfig:
    return ImageConfig.decode(config, "the base image's config")


def _check_layers(base: Base, wanted: Platform, manifest: Manifest) -> None:
    for layer in manifest.layers:
        if translate(layer.media_type) not in _CARRIED:
            foreign = "nondistributable" in layer.media_type or "foreign" in layer.media_type
            raise BaseImageError(
                f"the base image {base.source} cannot be used",
                why="its layers may not be distributed (foreign layers)"
                if foreign
                else f"it has a layer of the type {layer.media_type!r}",
                fix="use a base image whose layers are tar, tar+gzip or tar+zstd",
                platform=str(wanted),
            )


def _lacking(
    base: Base,
    children: Sequence[_Told],
    platforms: Sequence[Platform],
    missing: Sequence[Platform],
) -> BaseImageError:
    has = list(dict.fromkeys(str(platform) for platform, _ in children))
    left = [str(each) for each in platforms if each not in missing]
    fix = "use another base image"
    if left:
        names = ",".join(left)
        fix = f"leave it out with --platform {names} (platform in hostbuild.toml), or {fix}"
    return BaseImageError(
        f"the base image {base.source} has no {', '.join(map(str, missing))}",
        why=f"it has {', '.join(has)}" if has else "it has no image at all",
        fix=fix,
        missing=[str(each) for each in missing],
        has=has,
    )

"""The values of base images. They pickle: workers get them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hostbuild.bases.naming import SCRATCH, BaseName
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.platform import Platform
from hostbuild.records import replace

if TYPE_CHECKING:
    from hostbuild.oci.compose import BaseImage


class Base(NamedTuple):
    """A base image that was resolved: `digest` is what its name means now ("" for scratch).

    `name` is the full reference for the annotation `org.opencontainers.image.base.name`, "" where there
    is none. `how` tells people where the digest comes from.
    """

    source: BaseName = SCRATCH
    name: str = ""
    digest: str = ""
    how: str = ""

    @property
    def is_scratch(self) -> bool:
        """Whether the image stands on nothing."""
        return self.source.kind == "scratch"

    @property
    def in_registry(self) -> bool:
        """Whether its layers lie in a registry."""
        return self.source.kind == "registry"

    def __str__(self) -> str:
        """What the build ID depends on: the name that is annotated, and the digest."""
        return f"{self.name or self.source.kind}@{self.digest}" if self.digest else "scratch"


#: The base of an image that stands on nothing.
NO_BASE = Base()


class BasePlatform(NamedTuple):
    """The base's image for one platform: `serves` is the platform that is built on it.

    `platform` is what the base says that it is for. `manifest` and `config` are the documents' bytes.
    """

    serves: Platform
    platform: Platform
    manifest: bytes
    config: bytes
    name: str = ""
    digest: str = ""

    def image(self) -> BaseImage:
        """The base as composing wants it. Raises InvalidDocumentError."""
        from hostbuild.oci.compose import BaseImage
        from hostbuild.oci.config import ImageConfig
        from hostbuild.oci.manifest import Manifest

        config = ImageConfig.decode(self.config, "the base image's config")
        return BaseImage(
            config=replace(config, platform=self.platform),
            manifest=Manifest.decode(self.manifest, "the base image's manifest"),
            name=self.name,
            digest=self.digest,
        )

    def layers(self) -> tuple[tuple[Descriptor, Digest], ...]:
        """Each layer as it lies where the base is, with its diff ID; the lowest first."""
        image = self.image()
        return tuple(zip(image.manifest.layers, image.config.rootfs.diff_ids, strict=False))

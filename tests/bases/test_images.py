"""Which image of a base serves a platform, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostbuild.bases import Base, Network, parse_base
from hostbuild.bases.images import open_base, platforms_of
from hostbuild.bases.resolve import Wish, resolve_base
from hostbuild.bases.values import BasePlatform
from hostbuild.errors import BaseImageError, HostbuildError, InvalidPlatformError
from hostbuild.model import DEFAULT_ACCESS
from hostbuild.oci.compose import ImageSpec, compose_image
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.platform import Platform
from hostbuild.store.cache import Cache
from tests.bases.base_images import finish, platform_of, put_image, write_base
from tests.rig.handmade import put_json
from tests.rig.layout import INDEX


def resolved(layout: Path, cache: Cache) -> Base:
    name = parse_base(f"oci:{layout}")
    return resolve_base(name, Wish(str(layout)), cache, Network(DEFAULT_ACCESS))


def opened(layout: Path, cache: Cache, *platforms: str) -> tuple[BasePlatform, ...]:
    wanted = [Platform.parse(each) for each in platforms]
    return open_base(resolved(layout, cache), wanted, cache, Network(DEFAULT_ACCESS))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_each_platform_gets_its_own_image(tmp_path: Path, cache: Cache) -> None:
    layout = write_base(tmp_path / "base", ["linux/arm64", "linux/amd64"])
    amd64, arm64 = opened(layout, cache, "linux/amd64", "linux/arm64")
    assert (str(amd64.platform), str(arm64.platform)) == ("linux/amd64", "linux/arm64")
    assert amd64.manifest != arm64.manifest
    assert amd64.name == "registry.example/base:1"


def test_the_nearest_variant_is_taken_and_none_above(tmp_path: Path, cache: Cache) -> None:
    layout = write_base(tmp_path / "base", ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"])
    v7, v6 = opened(layout, cache, "linux/arm/v7", "linux/arm/v6")
    assert (v7.platform.variant, v6.platform.variant) == ("v7", "v6")
    low = write_base(tmp_path / "low", ["linux/arm/v5", "linux/arm/v6"])
    (found,) = opened(low, cache, "linux/arm/v7")
    assert found.platform.variant == "v6"
    high = write_base(tmp_path / "high", ["linux/amd64/v3"])
    with pytest.raises(BaseImageError, match="has no linux/amd64"):
        opened(high, cache, "linux/amd64")


def test_a_missing_platform_is_an_error_that_lists_what_is_there(tmp_path: Path, cache: Cache) -> None:
    layout = write_base(tmp_path / "base", ["linux/amd64", "linux/s390x"])
    with pytest.raises(BaseImageError) as caught:
        opened(layout, cache, "linux/amd64", "linux/arm64", "linux/arm/v7")
    assert "has no linux/arm64, linux/arm/v7" in caught.value.what
    assert caught.value.why == "it has linux/amd64, linux/s390x"
    assert "--platform linux/amd64 " in caught.value.fix


def test_a_single_image_serves_its_own_platform_only(tmp_path: Path, cache: Cache) -> None:
    layout = tmp_path / "base"
    finish(layout, put_image(layout, platform_of("linux/arm64")))
    (found,) = opened(layout, cache, "linux/arm64")
    assert str(found.platform) == "linux/arm64"
    with pytest.raises(BaseImageError) as caught:
        opened(layout, cache, "linux/amd64")
    assert caught.value.why == "it has linux/arm64"


def test_an_index_that_lies_about_an_image_is_found_out(tmp_path: Path, cache: Cache) -> None:
    layout = tmp_path / "base"
    child = {**put_image(layout, platform_of("linux/amd64")), "platform": platform_of("linux/arm64")}
    finish(layout, put_json(layout, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}, INDEX))
    (found,) = opened(layout, cache, "linux/arm64")
    spec = ImageSpec(Platform.parse("linux/arm64"), "1970-01-01T00:00:00Z", ())
    with pytest.raises(InvalidPlatformError, match="cannot be used for 'linux/arm64'"):
        compose_image(spec, found.image())


def test_a_config_without_variant_believes_its_descriptor(tmp_path: Path, cache: Cache) -> None:
    layout = tmp_path / "base"
    child = {
        **put_image(layout, {"os": "linux", "architecture": "arm"}),
        "platform": platform_of("linux/arm/v6"),
    }
    finish(layout, put_json(layout, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}, INDEX))
    (found,) = opened(layout, cache, "linux/arm/v6")
    assert found.image().config.platform.variant == "v6"


def test_attestations_and_other_descriptions_are_passed_over(tmp_path: Path, cache: Cache) -> None:
    layout = tmp_path / "base"
    image = put_image(layout, platform_of("linux/amd64"), content=b"x")
    attestation = {**image, "platform": {"os": "unknown", "architecture": "unknown"}}
    described = {**image, "platform": platform_of("linux/amd64")}
    described["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
    write_base(layout, ["linux/arm64"], extra=[attestation, described])
    assert platforms_of(resolved(layout, cache), cache, Network(DEFAULT_ACCESS)) == (
        Platform.parse("linux/arm64"),
    )


def test_an_index_that_names_the_type_of_its_images_is_one_of_images(tmp_path: Path, cache: Cache) -> None:
    layout = tmp_path / "base"
    child = {**put_image(layout, platform_of("linux/amd64")), "platform": platform_of("linux/amd64")}
    child["artifactType"] = "application/vnd.docker.container.image.v1+json"
    finish(layout, put_json(layout, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}, INDEX))
    assert opened(layout, cache, "linux/amd64")


def test_all_platforms_are_the_linux_ones_in_order(tmp_path: Path, cache: Cache) -> None:
    layout = write_base(tmp_path / "base", ["linux/s390x", "windows/amd64", "linux/amd64", "linux/arm/v6"])
    found = platforms_of(resolved(layout, cache), cache, Network(DEFAULT_ACCESS))
    assert [str(each) for each in found] == ["linux/s390x", "linux/amd64", "linux/arm/v6"]


def test_docker_media_types_become_oci_ones(tmp_path: Path, cache: Cache) -> None:
    layout = write_base(tmp_path / "base", ["linux/amd64"], docker=True)
    (found,) = opened(layout, cache, "linux/amd64")
    spec = ImageSpec(Platform.parse("linux/amd64"), "1970-01-01T00:00:00Z", ())
    image = compose_image(spec, found.image())
    assert b"vnd.docker" not in image.manifest
    assert Manifest.decode(image.manifest).layers[0].media_type.endswith("tar+gzip")
    assert Manifest.decode(image.manifest).annotations == {
        "org.opencontainers.image.base.name": "registry.example/base:1",
        "org.opencontainers.image.base.digest": found.digest,
    }


@pytest.mark.parametrize(
    "layer_type",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.example.encrypted",
    ],
)
def test_layers_that_cannot_be_carried_are_refused(tmp_path: Path, cache: Cache, layer_type: str) -> None:
    layout = write_base(tmp_path / "base", ["linux/amd64"], layer_type=layer_type)
    with pytest.raises(BaseImageError, match="cannot be used"):
        opened(layout, cache, "linux/amd64")


def test_an_index_in_an_index_is_followed_and_a_deep_one_refused(tmp_path: Path, cache: Cache) -> None:
    layout = tmp_path / "base"
    top = {**put_image(layout, platform_of("linux/amd64")), "platform": platform_of("linux/amd64")}
    for depth in range(6):
        top = put_json(layout, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]}, INDEX)
        finish(layout, top)
        if depth < 3:
            assert opened(layout, cache, "linux/amd64")
    with pytest.raises(BaseImageError, match="cannot be used"):
        opened(layout, cache, "linux/amd64")


def test_an_artifact_is_no_base(tmp_path: Path, cache: Cache) -> None:
    layout = tmp_path / "base"
    config = put_json(layout, {"made": "by helm"}, "application/vnd.cncf.helm.config.v1+json")
    media_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": []}
    finish(layout, put_json(layout, manifest, media_type))
    with pytest.raises(HostbuildError, match="not of a container image"):
        opened(layout, cache, "linux/amd64")

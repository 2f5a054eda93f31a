"""A build on a base that lies on this machine: what it takes over, and what it costs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.bases.base_images import finish, platform_of, put_image, write_base
from tests.rig.builder import Hostbuild, make_source
from tests.rig.layout import read_layout
from tests.rig.oci_tools import run
from tests.rig.sources import HELLO

PLATFORMS = "linux/amd64,linux/arm64"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_source(tmp_path / "src", HELLO)


def test_the_image_stands_on_the_base(hostbuild: Hostbuild, source: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", ["linux/arm64", "linux/amd64", "linux/s390x"])
    layout = hostbuild.build(source, "--base", f"oci:{base}", "--platform", PLATFORMS)
    for image in layout.images.values():
        assert [member.path for member in image.layers[0]] == ["base.txt"]
        assert image.layers[0][0].data.decode() == image.platform
        assert image.env["BASE"] == "1"
        assert image.env["PATH"] == "/base/bin"
        config = image.config["config"]
        assert config["User"] == "7:7"
        assert config["Labels"]["from"] == "base"
        assert (
            image.manifest["annotations"]["org.opencontainers.image.base.name"] == "registry.example/base:1"
        )
        names = {member.path for members in image.layers[1:] for member in members}
        assert not any("ca-certificates" in name for name in names), "a base has certificates of its own"


def test_certificates_come_when_they_are_asked_for(
    hostbuild: Hostbuild, source: Path, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base", ["linux/amd64"])
    arguments = ["--base", f"oci:{base}", "--platform", "linux/amd64"]
    layout = hostbuild.build(source, *arguments, "--certificates")
    (image,) = layout.images.values()
    assert any("ca-certificates" in member.path for members in image.layers for member in members)


def test_an_archive_gives_the_same_image_as_its_layout(
    hostbuild: Hostbuild, source: Path, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base", ["linux/amd64"])
    archive = shutil.make_archive(str(tmp_path / "base"), "tar", base)
    first = hostbuild.build(source, "--base", f"oci:{base}", "--platform", "linux/amd64")
    second = hostbuild.build(source, "--base", f"oci-archive:{archive}", "--platform", "linux/amd64")
    assert first.digest == second.digest


def test_a_program_keeps_the_directory_of_its_base(
    hostbuild: Hostbuild, source: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    fields = {"config": {"WorkingDir": "/srv"}}
    finish(base, put_image(base, platform_of("linux/amd64"), config_fields=fields))
    build = ["--base", f"oci:{base}", "--platform", "linux/amd64"]
    (image,) = hostbuild.build(source, *build).images.values()
    assert image.config["config"]["WorkingDir"] == "/srv"
    assert [member.path for members in image.layers for member in members if member.path == "func"] == []
    (image,) = hostbuild.build(source, *build, "--ship-source").images.values()
    assert image.config["config"]["WorkingDir"] == "/func"


def test_only_what_is_in_a_registry_can_be_locked(hostbuild: Hostbuild, source: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", ["linux/amd64"])
    hostbuild("build", source, "--base", f"oci:{base}", "--lock").fails(2, "cannot be locked")


def test_a_changed_base_is_a_reason_and_an_unchanged_one_is_none(
    hostbuild: Hostbuild, source: Path, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base", ["linux/amd64"])
    arguments: list[str | Path] = ["build", source, "--base", f"oci:{base}", "--platform", "linux/amd64"]
    first = hostbuild(*arguments)
    assert "up to date" in hostbuild(*arguments).stderr
    shutil.rmtree(base)
    write_base(tmp_path / "base", ["linux/amd64", "linux/arm64"])
    again = hostbuild(*arguments)
    assert "base changed" in again.stderr
    assert again.digest != first.digest


def test_a_platform_that_the_base_lacks_is_one_clear_error(
    hostbuild: Hostbuild, source: Path, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base", ["linux/amd64"])
    result = hostbuild("build", source, "--base", f"oci:{base}")
    result.fails(1, "has no linux/arm64, linux/arm/v7", "it has linux/amd64", "--platform linux/amd64")
    assert not (source / ".func/builds/last").exists()


def test_all_platforms_of_the_base(hostbuild: Hostbuild, source: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", ["linux/arm64", "windows/amd64", "linux/amd64"])
    layout = hostbuild.build(source, "--base", f"oci:{base}", "--platform", "all")
    assert list(layout.images) == ["linux/arm64", "linux/amd64"]
    hostbuild("build", source, "--platform", "all").fails(2, "there is no base image")


def test_a_damaged_layer_of_the_base_is_found(hostbuild: Hostbuild, source: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", ["linux/amd64"])
    layer = max((base / "blobs/sha256").iterdir(), key=lambda path: path.read_bytes()[:2] == b"\x1f\x8b")
    data = bytearray(layer.read_bytes())
    data[-1] ^= 1
    layer.write_bytes(data)
    result = hostbuild("build", source, "--base", f"oci:{base}", "--platform", "linux/amd64")
    result.fails(1, layer.name)
    assert not list((hostbuild.cache / "blobs").rglob(layer.name))


def test_the_layout_holds_the_base_and_other_tools_read_it(
    hostbuild: Hostbuild, source: Path, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base", ["linux/amd64"], docker=True)
    hostbuild.build(source, "--base", f"oci:{base}", "--platform", "linux/amd64")
    layout = read_layout(source / ".func/builds/last/oci")
    assert next(iter(layout.images.values())).manifest["layers"][0]["mediaType"].endswith("v1.tar+gzip")


def test_an_environment_that_no_container_could_have_is_refused(
    hostbuild: Hostbuild, source: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    fields = {"config": {"Env": ["A=1", "B=\0"]}}
    finish(base, put_image(base, platform_of("linux/amd64"), config_fields=fields))
    result = hostbuild("build", source, "--base", f"oci:{base}", "--platform", "linux/amd64")
    result.fails(2, "environment")


def test_a_docker_archive_is_a_base(hostbuild: Hostbuild, source: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    finish(base, put_image(base, platform_of("linux/amd64"), docker=True))
    archive = tmp_path / "base.tar"
    run("skopeo", "--insecure-policy", "copy", f"oci:{base}", f"docker-archive:{archive}:team/base:1")
    build = ["--base", f"docker-archive:{archive}", "--platform", "linux/amd64"]
    (image,) = hostbuild.build(source, *build).images.values()
    assert [member.path for member in image.layers[0]] == ["base.txt"]
    assert image.env["BASE"] == "1"
    hostbuild("build", source, *build[:2]).fails(1, "has no linux/arm64, linux/arm/v7")


@pytest.mark.parametrize("kind", ["tar", "tar+zstd"])
def test_a_layer_of_another_compression_is_carried_as_it_is(
    hostbuild: Hostbuild, source: Path, tmp_path: Path, kind: str
) -> None:
    media_type = f"application/vnd.oci.image.layer.v1.{kind}"
    base = write_base(tmp_path / "base", ["linux/amd64"], layer_type=media_type)
    result = hostbuild("build", source, "--base", f"oci:{base}", "--platform", "linux/amd64")
    assert result.code == 0, result.stderr
    blobs = tmp_path / "src/.func/builds/last/oci/blobs/sha256"
    documents = (path.read_bytes() for path in blobs.iterdir())
    manifests = [json.loads(data) for data in documents if data.startswith(b"{")]
    (first,) = {each["layers"][0]["mediaType"] for each in manifests if "layers" in each}
    assert first == media_type
    (digest,) = {each["layers"][0]["digest"] for each in manifests if "layers" in each}
    there = base / "blobs" / digest.replace(":", "/")
    assert (blobs / there.name).read_bytes() == there.read_bytes()

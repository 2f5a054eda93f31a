from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from hostbuild.errors import InvalidDocumentError, InvalidPlatformError, InvalidValueError
from hostbuild.oci.compose import (
    DEFAULT_PATH,
    BaseImage,
    ComposedImage,
    ImageSpec,
    compose_image,
    compose_index,
)
from hostbuild.oci.config import ImageConfig
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.media_types import (
    OCI_CONFIG,
    OCI_FOREIGN_LAYER_GZIP,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
)
from hostbuild.oci.platform import Platform
from tests.oci.samples import BASE_CONFIG, CREATED, assert_explains, base, layer, spec


def config_of(image: ComposedImage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(image.config)
    return found


def run_of(image: ComposedImage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(image.config)["config"]
    return found


def test_a_function_on_scratch() -> None:
    image = compose_image(
        spec(
            env=(("LISTEN_ADDRESS", "[::]:8080"),),
            cmd=("/func/f",),
            ports=("8080/tcp",),
            labels=(("a", "b"),),
        ),
        None,
    )
    assert config_of(image) == {
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": {
            "User": "1000:1000",
            "ExposedPorts": {"8080/tcp": {}},
            "Env": [f"PATH={DEFAULT_PATH}", "LISTEN_ADDRESS=[::]:8080"],
            "Cmd": ["/func/f"],
            "WorkingDir": "/func",
            "StopSignal": "SIGTERM",
            "Labels": {"a": "b"},
        },
        "rootfs": {"type": "layers", "diff_ids": [str(layer(name).diff_id) for name in ("data", "binary")]},
        "history": [
            {"created": CREATED, "created_by": "make data"},
            {"created": CREATED, "created_by": "make binary"},
        ],
    }
    assert json.loads(image.manifest) == {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": OCI_CONFIG,
            "digest": str(Digest.of(image.config)),
            "size": len(image.config),
        },
        "layers": [layer(name).descriptor.to_json() for name in ("data", "binary")],
    }
    assert image.manifest_descriptor == Descriptor(
        OCI_MANIFEST, Digest.of(image.manifest), len(image.manifest), Platform("linux", "amd64")
    )


def test_the_same_values_give_the_same_bytes() -> None:
    labels = (("z", "1"), ("a", "2"))
    one = compose_image(spec(labels=labels, ports=("1", "2")), base())
    two = compose_image(spec(labels=labels[::-1], ports=("2/tcp", "1/tcp")), base())
    assert one == two


def test_a_variant_is_told() -> None:
    image = compose_image(spec("linux/arm/v7"), None)
    assert (config_of(image)["architecture"], config_of(image)["variant"]) == ("arm", "v7")
    assert image.manifest_descriptor.platform == Platform("linux", "arm", "v7")


def test_what_a_base_gives() -> None:
    image = compose_image(
        spec(cmd=("/func/f",), ports=("8080",), volumes=("/data",), labels=(("b", "ours"),)), base()
    )
    config, run = config_of(image), run_of(image)
    assert (config["os.version"], config["os.features"], config["author"]) == ("12.1", ["f1"], "somebody")
    assert config["created"] == CREATED
    assert config["org.example.kept"] == [1]
    assert not {"docker_version", "container", "container_config"} & set(config)
    assert run == {
        "User": "app",
        "ExposedPorts": {"53/udp": {}, "8080/tcp": {}},
        "Env": ["PATH=/opt/bin:/bin", "LANG=C.UTF-8", "odd"],
        "Cmd": ["/func/f"],
        "Volumes": {"/var/base": {}, "/data": {}},
        "WorkingDir": "/func",
        "Labels": {"a": "base", "b": "ours"},
        "StopSignal": "SIGTERM",
        "Healthcheck": BASE_CONFIG["config"]["Healthcheck"],
        "Shell": ["/bin/bash", "-c"],
    }
    assert image.manifest_descriptor.platform == Platform("linux", "amd64", "", "12.1", ("f1",))


def test_layers_history_and_diff_ids_of_a_base_come_first() -> None:
    image = compose_image(spec(), base())
    manifest, config = json.loads(image.manifest), config_of(image)
    assert [each["mediaType"] for each in manifest["layers"]] == [
        OCI_LAYER_GZIP,
        OCI_FOREIGN_LAYER_GZIP,
        OCI_LAYER_GZIP,
        OCI_LAYER_GZIP,
    ]
    assert manifest["layers"][1]["urls"] == ["https://registry.example/l2"]
    assert config["rootfs"]["diff_ids"][:2] == BASE_CONFIG["rootfs"]["diff_ids"]
    assert config["history"][:3] == BASE_CONFIG["history"]
    assert [entry["created_by"] for entry in config["history"][3:]] == ["make data", "make binary"]
    assert manifest["annotations"] == {
        "org.opencontainers.image.base.name": "docker.io/library/base:1",
        "org.opencontainers.image.base.digest": str(Digest.of(b"index")),
    }
    assert b"docker" not in b"".join(each["mediaType"].encode() for each in manifest["layers"])


@pytest.mark.parametrize(
    "history",
    [
        None,
        [],
        [{"created_by": "one"}],
        [{"created_by": "e", "empty_layer": True}],
        [{"created_by": str(number)} for number in range(5)],
        [{"created_by": "one"}, {"empty_layer": True}, {"created_by": "two"}, {"created_by": "three"}],
    ],
)
def test_non_empty_history_equals_layers(history: list[dict[str, Any]] | None) -> None:
    image = compose_image(spec(), base(history=history))
    found = config_of(image)["history"]
    full = [entry for entry in found if not entry.get("empty_layer")]
    assert len(full) == len(json.loads(image.manifest)["layers"]) == 4
    assert [entry["created_by"] for entry in full[-2:]] == ["make data", "make binary"]
    assert len(found) >= len(history or []) + 2
    if history and len(history) > 2:
        assert full[1]["created_by"] == history[-1]["created_by"]  # the newest keep their layers


@pytest.mark.parametrize(
    ("wanted", "has", "fits"),
    [
        ("linux/amd64", {"architecture": "amd64"}, True),
        ("linux/amd64/v3", {"architecture": "amd64"}, True),
        ("linux/arm64", {"architecture": "arm64", "variant": "v8"}, True),
        ("linux/arm64", {"architecture": "aarch64"}, True),
        ("linux/arm/v7", {"architecture": "arm"}, True),
        ("linux/arm64", {"architecture": "amd64"}, False),
        ("linux/arm/v6", {"architecture": "arm", "variant": "v7"}, False),
        ("linux/arm64", {"architecture": "arm", "variant": "v7"}, False),
        ("linux/amd64", {"architecture": "amd64", "os": "windows"}, False),
    ],
)
def test_a_base_for_other_machines_is_refused(wanted: str, has: dict[str, Any], fits: bool) -> None:
    if fits:
        platform = compose_image(spec(wanted), base(**has)).manifest_descriptor.platform
        assert platform is not None
        assert str(platform) == wanted
        return
    with pytest.raises(InvalidPlatformError) as caught:
        compose_image(spec(wanted), base(**has))
    error = caught.value
    assert wanted in error.what
    assert has["architecture"] in error.why
    assert error.platform == wanted
    assert wanted in error.fix
    assert_explains(error)


def test_a_base_that_contradicts_itself() -> None:
    with pytest.raises(InvalidDocumentError, match="2 layers, its config 1"):
        compose_image(spec(), base(rootfs={"type": "layers", "diff_ids": [str(Digest.of(b"d"))]}))


def test_the_user_wins_and_no_name_stands_twice() -> None:
    image = compose_image(
        spec(
            env=(("LISTEN_ADDRESS", "ours"), ("LANG", "ours"), ("N", "1")),
            user_env=(("LISTEN_ADDRESS", "theirs"), ("PATH", "/x"), ("N", "2"), ("N", "3"), ("E", "")),
        ),
        base(),
    )
    assert run_of(image)["Env"] == ["PATH=/x", "LANG=ours", "odd", "LISTEN_ADDRESS=theirs", "N=3", "E="]


def test_no_path_is_made_up_above_a_base() -> None:
    image = compose_image(spec(), base(config={"Env": ["A=1"]}))
    assert run_of(image)["Env"] == ["A=1"]
    assert f"PATH={DEFAULT_PATH}" in run_of(compose_image(spec(), None))["Env"]


@pytest.mark.parametrize(
    ("more", "base_user", "user"),
    [
        ({}, "", "1000:1000"),
        ({}, "root", "root"),
        ({"user": ""}, "", "1000:1000"),
        ({"user": "7"}, "app", "app"),
        ({"user": "7", "force_user": True}, "app", "7"),
    ],
)
def test_the_user_of_the_process(more: dict[str, Any], base_user: str, user: str) -> None:
    assert run_of(compose_image(spec(**more), base(config={"User": base_user})))["User"] == user


def test_command_and_entrypoint_are_ours_only() -> None:
    plain = run_of(compose_image(spec(), base()))
    assert not {"Entrypoint", "Cmd"} & set(plain)
    both = run_of(compose_image(spec(entrypoint=("/p",), cmd=("a", "b")), base()))
    assert (both["Entrypoint"], both["Cmd"]) == (["/p"], ["a", "b"])


def test_empty_working_dir_and_signal_leave_the_base() -> None:
    run = run_of(compose_image(spec(working_dir="", stop_signal=""), base()))
    assert (run["WorkingDir"], run["StopSignal"]) == ("/base", "SIGQUIT")


def test_annotations_of_the_user_win() -> None:
    key = "org.opencontainers.image.base.name"
    image = compose_image(spec(annotations=((key, "mine"),), descriptor_annotations=(("d", "1"),)), base())
    assert json.loads(image.manifest)["annotations"][key] == "mine"
    assert image.manifest_descriptor.annotations == {"d": "1"}


@pytest.mark.parametrize(
    "more",
    [
        {"created": "yesterday"},
        {"created": "2024-05-01T12:00:00+00:00"},
        {"created": "12024-05-01T12:00:00Z"},
        {"created": "2024-05-01T12:00:00Z\n"},
        {"ports": ("0",)},
        {"ports": ("65536/tcp",)},
        {"ports": ("80/",)},
        {"ports": ("80/icmp",)},
        {"ports": ("http",)},
        {"ports": ("\u0668\u0660",)},
        {"volumes": ("data",)},
        {"volumes": ("",)},
        {"user_env": (("", "x"),)},
        {"user_env": (("A=B", "x"),)},
        {"user_env": (("A", "\0"),)},
        {"user_env": (("A", "\udcff"),)},
        {"labels": (("A", "\udcff"),)},
        {"layers": ()},
    ],
)
def test_values_that_an_image_cannot_hold(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError) as caught:
        compose_image(spec(**more), None)
    assert_explains(caught.value)


def test_a_base_alone_is_an_image() -> None:
    assert len(json.loads(compose_image(spec(layers=()), base()).manifest)["layers"]) == 2


def test_specs_and_bases_cross_to_workers() -> None:
    for value in (spec(), base()):
        assert pickle.loads(pickle.dumps(value)) == value
    assert isinstance(spec(), ImageSpec)


def test_what_is_composed_is_read_again_and_can_be_a_base() -> None:
    image = compose_image(spec(), base())
    config, manifest = ImageConfig.decode(image.config), Manifest.decode(image.manifest)
    assert (config.encode(), manifest.encode()) == (image.config, image.manifest)
    again = compose_image(spec(layers=(layer("more"),)), BaseImage(config, manifest))
    assert len(json.loads(again.manifest)["layers"]) == 5
    assert "annotations" not in json.loads(again.manifest)


def test_the_index_keeps_the_order_given() -> None:
    children = [
        compose_image(spec(platform), None).manifest_descriptor for platform in ("linux/arm64", "linux/amd64")
    ]
    data, descriptor = compose_index(children, (("k", "v"),))
    assert json.loads(data) == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [child.to_json() for child in children],
        "annotations": {"k": "v"},
    }
    assert descriptor == Descriptor(OCI_INDEX, Digest.of(data), len(data))


def test_an_index_of_one_manifest_a_platform() -> None:
    child = compose_image(spec("linux/arm64"), None).manifest_descriptor
    bare = Descriptor(child.media_type, child.digest, child.size)
    same = Descriptor(child.media_type, child.digest, child.size, Platform("linux", "arm64", "v8"))
    for children in ([], [bare], [child, same]):
        with pytest.raises(InvalidValueError) as caught:
            compose_index(children)
        assert_explains(caught.value)

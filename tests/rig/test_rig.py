"""The rig itself: it accepts a right layout made by hand, and each kind of wrong one is caught."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.rig import oci_tools
from tests.rig.builder import Hostbuild, Result, make_source
from tests.rig.go_modules import go_command
from tests.rig.handmade import put_json, write_handmade, write_image
from tests.rig.layout import INDEX, MANIFEST, REFERENCE_NAME, blob_path, read_layout
from tests.rig.processes import alive, identity, is_marked, wait_until
from tests.rig.run_image import run_to_end, running
from tests.rig.schemas import Schemas
from tests.rig.sources import SERVER

REFERENCE = "registry.example/app:v1"
PLATFORMS = {"linux/amd64": {}, "linux/arm64": {}, "linux/arm/v7": {"GOARM": "7"}}
CONFIG = {"Cmd": ["/func/f"], "WorkingDir": "/func", "User": "1000:1000", "Env": ["LISTEN_ADDRESS=[::]:8080"]}


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = tmp_path / "layout"
    write_handmade(
        path, REFERENCE, {platform: {"func/f": platform.encode()} for platform in PLATFORMS}, CONFIG
    )
    return path


def rewrite_manifest(layout: Path, platform: str, change: dict[str, Any], config: dict[str, Any]) -> None:
    """Replace one platform's manifest and config by changed ones, with right digests all the way up."""
    read = read_layout(layout)
    image = read.images[platform]
    new_config = put_json(layout, {**image.config, **config}, image.manifest["config"]["mediaType"])
    manifest = put_json(layout, {**image.manifest, "config": new_config, **change}, MANIFEST)
    blob_path(layout, image.descriptor["digest"]).unlink()
    descriptors = [
        {**item, **manifest} if item is image.descriptor else item for item in read.index["manifests"]
    ]
    blob_path(layout, read.digest).unlink()
    index = put_json(layout, {**read.index, "manifests": descriptors}, INDEX)
    outer = json.loads((layout / "index.json").read_text())
    outer["manifests"][0] |= index
    (layout / "index.json").write_text(json.dumps(outer))


def test_a_right_layout_is_read(layout: Path) -> None:
    read = read_layout(layout)
    assert read.reference == REFERENCE
    assert set(read.images) == set(PLATFORMS)
    assert read.images["linux/arm/v7"].files["func/f"].data == b"linux/arm/v7"
    assert read.images["linux/arm/v7"].env == {"LISTEN_ADDRESS": "[::]:8080"}


def test_the_public_tools_take_a_right_layout(layout: Path, tmp_path: Path, schemas: Schemas) -> None:
    assert oci_tools.skopeo_inspect_raw(layout, REFERENCE)["manifests"][0]["platform"]["os"] == "linux"
    oci_tools.validate(layout, REFERENCE)
    schemas.check(read_layout(layout))
    single = oci_tools.skopeo_copy(layout, REFERENCE, "linux/arm/v7", tmp_path / "single")
    root = oci_tools.umoci_unpack(single, tmp_path / "bundle")
    assert (root / "func/f").read_bytes() == b"linux/arm/v7"


def test_the_schemas_refuse_wrong_documents(schemas: Schemas) -> None:
    assert schemas.errors("image-manifest-schema.json", {"schemaVersion": 2, "layers": []})
    assert schemas.errors(
        "config-schema.json", {"os": "linux", "architecture": "amd64", "rootfs": {"type": "x"}}
    )
    wrong = {"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, "size": 1, "digest": "no digest"}]}
    assert schemas.errors("image-index-schema.json", wrong)


def test_a_changed_byte_is_caught(layout: Path) -> None:
    layer = read_layout(layout).images["linux/arm64"].manifest["layers"][0]
    path = blob_path(layout, layer["digest"])
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(AssertionError, match="the blob named"):
        read_layout(layout)


def test_a_truncated_blob_is_caught(layout: Path) -> None:
    config = read_layout(layout).images["linux/arm64"].manifest["config"]
    path = blob_path(layout, config["digest"])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AssertionError, match="bytes, not"):
        read_layout(layout)


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({}, {"history": []}, "history"),
        ({}, {"rootfs": {"type": "layers", "diff_ids": []}}, "diff IDs"),
        ({}, {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}, "diff ID"),
        ({}, {"architecture": "amd64"}, "config says"),
        ({"layers": []}, {}, "in number"),
    ],
)
def test_a_wrong_image_is_caught(
    layout: Path, change: dict[str, Any], config: dict[str, Any], message: str
) -> None:
    rewrite_manifest(layout, "linux/arm64", change, config)
    with pytest.raises(AssertionError, match=message):
        read_layout(layout)


def test_two_things_in_index_json_are_caught(layout: Path) -> None:
    outer = json.loads((layout / "index.json").read_text())
    outer["manifests"].append(write_image(layout, "linux/arm64", {}, CONFIG))
    (layout / "index.json").write_text(json.dumps(outer))
    with pytest.raises(AssertionError, match="more than one"):
        read_layout(layout)


def test_a_blob_that_nothing_names_is_caught(layout: Path) -> None:
    put_json(layout, {"left": "over"}, MANIFEST)
    with pytest.raises(AssertionError, match="unnamed"):
        read_layout(layout)


def test_every_platform_is_run(tmp_path: Path) -> None:
    source = make_source(tmp_path / "src", SERVER)
    files = {}
    for platform, settings in PLATFORMS.items():
        architecture = platform.split("/")[1]
        env = {**os.environ, "CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": architecture, **settings}
        binary = tmp_path / architecture
        subprocess.run(
            [go_command(), "build", "-o", binary, "."], cwd=source, env=env, check=True, timeout=300
        )
        files[platform] = {"func/f": binary.read_bytes()}
    write_handmade(tmp_path / "layout", REFERENCE, files, CONFIG)
    for platform, image in read_layout(tmp_path / "layout").images.items():
        with running(image, tmp_path / "run" / platform) as service:
            answer = service.request()
        assert (answer.status, answer.body) == (200, f"program on {'/'.join(platform.split('/')[:2])}")


def test_a_command_that_ends_is_run_to_its_end(layout: Path, tmp_path: Path) -> None:
    source = make_source(
        tmp_path / "src",
        {
            "go.mod": "module example.com/x\n\ngo 1.21\n",
            "main.go": 'package main\n\nimport "os"\n\nfunc main() { println(len(os.Args)); os.Exit(3) }\n',
        },
    )
    env = {**os.environ, "CGO_ENABLED": "0"}
    subprocess.run(
        [go_command(), "build", "-o", tmp_path / "x", "."], cwd=source, env=env, check=True, timeout=300
    )
    files = {"linux/amd64": {"func/f": (tmp_path / "x").read_bytes()}}
    write_handmade(tmp_path / "ended", REFERENCE, files, {"Entrypoint": ["/func/f"]})
    image = read_layout(tmp_path / "ended").images["linux/amd64"]
    assert run_to_end(image, tmp_path / "run", "a", "b") == (3, "3\n")


def test_a_result_is_one_line_of_one_form() -> None:
    digest = "sha256:" + "a" * 64
    assert Result(0, f"registry.example:5000/app@{digest}\n", "").digest == digest
    for wrong in ("", f"app:v1@{digest}\n\n", f"app@{digest}", f"built\napp@{digest}\n"):
        with pytest.raises(AssertionError):
            _ = Result(0, wrong, "").reference
    with pytest.raises(AssertionError):
        Result(1, "", "Traceback\nerror: x\n").fails(1)
    with pytest.raises(AssertionError):
        Result(1, "", "it failed\n").fails(1)
    Result(75, "", "error: x\n  why: y\n").fails(75, "why: y")


def test_tests_do_not_see_each_others_settings(hostbuild: Hostbuild, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNC_GO", "/nowhere")
    monkeypatch.setenv("HOSTBUILD_TAG", "x")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    env = hostbuild.environment({"HOSTBUILD_JOBS": "1", "HOME": None})
    assert {"FUNC_GO", "HOSTBUILD_TAG", "SOURCE_DATE_EPOCH", "HOME"} & set(env) == set()
    assert env["HOSTBUILD_JOBS"] == "1"
    assert env["HOSTBUILD_CACHE_DIR"].startswith(str(hostbuild.home))


def test_processes_are_known_by_pid_and_start() -> None:
    env = {**os.environ, "HOSTBUILD_BUILD_ID": "x"}
    with subprocess.Popen(["sleep", "60"], env=env) as child:
        who = identity(child.pid)
        assert who is not None
        assert alive(who)
        wait_until(lambda: is_marked(child.pid), 10, "the mark is seen")  # exec may not be done yet
        assert not is_marked(os.getpid())
        child.kill()
        child.wait()
    assert not alive(who)


def test_the_reference_name_is_the_specifications() -> None:
    assert REFERENCE_NAME == "org.opencontainers.image.ref.name"

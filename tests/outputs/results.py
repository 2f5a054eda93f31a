"""A finished build by hand, and the function under test."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any, cast

from hostbuild.model import BuildRequest, BuildResult, Event, LayerSummary, Output, PlatformResult
from hostbuild.oci.platform import Platform
from hostbuild.outputs import write_outputs
from hostbuild.project import BuildSubject

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")
TAGS = ("docker.io/team/app:v1", "registry.example/app:latest")
AMD64, ARM64 = Platform.parse("amd64"), Platform.parse("arm64")


class Subject:
    """What `write_outputs` asks of a build's subject."""

    def __init__(self, *outputs: Output) -> None:
        self.request = BuildRequest(root=".", outputs=outputs)


def result_of(layout: Path) -> BuildResult:
    """The result that a build with this layout would be."""
    outer = json.loads((layout / "index.json").read_text())["manifests"][0]

    def document(descriptor: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((layout / "blobs/sha256" / descriptor["digest"][7:]).read_bytes())
        return found

    platforms = []
    for platform, child in zip(PLATFORMS, document(outer)["manifests"], strict=True):
        manifest = document(child)
        layers = tuple(
            LayerSummary("l", each["digest"], "", each["size"], each["mediaType"], "", "", "")
            for each in manifest["layers"]
        )
        config = manifest["config"]
        platforms.append(
            PlatformResult(platform, child["digest"], child["size"], config["digest"], config["size"], layers)
        )
    return BuildResult(
        reference=f"team/app@{outer['digest']}",
        index_digest=outer["digest"],
        index_size=outer["size"],
        layout=str(layout),
        build_id="0" * 64,
        status="built",
        tags=TAGS,
        platforms=tuple(platforms),
    )


def write(
    result: BuildResult,
    *outputs: Output,
    stdout: io.BufferedIOBase | None = None,
    host: Platform = AMD64,
    events: list[Event] | None = None,
) -> None:
    """Call the function under test."""
    write_outputs(
        result,
        cast("BuildSubject", Subject(*outputs)),
        (events if events is not None else []).append,
        stdout=cast("Any", stdout),
        host=host,
    )


def docker(path: Path | str) -> Output:
    return Output("docker", str(path), tar=True)


def oci(path: Path | str, *, tar: bool = True) -> Output:
    return Output("oci", str(path), tar=tar)


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {info.name: tar.extractfile(info) for info in tar}
        return {name: stream.read() for name, stream in found.items() if stream is not None}

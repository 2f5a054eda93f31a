"""Small images by hand, in layouts and archives, for the tests of this room."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.rig.handmade import tar_of, write_handmade, write_image
from tests.rig.layout import INDEX

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")
CONFIG = {"Cmd": ["/f"]}


def make_layout(path: Path, name: str = "registry.example/app:v1") -> Path:
    """A layout whose index.json names one nested index, with one name."""
    write_handmade(path, name, {each: {"f": each.encode()} for each in PLATFORMS}, CONFIG)
    return path


def write_index(path: Path, manifests: Sequence[Mapping[str, Any]]) -> Path:
    """A layout's two documents; the blobs are there already."""
    path.mkdir(exist_ok=True)
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)}
    (path / "index.json").write_text(json.dumps(document))
    return path


def image(path: Path, platform: str = "linux/amd64", text: str = "x") -> dict[str, Any]:
    """One platform's image in the blobs of the layout `path`; its descriptor."""
    return write_image(path, platform, {"f": text.encode()}, CONFIG)


def named(descriptor: Mapping[str, Any], name: str, **more: str) -> dict[str, Any]:
    return {**descriptor, "annotations": {"org.opencontainers.image.ref.name": name, **more}}


def archive_layout(layout: Path, path: Path) -> Path:
    """The layout as a tar file, by the system's tar, with ./ before the names."""
    subprocess.run(["tar", "-C", layout, "-cf", path, "."], check=True)
    return path


def hex_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


LAYERS = tuple(tar_of({f"f{number}": b"%d" % number * 700}) for number in range(3))


def config_of(layers: Sequence[bytes] = LAYERS, **more: object) -> bytes:
    document = {
        "os": "linux",
        "architecture": "arm64",
        "variant": "v8",
        "config": CONFIG,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hex_of(each)}" for each in layers]},
        **more,
    }
    return json.dumps(document).encode()


def tar_file(path: Path, files: Mapping[str, bytes | str]) -> str:
    """An archive with these files; a text is a symbolic link's target. Returns the path."""
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return str(path)


def saved(
    config: str = "", layers: Sequence[str] = (), tags: Sequence[str] | None = ("app:v1",)
) -> dict[str, Any]:
    """One image of manifest.json."""
    return {"Config": config, "RepoTags": None if tags is None else list(tags), "Layers": list(layers)}


def docker_save(path: Path, *, packed: bool = False, tags: Sequence[str] | None = ("app:v1",)) -> str:
    """What docker save wrote before version 25: a directory a layer, the last one a link to the first."""
    layers = (*LAYERS, LAYERS[0])
    config = config_of(layers)
    names = [f"{number:064x}/layer.tar" for number in range(4)]
    files: dict[str, bytes | str] = {
        name: gzip.compress(data, mtime=0) if packed else data
        for name, data in zip(names, LAYERS, strict=False)
    }
    files[names[3]] = f"../{names[0]}"
    files[f"{hex_of(config)}.json"] = config
    files["manifest.json"] = json.dumps([saved(f"{hex_of(config)}.json", names, tags)]).encode()
    return tar_file(path, files)

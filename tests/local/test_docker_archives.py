"""Archives of docker save, of every age and maker."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from hostbuild.errors import CorruptBlobError, HostbuildError, InvalidDocumentError, LocalImageError
from hostbuild.local import LocalImage, open_local
from hostbuild.oci.config import ImageConfig
from hostbuild.oci.digest import Digest
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST
from tests.local.images import LAYERS, config_of, docker_save, hex_of, saved, tar_file
from tests.rig.oci_tools import run


def layers_of(found: LocalImage) -> list[tuple[str, bytes]]:
    """Media type and bytes of each layer; digests and sizes are checked."""
    read = []
    for layer in Manifest.decode(found.read(found.root)).layers:
        with found.open(layer) as stream:
            data = stream.read()
        assert Digest.of(data) == layer.digest
        assert len(data) == layer.size
        read.append((layer.media_type, data))
    return read


def test_an_old_archive_with_a_linked_layer(tmp_path: Path) -> None:
    with open_local("docker-archive", docker_save(tmp_path / "x.tar")) as found:
        assert found.root.media_type == OCI_MANIFEST
        assert str(found.root.platform) == "linux/arm64"
        assert found.name == "docker.io/library/app:v1"
        manifest = Manifest.decode(found.read(found.root))
        assert manifest.config.media_type == OCI_CONFIG
        assert len(ImageConfig.decode(found.read(manifest.config)).rootfs.diff_ids) == 4
        assert layers_of(found) == [(OCI_LAYER, data) for data in (*LAYERS, LAYERS[0])]


def test_the_manifest_is_the_same_every_time(tmp_path: Path) -> None:
    roots = set()
    for name in ("a", "b"):
        with open_local("docker-archive", docker_save(tmp_path / name, tags=(f"{name}:v1",))) as found:
            roots.add(found.root)
    assert len(roots) == 1


def test_compressed_layers_are_carried_as_they_are(tmp_path: Path) -> None:
    with open_local("docker-archive", docker_save(tmp_path / "x.tar", packed=True)) as found:
        packed = [(OCI_LAYER_GZIP, gzip.compress(data, mtime=0)) for data in (*LAYERS, LAYERS[0])]
        assert layers_of(found) == packed
    zstd = b"\x28\xb5\x2f\xfd and more"
    config = config_of(LAYERS[:1])
    files = {"c.json": config, "l": zstd, "manifest.json": json.dumps([saved("c.json", ["l"])]).encode()}
    with open_local("docker-archive", tar_file(tmp_path / "z.tar", files)) as found:
        assert layers_of(found) == [(OCI_LAYER_ZSTD, zstd)]


def test_digests_in_names_are_not_computed_again(tmp_path: Path) -> None:
    packed = gzip.compress(LAYERS[0], mtime=0)
    wrong = f"blobs/sha256/{'0' * 64}"
    files = {
        "c": config_of(LAYERS[:1]),
        wrong: packed,
        "manifest.json": json.dumps([saved("c", [wrong])]).encode(),
    }
    with open_local("docker-archive", tar_file(tmp_path / "x.tar", files)) as found:
        (layer,) = Manifest.decode(found.read(found.root)).layers
        assert layer.digest.hex == "0" * 64  # who copies it finds out


def two(path: Path) -> tuple[str, list[bytes]]:
    configs = [config_of(LAYERS[:1], author=name) for name in ("one", "two")]
    names = [f"{hex_of(each)}.json" for each in configs]
    listed = [saved(names[0], ["l"], ["app:v1", "app:latest"]), saved(names[1], ["l"], None)]
    files = dict(zip(names, configs, strict=True)) | {
        "l": LAYERS[0],
        "manifest.json": json.dumps(listed).encode(),
    }
    return tar_file(path, files), configs


def test_one_of_several_is_chosen(tmp_path: Path) -> None:
    place, configs = two(tmp_path / "x.tar")
    for choice, number, name in (
        (":app:v1", 0, "docker.io/library/app:v1"),
        (":app", 0, "docker.io/library/app:latest"),
        (":docker.io/library/app:v1", 0, "docker.io/library/app:v1"),
        (f"@sha256:{hex_of(configs[1])}", 1, ""),
    ):
        with open_local("docker-archive", place + choice) as found:
            assert found.read(Manifest.decode(found.read(found.root)).config) == configs[number]
            assert found.name == name


def test_several_without_a_choice_are_listed(tmp_path: Path) -> None:
    place, configs = two(tmp_path / "x.tar")
    with pytest.raises(LocalImageError, match="holds 2 images") as caught:
        open_local("docker-archive", place)
    assert f"'app:v1', 'sha256:{hex_of(configs[1])}'" in caught.value.why
    assert "':app:v1'" in caught.value.fix
    with pytest.raises(LocalImageError, match="no image 'other'"):
        open_local("docker-archive", f"{place}:other")


CONFIG = config_of(LAYERS[:1])
GOOD = {"c": CONFIG, "l": LAYERS[0], "manifest.json": json.dumps([saved("c", ["l"])]).encode()}


def listing(*images: object) -> dict[str, bytes | str]:
    return {"manifest.json": json.dumps(list(images)).encode()}


BAD: list[tuple[dict[str, bytes | str], type[HostbuildError], str]] = [
    (listing(saved("none", ["l"])), LocalImageError, "no 'none'"),
    (listing(saved("c", ["none"])), LocalImageError, "no 'none'"),
    (listing(saved("c", ["../../../etc/passwd"])), LocalImageError, "outside of the archive"),
    (listing(saved("/etc/passwd", ["l"])), LocalImageError, "outside of the archive"),
    (listing(saved("c", [])), InvalidDocumentError, "lists 0 layers, its config 1 diff IDs"),
    (listing(saved("c", ["l", "l"])), InvalidDocumentError, "lists 2 layers"),
    (listing(saved("", ["l"])), InvalidDocumentError, "Config"),
    (listing({"Config": 3}), InvalidDocumentError, "Config"),
    (listing("x"), InvalidDocumentError, "must be an object"),
    (listing(), LocalImageError, "names none"),
    ({"manifest.json": b"{}"}, InvalidDocumentError, "images"),
    ({"manifest.json": b'[],"x":1'}, InvalidDocumentError, "not one JSON array"),
    ({"manifest.json": b"[}"}, InvalidDocumentError, "not JSON"),
    ({"c": b"{}"}, InvalidDocumentError, "'os'"),
    ({"c": b"x" * 5_000_000}, LocalImageError, "at most 4194304"),
    ({"l": b"\xfd7zXZ\0..."}, LocalImageError, "compressed with xz"),
    ({"l": "../../etc/passwd"}, LocalImageError, "outside of the archive"),
    ({"l": "m", "m": "l"}, LocalImageError, "circle"),
    (
        {f"{'1' * 64}.json": CONFIG, **listing(saved(f"{'1' * 64}.json", ["l"]))},
        CorruptBlobError,
        hex_of(CONFIG),
    ),
    (
        {f"blobs/sha256/{'1' * 64}": LAYERS[0], **listing(saved("c", [f"blobs/sha256/{'1' * 64}"]))},
        CorruptBlobError,
        hex_of(LAYERS[0]),
    ),
]


@pytest.mark.parametrize(("spoil", "error", "words"), BAD)
def test_archives_that_contradict_themselves(
    tmp_path: Path, spoil: dict[str, bytes | str], error: type[HostbuildError], words: str
) -> None:
    with open_local("docker-archive", tar_file(tmp_path / "good.tar", GOOD)) as found:
        assert layers_of(found)
    with pytest.raises(error, match=words) as caught:
        open_local("docker-archive", tar_file(tmp_path / "bad.tar", {**GOOD, **spoil}))
    assert "bad.tar" in str(caught.value)


def test_what_is_no_archive_of_docker_save(tmp_path: Path) -> None:
    with pytest.raises(LocalImageError, match="not an archive of docker save") as caught:
        open_local("docker-archive", tar_file(tmp_path / "x.tar", {"repositories": b"{}"}))
    assert "1.10" in caught.value.fix
    with pytest.raises(LocalImageError, match=r"manifest\.json"):
        open_local("docker-archive", tar_file(tmp_path / "y.tar", {"f": b""}))


def test_a_layer_that_is_damaged_shows_where_it_is_copied(tmp_path: Path) -> None:
    with open_local("docker-archive", tar_file(tmp_path / "x.tar", {**GOOD, "l": LAYERS[1]})) as found:
        (layer,) = Manifest.decode(found.read(found.root)).layers
        with found.open(layer) as stream:
            assert Digest.of(stream.read()) != layer.digest


def test_what_skopeo_writes(tmp_path: Path) -> None:
    source = docker_save(tmp_path / "x.tar")
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    copied = tmp_path / "y.tar"
    run("skopeo", "--policy", policy, "copy", f"docker-archive:{source}", f"docker-archive:{copied}:app:v2")
    with open_local("docker-archive", source) as before, open_local("docker-archive", str(copied)) as after:
        assert after.name == "docker.io/library/app:v2"
        assert layers_of(after) == layers_of(before)

"""Images in layouts and in archives of layouts: which one is meant, and what is read of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import (
    CorruptBlobError,
    HostbuildError,
    InvalidDigestError,
    InvalidDocumentError,
    LocalImageError,
    UsageError,
)
from hostbuild.local import Kind, open_local
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.index import Index
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.media_types import OCI_INDEX
from tests.local.images import PLATFORMS, archive_layout, image, make_layout, named, write_index

Place = Callable[[Path], str]


@pytest.fixture(params=["oci", "oci-archive"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def at(kind: Kind, layout: Path) -> str:
    """The layout as a place of this kind."""
    return str(layout if kind == "oci" else archive_layout(layout, layout.with_name(layout.name + ".tar")))


def test_a_nested_index_is_the_root(tmp_path: Path, kind: Kind) -> None:
    layout = make_layout(tmp_path / "lay")
    outer = json.loads((layout / "index.json").read_text())["manifests"][0]
    with open_local(kind, at(kind, layout)) as found:
        assert str(found.root.digest) == outer["digest"]
        assert found.name == "registry.example/app:v1"
        index = Index.decode(found.read(found.root))
        assert [str(each.platform) for each in index.manifests] == list(PLATFORMS)
        for child in index.manifests:
            manifest = Manifest.decode(found.read(child))
            assert found.has(manifest.config)
            (layer,) = manifest.layers
            with found.open(layer) as stream:
                data = stream.read()
            assert Digest.of(data) == layer.digest
            with found.open(layer, 10) as stream:
                assert stream.read() == data[10:]


def test_platforms_side_by_side_are_one_image(tmp_path: Path, kind: Kind) -> None:
    layout = tmp_path / "lay"
    children = [image(layout, platform, platform) for platform in PLATFORMS]
    write_index(layout, children)
    with open_local(kind, at(kind, layout)) as found:
        data = found.read(found.root)
        assert found.root == Descriptor.of(OCI_INDEX, data)
        assert [each.to_json() for each in Index.decode(data).manifests] == children
        assert found.has(found.root)
        with found.open(found.root, 5) as stream:
            assert stream.read() == data[5:]
    write_index(layout, [named(each, "app:v1") for each in children])
    with open_local(kind, at(kind, layout) + ":app:v1") as again:
        assert again.root == found.root, "a name changes no digest"
        assert again.name == "app:v1"


def test_attestations_do_not_make_it_several(tmp_path: Path) -> None:
    layout = tmp_path / "lay"
    unknown = {"os": "unknown", "architecture": "unknown"}
    proofs = [{**image(layout, "linux/amd64", text), "platform": unknown} for text in ("p", "q")]
    write_index(layout, [image(layout), *proofs])
    with open_local("oci", str(layout)) as found:
        assert len(Index.decode(found.read(found.root)).manifests) == 3


def several(layout: Path) -> tuple[Path, dict[str, str]]:
    names = ("app:v1", "registry.example:5000/app:v2", "docker.io/library/app:v3")
    images = {name: image(layout, text=name) for name in names}
    write_index(layout, [named(each, name) for name, each in images.items()])
    return layout, {name: str(each["digest"]) for name, each in images.items()}


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (":app:v1", "app:v1"),
        (":docker.io/library/app:v1", "app:v1"),
        (":registry.example:5000/app:v2", "registry.example:5000/app:v2"),
        (":v2", "registry.example:5000/app:v2"),
        (":app:v3", "docker.io/library/app:v3"),
    ],
)
def test_one_of_several_is_chosen(tmp_path: Path, kind: Kind, choice: str, name: str) -> None:
    layout, digests = several(tmp_path / "lay")
    with open_local(kind, at(kind, layout) + choice) as found:
        assert str(found.root.digest) == digests[name]
        assert found.name == name
    with open_local(kind, f"{at(kind, layout)}@{digests[name]}") as found:
        assert str(found.root.digest) == digests[name]


def test_several_without_a_choice_are_listed(tmp_path: Path, kind: Kind) -> None:
    layout, _ = several(tmp_path / "lay")
    with pytest.raises(LocalImageError, match="holds 3 images") as caught:
        open_local(kind, at(kind, layout))
    assert "'app:v1', 'registry.example:5000/app:v2'" in caught.value.why
    assert ":app:v1" in caught.value.fix
    with pytest.raises(LocalImageError, match="holds no image 'nope'") as caught:
        open_local(kind, at(kind, layout) + ":nope")
    assert "'app:v1'" in caught.value.why


def test_images_without_names_are_listed_by_digest(tmp_path: Path) -> None:
    layout = tmp_path / "lay"
    images = [image(layout, text=text) for text in "ab"]  # one platform twice: two images
    write_index(layout, images)
    with pytest.raises(LocalImageError, match="holds 2 images") as caught:
        open_local("oci", str(layout))
    assert f"@{images[0]['digest']}" in caught.value.fix
    write_index(layout, [{key: each[key] for key in each if key != "platform"} for each in images])
    with pytest.raises(LocalImageError, match="holds 2 images"):
        open_local("oci", str(layout))


def test_two_names_of_one_image_are_no_choice(tmp_path: Path) -> None:
    layout = tmp_path / "lay"
    one = image(layout)
    full = "io.containerd.image.name"
    write_index(
        layout,
        [
            named(one, "v1", **{full: "registry.example/app:v1"}),
            named(one, "v2", **{full: "registry.example/app:v2"}),
        ],
    )
    with open_local("oci", str(layout)) as found:
        assert found.name == "registry.example/app:v1"
    with open_local("oci", f"{layout}:v2") as found:
        assert found.name == "v2"


def test_a_platform_of_a_nested_index_is_chosen_by_digest(tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "lay")
    with open_local("oci", str(layout)) as found:
        child = Index.decode(found.read(found.root)).manifests[1]
    with open_local("oci", f"{layout}@{child.digest}") as found:
        assert found.root == child
    with pytest.raises(LocalImageError, match="holds no image"):
        open_local("oci", f"{layout}@sha256:{'0' * 64}")


@pytest.mark.parametrize("name", ["plain", "with:colon", "with:two:colons", "a@b", "C:\\image", "d/"])
def test_paths_of_every_kind(tmp_path: Path, name: str) -> None:
    layout = make_layout(tmp_path / name)
    place = os.path.join(tmp_path, name)
    for suffix in ("", ":registry.example/app:v1", ":v1", ":"):
        with open_local("oci", place + suffix) as found:
            assert found.name == "registry.example/app:v1"
    archive = archive_layout(layout, Path(str(layout) + ".tar"))
    with open_local("oci-archive", f"{archive}:v1") as found:
        assert found.name == "registry.example/app:v1"


def test_the_longest_path_that_exists_counts(tmp_path: Path) -> None:
    make_layout(tmp_path / "app", "docker.io/library/short:v1")
    make_layout(tmp_path / "app:v1", "docker.io/library/long:v1")
    with open_local("oci", f"{tmp_path}/app:v1") as found:
        assert found.name == "docker.io/library/long:v1"


@pytest.mark.parametrize(
    ("place", "error", "words"),
    [
        ("", UsageError, "not a path"),
        ("a\0b", UsageError, "not a path"),
        ("-", UsageError, "standard input"),
        ("{tmp}/none", LocalImageError, "there is no"),
        ("{tmp}/none:v1", LocalImageError, "before a colon"),
        ("{tmp}/lay@sha256:12", InvalidDigestError, "64 hex digits"),
        ("{tmp}/lay@12", LocalImageError, "there is no"),
    ],
)
def test_places_that_are_none(
    tmp_path: Path, kind: Kind, place: str, error: type[HostbuildError], words: str
) -> None:
    make_layout(tmp_path / "lay")
    with pytest.raises(error, match=words):
        open_local(kind, place.format(tmp=tmp_path))


def test_what_is_of_the_other_kind(tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "lay")
    archive = archive_layout(layout, tmp_path / "lay.tar")
    with pytest.raises(LocalImageError) as caught:
        open_local("oci", str(archive))
    assert "oci-archive:" in caught.value.fix
    with pytest.raises(LocalImageError) as caught:
        open_local("oci-archive", str(layout))
    assert "oci:" in caught.value.fix
    with pytest.raises(LocalImageError) as caught:
        open_local("docker-archive", str(archive))
    assert "oci-archive:" in caught.value.fix


def _remove(name: str) -> Callable[[Path], object]:
    return lambda layout: (layout / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda layout: (layout / name).write_text(text)


def _index(*manifests: dict[str, Any]) -> Callable[[Path], object]:
    return lambda layout: write_index(layout, manifests)


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (_remove("oci-layout"), LocalImageError, "is not an image layout"),
        (_remove("index.json"), LocalImageError, "no file 'index.json'"),
        (_write("oci-layout", "{}"), InvalidDocumentError, "version null"),
        (_write("oci-layout", '{"imageLayoutVersion": "2.0.0"}'), InvalidDocumentError, "2.0.0"),
        (_write("oci-layout", "x"), InvalidDocumentError, "not JSON"),
        (_write("index.json", "[]"), InvalidDocumentError, "not a JSON object"),
        (_write("index.json", " " * (4 << 20) + "{}"), LocalImageError, "4194304"),
        (_index(), LocalImageError, "holds no image"),
        (
            _index({"mediaType": "text/plain", "digest": "sha256:" + "0" * 64, "size": 3}),
            LocalImageError,
            "neither an index nor a manifest",
        ),
    ],
)
def test_layouts_that_are_none(
    tmp_path: Path, kind: Kind, spoil: Callable[[Path], object], error: type[HostbuildError], words: str
) -> None:
    layout = make_layout(tmp_path / "lay")
    spoil(layout)
    with pytest.raises(error, match=words) as caught:
        open_local(kind, at(kind, layout))
    assert "lay" in caught.value.what


@pytest.mark.parametrize("spoil", ["other", "short", "missing", "directory", "pipe"])
def test_blobs_that_are_not_what_they_should_be(tmp_path: Path, spoil: str) -> None:
    layout = make_layout(tmp_path / "lay")
    with open_local("oci", str(layout)) as found:
        blob = layout / "blobs/sha256" / found.root.digest.hex
        data = blob.read_bytes()
        blob.unlink()
        match spoil:
            case "other":
                blob.write_bytes(data[:-1] + b" ")
            case "short":
                blob.write_bytes(data[:-1])
            case "directory":
                blob.mkdir()
            case "pipe":
                os.mkfifo(blob)
        error = CorruptBlobError if spoil in {"other", "short"} else LocalImageError
        with pytest.raises(error, match=found.root.digest.hex):
            found.read(found.root)
        assert found.has(found.root) == (spoil == "other")
        if spoil != "other":
            with pytest.raises(error):
                found.open(found.root)


def test_documents_of_the_wrong_size_are_refused(tmp_path: Path, kind: Kind) -> None:
    layout = make_layout(tmp_path / "lay")
    with open_local(kind, at(kind, layout)) as found:
        root = found.root
        with pytest.raises(LocalImageError, match="at most 4194304"):
            found.read(Descriptor(root.media_type, root.digest, 5 << 20))
        with pytest.raises(CorruptBlobError):
            found.read(Descriptor(root.media_type, root.digest, root.size + 1))


def test_a_made_index_is_not_read_under_another_size(tmp_path: Path) -> None:
    layout = tmp_path / "lay"
    write_index(layout, [image(layout, platform) for platform in PLATFORMS])
    with open_local("oci", str(layout)) as found, pytest.raises(CorruptBlobError):
        found.read(Descriptor(OCI_INDEX, found.root.digest, 3))


def test_names_cannot_reach_a_terminal(tmp_path: Path) -> None:
    layout = tmp_path / "lay"
    write_index(layout, [named(image(layout, text=name), f"\x1b[2J{name}") for name in "ab"])
    with pytest.raises(LocalImageError) as caught:
        open_local("oci", str(layout))
    assert "\x1b" not in f"{caught.value} {caught.value.fix}"


def test_an_open_image_outlives_its_archive(tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "lay")
    archive = Path(at("oci-archive", layout))
    found = open_local("oci-archive", str(archive))
    archive.unlink()
    shutil.rmtree(layout)
    with found, found.open(found.root) as stream:
        found.close()
        assert Digest.of(stream.read()) == found.root.digest

"""What is written besides the layout in the build directory, and what others load."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from hostbuild.errors import CorruptBlobError, StoreError
from hostbuild.local import guess_kind, open_local
from hostbuild.model import BuildResult, Event, Output
from hostbuild.oci.platform import Platform
from hostbuild.outputs import check_destinations, writing
from tests.outputs.results import AMD64, ARM64, TAGS, contents, docker, oci, write
from tests.rig.layout import read_layout
from tests.rig.oci_tools import run, tool


def test_an_oci_archive_is_the_layout(result: BuildResult, tmp_path: Path) -> None:
    write(result, oci(tmp_path / "x.tar"))
    layout = Path(result.layout)
    files = {str(each.relative_to(layout)): each for each in layout.rglob("*") if each.is_file()}
    found = contents((tmp_path / "x.tar").read_bytes())
    assert list(found) == sorted(files)
    for name, path in files.items():
        if name != "oci-layout":
            assert found[name] == path.read_bytes()
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run([tool("tar"), "-C", unpacked, "-xf", tmp_path / "x.tar"], check=True)
    assert read_layout(unpacked).digest == result.index_digest


def test_the_bytes_are_the_same_every_time(result: BuildResult, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(result, docker(tmp_path / name), oci(tmp_path / f"{name}.oci"))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one.oci").read_bytes() == (tmp_path / "two.oci").read_bytes()
    with tarfile.open(tmp_path / "one") as tar:
        infos = tar.getmembers()
    assert [info.name for info in infos] == sorted(info.name for info in infos)
    assert {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in infos} == {(0, 0, 0, "", "")}
    assert {(info.isdir(), info.mode) for info in infos} == {(True, 0o755), (False, 0o644)}


@pytest.mark.parametrize(
    ("host", "image"),
    [
        ("amd64", 0),
        ("arm64", 1),
        ("arm/v7", 2),
        ("linux/amd64/v3", 0),
        ("linux/s390x", 0),
        ("linux/arm/v8", 2),
    ],
)
def test_docker_is_told_of_one_image(result: BuildResult, tmp_path: Path, host: str, image: int) -> None:
    platform = Platform.parse(host if host.startswith("linux/") or "/" not in host else f"linux/{host}")
    write(result, docker(tmp_path / "x.tar"), host=platform)
    found = contents((tmp_path / "x.tar").read_bytes())
    (listed,) = json.loads(found["manifest.json"])
    chosen = result.platforms[image]
    assert listed["RepoTags"] == list(TAGS)
    assert hashlib.sha256(found[listed["Config"]]).hexdigest() == chosen.config[7:]
    assert [hashlib.sha256(found[each]).hexdigest() for each in listed["Layers"]] == [
        each.digest[7:] for each in chosen.layers
    ]
    (named,) = json.loads(found["index.json"])["manifests"]
    assert named["annotations"] == {"org.opencontainers.image.ref.name": TAGS[0]}


def test_only_the_list_depends_on_the_host(result: BuildResult, tmp_path: Path) -> None:
    write(result, docker(tmp_path / "amd64"), host=AMD64)
    write(result, docker(tmp_path / "arm64"), host=ARM64)
    found = [contents((tmp_path / name).read_bytes()) for name in ("amd64", "arm64")]
    assert found[0].pop("manifest.json") != found[1].pop("manifest.json")
    assert found[0] == found[1]


def test_skopeo_takes_it_as_both(result: BuildResult, tmp_path: Path) -> None:
    write(result, docker(tmp_path / "x.tar"), oci(tmp_path / "y.tar"))
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    skopeo = ("skopeo", "--policy", policy, "--override-os", "linux", "--override-arch", "amd64")
    for name in ("x.tar", "y.tar"):
        raw = run(*skopeo, "inspect", "--raw", f"oci-archive:{tmp_path / name}")
        assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == result.index_digest
        target = tmp_path / f"{name}.all"
        run(*skopeo, "copy", "--all", f"oci-archive:{tmp_path / name}", f"oci:{target}:{TAGS[0]}")
        assert read_layout(target).digest == result.index_digest
    copied = tmp_path / "copied"
    run(*skopeo, "copy", f"docker-archive:{tmp_path / 'x.tar'}:team/app:v1", f"oci:{copied}:image")
    tags = json.loads(run("skopeo", "list-tags", f"docker-archive:{tmp_path / 'x.tar'}"))["Tags"]
    assert tags == list(TAGS)
    run("umoci", "unpack", "--rootless", "--image", f"{copied}:image", tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs/f").read_bytes().startswith(b"linux/amd64")


def test_we_read_it_ourselves(result: BuildResult, tmp_path: Path) -> None:
    write(result, docker(tmp_path / "x.tar"))
    assert guess_kind(str(tmp_path / "x.tar")) == "oci-archive"
    with open_local("oci-archive", str(tmp_path / "x.tar")) as found:
        assert str(found.root.digest) == result.index_digest
    with open_local("docker-archive", f"{tmp_path / 'x.tar'}:registry.example/app:latest") as found:
        assert str(found.root.platform) == "linux/amd64"


def test_a_layout_directory(result: BuildResult, tmp_path: Path) -> None:
    events: list[Event] = []
    write(result, oci(tmp_path / "lay", tar=False), events=events)
    assert read_layout(tmp_path / "lay").digest == result.index_digest
    assert [event.message for event in events] == [f"wrote the image layout {tmp_path / 'lay'}"]


def test_what_is_pushed_is_not_written(result: BuildResult) -> None:
    write(result, Output("registry", push=True), Output("image", push=True, names=("a",)))
    check_destinations([Output("registry", push=True), Output("image")], stdout_is_terminal=True)


@pytest.mark.parametrize("size", ["longer", "shorter", "same", "absent"])
@pytest.mark.parametrize("which", ["layer", "config"])
def test_a_damaged_blob_never_goes_out(result: BuildResult, tmp_path: Path, size: str, which: str) -> None:
    image = result.platforms[1]
    digest = image.layers[0].digest if which == "layer" else image.config
    blob = Path(result.layout) / "blobs/sha256" / digest[7:]
    data = blob.read_bytes()
    blob.write_bytes(
        {"longer": data + b"x", "shorter": data[:-1]}.get(size, data[:-1] + bytes([data[-1] ^ 1]))
    )
    if size == "absent":
        blob.unlink()
    for output in (docker(tmp_path / "x.tar"), oci(tmp_path / "x.tar")):
        with pytest.raises(StoreError if size == "absent" else CorruptBlobError, match=digest) as caught:
            write(result, output)
        assert "build again" in caught.value.fix
        assert not (tmp_path / "x.tar").exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["build"]


def test_an_image_whose_layers_are_elsewhere_is_refused(result: BuildResult, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="1 layers of its base"):
        write(result._replace(absent=(result.platforms[0].layers[0].digest,)), docker(tmp_path / "x.tar"))


def test_progress_is_told(result: BuildResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_TELL_EVERY", 2_000_000)
    events: list[Event] = []
    write(result, docker(tmp_path / "x.tar"), events=events)
    told = [event.data for event in events if event.kind == "progress"]
    assert [each["done"] for each in told] == sorted(each["done"] for each in told)
    assert len(told) == 3
    assert all(each["done"] <= each["total"] for each in told)
    assert events[-1].message == f"wrote the docker archive {tmp_path / 'x.tar'}"


def test_a_layer_that_stands_twice_is_listed_twice_and_written_once(
    result: BuildResult, tmp_path: Path
) -> None:
    first = result.platforms[0]
    twice = first._replace(layers=(*first.layers, *first.layers))
    write(result._replace(platforms=(twice, *result.platforms[1:])), docker(tmp_path / "x.tar"))
    with tarfile.open(tmp_path / "x.tar") as tar:
        names = tar.getnames()
        listed = tar.extractfile("manifest.json")
        assert listed is not None
        assert len(json.load(listed)[0]["Layers"]) == 2
    assert len(set(names)) == len(names)

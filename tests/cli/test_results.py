from __future__ import annotations

import json
import os
import threading
from argparse import Namespace
from pathlib import Path

import pytest

from hostbuild.cli.results import ResultFiles, image_id_of, metadata_of
from hostbuild.errors import StoreError, UsageError
from hostbuild.model import BuildResult, Output, PlatformResult

INDEX, MANIFEST, CONFIG = (f"sha256:{digit * 64}" for digit in "123")


def result(*platforms: str, tags: tuple[str, ...] = ("registry.example/team/app:v1",)) -> BuildResult:
    """A build's result that no build has made."""
    images = tuple(PlatformResult(platform, MANIFEST, 716, CONFIG, 882, ()) for platform in platforms)
    reference = f"registry.example/team/app@{INDEX}"
    return BuildResult(reference, INDEX, 703, "/l/oci", "b" * 64, "built", tags, images, base="python:3.13")


def test_metadata_has_buildx_keys_and_our_own() -> None:
    assert metadata_of(result("linux/amd64", "linux/arm64")) == {
        "containerimage.descriptor": {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": INDEX,
            "size": 703,
        },
        "containerimage.digest": INDEX,
        "hostbuild.base": "python:3.13",
        "hostbuild.buildId": "b" * 64,
        "hostbuild.layout": "/l/oci",
        "hostbuild.platforms": {
            platform: {
                "config": {"digest": CONFIG, "size": 882},
                "manifest": {"digest": MANIFEST, "size": 716},
            }
            for platform in ("linux/amd64", "linux/arm64")
        },
        "hostbuild.reference": f"registry.example/team/app@{INDEX}",
        "hostbuild.sparse": False,
        "hostbuild.status": "built",
        "image.name": "registry.example/team/app:v1",
    }


def test_a_layout_that_lacks_layers_is_sparse() -> None:
    assert metadata_of(result("linux/amd64")._replace(absent=(MANIFEST,)))["hostbuild.sparse"] is True


def test_one_platform_has_a_configs_digest_and_it_is_the_images_id() -> None:
    one, two = result("linux/amd64"), result("linux/amd64", "linux/arm64")
    assert metadata_of(one)["containerimage.config.digest"] == CONFIG
    assert (image_id_of(one), image_id_of(two)) == (CONFIG, INDEX)


def test_all_names_stand_in_the_metadata_once() -> None:
    named = result("linux/amd64", tags=("docker.io/library/app:v1", "r.example/app:v2"))
    outputs = (Output("registry", push=True, names=("app:v1", "s.example/app")), Output("oci", "out"))
    names = metadata_of(named, outputs)["image.name"]
    assert names == "docker.io/library/app:v1,s.example/app:latest"
    both = (Output("registry", push=True), *outputs)
    assert metadata_of(named, both)["image.name"] == (
        "docker.io/library/app:v1,r.example/app:v2,s.example/app:latest"
    )
    assert metadata_of(named)["image.name"] == "docker.io/library/app:v1,r.example/app:v2"


def test_no_tag_stands_in_the_metadata_that_was_not_pushed() -> None:
    named = result("linux/amd64")
    for names in ((), ("registry.example/team/app",)):
        outputs = [Output("image", push=True, by_digest=True, names=names)]
        assert metadata_of(named, outputs)["image.name"] == "registry.example/team/app"


@pytest.fixture
def files(tmp_path: Path) -> ResultFiles:
    return ResultFiles(*(str(tmp_path / name) for name in ("m.json", "id", "digest")))


def write(files: ResultFiles) -> None:
    files.write(metadata={"a": "é"}, image_id=CONFIG, digest=INDEX)


def test_files_are_written_whole_and_nothing_else_is_left(files: ResultFiles, tmp_path: Path) -> None:
    files.prepare()
    write(files)
    assert json.loads((tmp_path / "m.json").read_text()) == {"a": "é"}
    assert (tmp_path / "id").read_text() == CONFIG
    assert (tmp_path / "digest").read_text() == INDEX
    assert {path.name for path in tmp_path.iterdir()} == {"m.json", "id", "digest"}


def test_an_old_answer_is_removed_at_the_start(files: ResultFiles, tmp_path: Path) -> None:
    for path in files:
        Path(path).write_text("old")
    files.prepare([Output("oci", str(tmp_path / "other"))])
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half_a_file(files: ResultFiles, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text("old")
    with path.open() as before:
        write(files)
        assert before.read() == "old"  # another file has the name now
    assert json.loads(path.read_text()) == {"a": "é"}


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/digest")
    files = ResultFiles(digest=str(tmp_path / "link"))
    files.prepare()
    write(files)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/digest").read_text() == INDEX


def test_a_pipe_is_written_to_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    files = ResultFiles(digest=str(path))
    files.prepare()
    write(files)
    reader.join(timeout=10)
    assert read == [INDEX]


def test_an_open_descriptor_is_written_to_where_it_stands(tmp_path: Path) -> None:
    """The file that a shell opened (`3>>file`) stays, and so does what is in it."""
    path = tmp_path / "file"
    path.write_bytes(b"before\n")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        (tmp_path / "link").symlink_to(f"/dev/fd/{descriptor}")
        files = ResultFiles("", f"/dev/fd/{descriptor}", str(tmp_path / "link"))
        files.prepare()
        assert path.read_bytes() == b"before\n"
        write(files)
        os.write(descriptor, b"\nafter")
    finally:
        os.close(descriptor)
    assert path.read_text() == f"before\n{CONFIG}{INDEX}\nafter"
    assert {each.name for each in tmp_path.iterdir()} == {"file", "link"}


def test_a_pipe_of_the_shell_is_written_to() -> None:
    ends = os.pipe()
    files = ResultFiles(digest=f"/dev/fd/{ends[1]}")
    files.prepare()
    write(files)
    os.close(ends[1])
    with os.fdopen(ends[0]) as stream:
        assert stream.read() == INDEX


def test_descriptors_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with pytest.raises(StoreError, match="for reading only"):
            ResultFiles(digest=f"/dev/fd/{descriptor}").prepare()
    finally:
        os.close(descriptor)
    for number in (descriptor, 10**30):
        with pytest.raises(StoreError, match="is not open"):
            ResultFiles(digest=f"/dev/fd/{number}").prepare()


def test_no_answer_goes_into_the_bytes_of_an_image() -> None:
    for output, path in (("-", "/dev/stdout"), ("-", "/dev/fd/1"), ("/dev/stderr", "/dev/fd/2")):
        with pytest.raises(UsageError, match="--output"):
            ResultFiles(digest=path).prepare([Output("docker", output, tar=True)])


def test_a_dash_is_no_place_for_an_answer() -> None:
    for files in (ResultFiles("-"), ResultFiles("", "-"), ResultFiles("", "", "-")):
        with pytest.raises(UsageError, match="standard output") as caught:
            files.prepare()
        assert "/dev/stdout" in caught.value.fix


def test_what_cannot_be_written_is_refused_before_anything_is_removed(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "plain").write_text("x")
    for bad in ("nowhere/file", "plain/file", "."):
        files = ResultFiles(str(tmp_path / "old"), "", str(tmp_path / bad))
        with pytest.raises(StoreError) as caught:
            files.prepare()
        assert "--digestfile" in caught.value.what
        assert caught.value.why
        assert (tmp_path / "old").read_text() == "old"


def test_a_file_that_fails_later_leaves_nothing_half_made(files: ResultFiles, tmp_path: Path) -> None:
    files.prepare()
    (tmp_path / "m.json").mkdir()
    with pytest.raises(StoreError, match="--metadata-file"):
        write(files)
    assert {path.name for path in tmp_path.iterdir()} == {"m.json"}


def test_what_belongs_to_hostbuild_is_no_place_for_an_answer(tmp_path: Path) -> None:
    """Links are followed, and a directory with a longer name is another one."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/version").write_text("1")
    (tmp_path / "link").symlink_to("cache")
    for name in ("cache/version", "link/version", "cache/new/file", "link"):
        with pytest.raises(StoreError, match="own directory") as caught:
            ResultFiles(digest=str(tmp_path / name)).prepare(private=[str(tmp_path / "link")])
        assert "--digestfile" in caught.value.what
        assert caught.value.fix
    assert (tmp_path / "cache/version").read_text() == "1"
    ResultFiles(digest=str(tmp_path / "cached")).prepare(private=[str(tmp_path / "cache")])


def test_two_results_in_one_place_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "x")
    with pytest.raises(UsageError, match="--metadata-file"):
        ResultFiles(path, "", str(tmp_path / "." / "x")).prepare()
    with pytest.raises(UsageError, match="--output"):
        ResultFiles("", path).prepare([Output("oci", path, tar=True)])
    ResultFiles("/dev/null", "", "/dev/null").prepare()


def test_a_command_without_a_flag_writes_no_such_file() -> None:
    assert ResultFiles.of(Namespace(digestfile="d")) == ResultFiles("", "", "d")
    assert ResultFiles.of(Namespace(digestfile=None)) == ResultFiles()

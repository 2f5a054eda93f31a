"""One function, three platforms: what the image holds, and what other people's tools say of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import oci_tools
from tests.rig.builder import Hostbuild, make_source
from tests.rig.layout import Image, Layout, read_layout
from tests.rig.run_image import running
from tests.rig.schemas import Schemas
from tests.rig.sources import INSTANCED_HTTP

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")
REFERENCE = "registry.example/team/instanced:latest"
CERTIFICATES = {"etc/pki/tls/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt"}
SHIPPED = {"func/a.lnk", "func/a.txt", "func/func.yaml", "func/function.go", "func/go.mod", "func/sub/b.txt"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The source of one built function."""
    home = tmp_path_factory.mktemp("function")
    files = {
        **INSTANCED_HTTP,
        "a.txt": "file a",
        "a.lnk": "-> a.txt",
        "sub/b.txt": "file b",
        ".funcignore": "notes.txt\n",
        ".gitignore": "*.log\n",
        ".git/HEAD": "ref: refs/heads/main\n",
        "notes.txt": "not for others",
    }
    root = make_source(home / "src", files)
    (home / "home").mkdir()
    Hostbuild(home / "home").build(root)
    yield root
    assert {path.name for path in root.iterdir()} == {name.split("/")[0] for name in files} | {".func"}


@pytest.fixture(scope="module")
def layout(root: Path) -> Layout:
    return read_layout(root / ".func/builds/last/oci")


@pytest.fixture(params=PLATFORMS, ids=lambda platform: platform.replace("/", "-"))
def image(layout: Layout, request: pytest.FixtureRequest) -> Image:
    return layout.images[request.param]


def test_the_layout_names_one_index_with_three_platforms(layout: Layout) -> None:
    assert tuple(layout.images) == PLATFORMS
    assert layout.reference == REFERENCE


def test_the_files_are_exactly_these(image: Image) -> None:
    files = image.files
    shown = {path for path, member in files.items() if member.kind != "dir"}
    assert shown == CERTIFICATES | SHIPPED | {"func/f"}
    folders = {path for path, member in files.items() if member.kind == "dir"}
    parents = {str(parent) for path in shown for parent in Path(path).parents} - {"."}
    assert "func" in folders
    assert folders <= parents


def test_kinds_modes_and_owners(image: Image) -> None:
    files = image.files
    assert (files["func/f"].kind, files["func/f"].mode) == ("file", 0o755)
    assert (files["func/a.lnk"].kind, files["func/a.lnk"].target) == ("link", "a.txt")
    assert (files["func/a.txt"].data, files["func/a.txt"].mode) == (b"file a", 0o644)
    for path in SHIPPED:
        assert (files[path].uid, files[path].gid) == (1000, 1000)
    for path in CERTIFICATES:
        assert (files[path].uid, files[path].gid, files[path].mode) == (0, 0, 0o644)
        assert b"BEGIN CERTIFICATE" in files[path].data
    assert {member.owner_names for member in files.values()} == {("", "")}
    assert len({member.mtime for member in files.values()}) == 1


def test_members_are_sorted_in_each_layer(image: Image) -> None:
    for layer in image.layers:
        paths = [member.path for member in layer]
        assert paths == sorted(paths, key=lambda path: path.split("/"))


def test_only_the_last_layer_differs_between_platforms(layout: Layout) -> None:
    layers = [[layer["digest"] for layer in image.manifest["layers"]] for image in layout.images.values()]
    assert len({tuple(digests[:-1]) for digests in layers}) == 1
    assert len({digests[-1] for digests in layers}) == 3
    assert [member.path for member in layout.images["linux/arm64"].layers[-1] if member.kind == "file"] == [
        "func/f"
    ]


def test_the_config_is_what_a_function_needs(image: Image) -> None:
    config = image.config["config"]
    assert config["Cmd"] == ["/func/f"]
    assert not config.get("Entrypoint")
    assert config["WorkingDir"].rstrip("/") == "/func"
    assert config["User"] == "1000:1000"
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert config["StopSignal"] == "SIGTERM"
    assert image.env["LISTEN_ADDRESS"] == "[::]:8080"


def test_created_and_version_are_stamped_on_every_platform(image: Image) -> None:
    assert image.env["FUNC_CREATED"] == "1970-01-01T00:00:00Z"  # no commit, no SOURCE_DATE_EPOCH
    assert image.env["FUNC_VERSION"] == ""
    assert image.config["created"] == "1970-01-01T00:00:00Z"


def test_the_specifications_schemas_accept_it(layout: Layout, schemas: Schemas) -> None:
    schemas.check(layout)


def test_the_specifications_tool_accepts_it(layout: Layout) -> None:
    oci_tools.validate(layout.path, REFERENCE)


def test_skopeo_finds_the_index(layout: Layout) -> None:
    assert oci_tools.skopeo_inspect_raw(layout.path, REFERENCE) == layout.index


def test_skopeo_copies_and_umoci_unpacks_each_platform(image: Image, layout: Layout, tmp_path: Path) -> None:
    single = oci_tools.skopeo_copy(layout.path, REFERENCE, image.platform, tmp_path / "single")
    root = oci_tools.umoci_unpack(single, tmp_path / "bundle")
    for path, member in image.files.items():
        found = root / path
        match member.kind:
            case "dir":
                assert found.is_dir()
                assert not found.is_symlink()
            case "link":
                assert str(found.readlink()) == member.target
            case _:
                assert found.read_bytes() == member.data
                assert found.stat().st_mode & 0o777 == member.mode


def test_each_platform_answers(image: Image, tmp_path: Path) -> None:
    with running(image, tmp_path / "run") as service:
        answer = service.request()
    architecture = image.config["architecture"]
    assert (answer.status, answer.body) == (200, f"instance on {architecture}")

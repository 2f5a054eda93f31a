"""What of a source ships: links, ignore files, special files, awkward roots."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, Result, make_source
from tests.rig.layout import read_layout
from tests.rig.sources import HELLO

ONE = ("--ship-source", "--platform", "linux/amd64", "-t", "registry.example/app:v1")
BUILT = {"app/hello", "etc/pki/tls/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt"}


def try_build(hostbuild: Hostbuild, root: Path, files: Mapping[str, str]) -> Result:
    return hostbuild("build", make_source(root, {**HELLO, **files}), *ONE)


def shipped(hostbuild: Hostbuild, root: Path, files: Mapping[str, str]) -> dict[str, str]:
    """What ships beyond the program itself: path below /func to its text or `-> target`."""
    assert try_build(hostbuild, root, files).code == 0
    image = read_layout(root / ".func/builds/last/oci").images["linux/amd64"]
    found = {}
    for path, member in image.files.items():
        if member.kind != "dir" and path.startswith("func/"):
            text = f"-> {member.target}" if member.kind == "link" else member.data.decode()
            found[path.removeprefix("func/")] = text
    return {path: text for path, text in found.items() if path not in HELLO}


@pytest.mark.parametrize(
    "files",
    [
        {"link": "-> /etc/passwd"},
        {"b/link": "-> ../.."},
        {"b/link": "-> ../../.."},
        {"d": "-> .", "l": "-> d/../x"},
        {"link": "-> ../src-sibling"},
    ],
    ids=["absolute", "root's parent", "further up", "through a link", "beside the root"],
)
def test_links_that_leave_the_root_are_refused(
    hostbuild: Hostbuild, tmp_path: Path, files: dict[str, str]
) -> None:
    make_source(tmp_path / "src-sibling", {"secret": "x"})
    link = max(files)
    try_build(hostbuild, tmp_path / "src", files).fails(1, link)
    assert not (tmp_path / "src/.func/builds/last").exists()


def test_links_that_stay_inside_ship_as_they_are(hostbuild: Hostbuild, tmp_path: Path) -> None:
    files = {
        "a.txt": "a",
        "a.lnk": "-> a.txt",
        "...validName.txt": "v",
        "...validName.lnk": "-> ...validName.txt",
        "link": "-> .",
        "b/link": "-> ..",
        "b/c/link": "-> ..",
        "b/x": "x",
    }
    assert shipped(hostbuild, tmp_path / "src", files) == files


def test_an_absolute_link_below_an_ignored_directory_is_no_error(
    hostbuild: Hostbuild, tmp_path: Path
) -> None:
    files = {".funcignore": "/away\n", "away/link": "-> /etc/passwd", "kept": "k"}
    assert shipped(hostbuild, tmp_path / "src", files) == {"kept": "k"}


def test_the_ignore_file_is_gitignores(hostbuild: Hostbuild, tmp_path: Path) -> None:
    files = {
        ".funcignore": "notes.txt\n*.tmp\ndist/\n/docs\n#kept.txt\nlogs/**\n!logs/\n!logs/keep.log\na/**/z\n",
        "notes.txt": "-",
        "sub/notes.txt": "-",
        "x.tmp": "-",
        "sub/deep/x.tmp": "-",
        "dist/x": "-",
        "sub/dist/x": "-",
        "docs/x": "-",
        "logs/a.log": "-",
        "a/z": "-",
        "a/b/c/z": "-",
        "kept.txt": "k",
        "sub/docs/x": "k",
        "sub/dist.txt": "k",
        "logs/keep.log": "k",
        "a/b/c/y": "k",
    }
    kept = {path: text for path, text in files.items() if text == "k"}
    assert shipped(hostbuild, tmp_path / "src", files) == kept


def test_the_dockerignore_file_is_dockers(hostbuild: Hostbuild, tmp_path: Path) -> None:
    files = {
        ".dockerignore": "notes.txt\n**/*.tmp\n",
        "notes.txt": "-",
        "x.tmp": "-",
        "sub/x.tmp": "-",
        "sub/notes.txt": "k",  # a pattern without a slash is anchored there
    }
    assert shipped(hostbuild, tmp_path / "src", files) == {"sub/notes.txt": "k"}


def test_secrets_and_caches_do_not_ship_by_default(hostbuild: Hostbuild, tmp_path: Path) -> None:
    files = {
        ".env": "-",
        ".venv/bin/x": "-",
        "venv/bin/x": "-",
        "__pycache__/x.pyc": "-",
        "sub/__pycache__/x.pyc": "-",
        "node_modules/x/index.js": "-",
        ".git/config": "-",
        ".gitignore": "kept\n",
        "kept": "k",
    }
    found = shipped(hostbuild, tmp_path / "src", files)
    assert found["kept"] == "k"
    assert "-" not in found.values()


def test_git_and_func_never_ship(hostbuild: Hostbuild, tmp_path: Path) -> None:
    files = {".funcignore": "!.git\n!.func\n", ".git/config": "-", ".func/x": "-", ".env": "k"}
    found = shipped(hostbuild, tmp_path / "src", files)
    assert not [path for path in found if path.startswith((".git", ".func"))]


def test_a_socket_and_a_fifo_are_left_out_with_a_warning(
    hostbuild: Hostbuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_source(tmp_path / "src", {**HELLO, "kept": "k"})
    os.mkfifo(root / "a-fifo")
    monkeypatch.chdir(root)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("a-socket")
        result = hostbuild("build", root, *ONE)
    assert result.code == 0
    assert "a-socket" in result.stderr
    assert "a-fifo" in result.stderr
    files = read_layout(root / ".func/builds/last/oci").images["linux/amd64"].files
    assert {path for path in files if path.startswith("func/")} == {
        f"func/{name}" for name in [*HELLO, "kept"]
    }


def test_relative_symlinked_and_default_roots_are_one(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", HELLO)
    (tmp_path / "link").symlink_to("src")
    absolute = hostbuild("build", root, *ONE)
    relative = hostbuild("build", "src", *ONE, cwd=tmp_path)
    linked = hostbuild("build", "link/", *ONE, cwd=tmp_path)
    here = hostbuild("build", *ONE, cwd=root)
    assert absolute.digest == relative.digest == linked.digest == here.digest
    assert read_layout(tmp_path / "link/.func/builds/last/oci").digest == absolute.digest


def test_the_source_is_not_written_to(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", HELLO)
    before = {path: path.read_bytes() for path in root.rglob("*")}
    hostbuild.build(root, *ONE)
    after = {
        path: path.read_bytes() for path in root.rglob("*") if ".func" not in path.parts and path.is_file()
    }
    assert after == before
    assert (root / ".func/.gitignore").read_text().strip() == "*"


def test_names_of_any_kind_and_length(hostbuild: Hostbuild, tmp_path: Path) -> None:
    long = "/".join(["d" * 120] * 3) + "/" + "f" * 150
    files = {long: "long", "a b\tc": "blank", "ü\u202e": "unicode", "quote'\"\\": "quote"}
    assert shipped(hostbuild, tmp_path / "src", files) == files


def test_more_files_can_be_copied_in(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", {**HELLO, "conf/a.ini": "a", "conf/sub/b.ini": "b"})
    layout = hostbuild.build(root, "--platform", "linux/amd64", "--copy", "conf:/etc/app")
    files = {path: member.data for path, member in layout.images["linux/amd64"].files.items()}
    assert files["etc/app/a.ini"] == b"a"
    assert files["etc/app/sub/b.ini"] == b"b"
    assert not [path for path in files if path.startswith("func/")]
    assert set(files) >= BUILT - {"app/hello"}

"""What cannot end well is refused before anything is made; what is damaged is made anew on request."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, make_source

ONE = ("--platform", "linux/amd64")
PROGRAM = {"go.mod": "module example.com/src\n\ngo 1.21\n", "main.go": "package main\n\nfunc main() {}\n"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_source(tmp_path / "src", PROGRAM)


@pytest.mark.parametrize(
    ("flags", "code", "text"),
    [
        (["--user", "bob"], 2, "UID"),
        (["--port", "x"], 2, "port"),
        (["--copy", "main.go:/app/src"], 2, "binary"),
        (["--annotation", "manifest[linux/s390x]:a=b"], 2, "linux/s390x"),
        (["--build-dir", "."], 2, "--build-dir"),
        (["--build-dir", ".."], 2, "--build-dir"),
        (["-e", "A=\udcff"], 2, "env"),
    ],
)
def test_refused_before_a_layer_is_made(
    hostbuild: Hostbuild, root: Path, flags: list[str], code: int, text: str
) -> None:
    result = hostbuild("build", root, *ONE, *flags, cwd=root)
    result.fails(code, text)
    assert "layer" not in result.stderr
    assert not (root / ".gitignore").exists()


def test_a_published_build_is_no_destination(hostbuild: Hostbuild, root: Path) -> None:
    hostbuild("build", root, *ONE)
    before = (root / ".func/builds/last/oci/index.json").read_bytes()
    dest = root / ".func/builds/last/oci"
    hostbuild("build", root, *ONE, "-t", "other:1", "-o", f"type=oci,tar=false,dest={dest}").fails(
        1, "own directory"
    )
    assert (dest / "index.json").read_bytes() == before


def test_a_name_that_deletes_is_refused(hostbuild: Hostbuild, root: Path) -> None:
    (root / ".wh.go.mod").write_text("")
    hostbuild("build", root, *ONE, "--ship-source").fails(1, ".wh.go.mod")


def test_no_cache_replaces_a_damaged_blob(hostbuild: Hostbuild, root: Path) -> None:
    layout = hostbuild.build(root, *ONE)
    digest = layout.images["linux/amd64"].descriptor["digest"]
    blob = max((hostbuild.cache / "blobs").rglob("*"), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[100] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(data)
    again = hostbuild.build(root, *ONE, "--no-cache")
    assert again.images["linux/amd64"].descriptor["digest"] == digest


def test_no_command_is_help_and_wrong_usage(hostbuild: Hostbuild) -> None:
    result = hostbuild()
    assert (result.code, result.stdout) == (2, "")
    assert "usage: hostbuild" in result.stderr


def test_temp_files_of_the_dead_are_cleaned(hostbuild: Hostbuild, root: Path) -> None:
    hostbuild("build", root, *ONE)
    left = hostbuild.cache / "tmp" / f"tmp.999999999.{'0' * 16}"
    left.write_bytes(b"half")
    cleaned = hostbuild("clean", root)
    assert (cleaned.code, left.exists()) == (0, False)
    assert str(left) in cleaned.stdout


@pytest.mark.parametrize(
    "place", ["cache/version", "cache/blobs/x.tar", "build/builds/locks/builds.lock", "build/.gitignore"]
)
@pytest.mark.parametrize("flag", ["-o", "--metadata-file"])
def test_what_belongs_to_hostbuild_is_no_destination(
    hostbuild: Hostbuild, tmp_path: Path, place: str, flag: str
) -> None:
    source = make_source(tmp_path / "src", PROGRAM)
    build = ("build", source, "--platform", "linux/amd64", "--build-dir", tmp_path / "build")
    assert hostbuild(*build).code == 0
    top, _, rest = place.partition("/")
    target = (hostbuild.cache if top == "cache" else tmp_path / "build") / rest
    before = target.read_bytes() if target.exists() else None
    result = hostbuild(*build, flag, f"type=oci,dest={target}" if flag == "-o" else target)
    result.fails(1, "hostbuild's own directory")
    assert (target.read_bytes() if target.exists() else None) == before


@pytest.mark.parametrize("arguments", [("--version",), ("status",)])
def test_a_full_standard_output_is_one_error(
    hostbuild: Hostbuild, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", "hostbuild", *arguments]
    environment = hostbuild.environment({"PYTHONUNBUFFERED": None})
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Exception ignored" not in done.stderr


def test_a_tar_that_nobody_takes_is_one_error(hostbuild: Hostbuild, root: Path) -> None:
    """What Python holds back of it must not fail once more when the interpreter ends."""
    assert hostbuild("build", root, *ONE).code == 0
    command = [sys.executable, "-m", "hostbuild", "build", str(root), *ONE, "-q", "-o", "type=docker,dest=-"]
    reading, broken = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        for stdout, why in ((full, "No space left"), (broken, "what reads it ended early")):
            done = subprocess.run(
                command,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                env=hostbuild.environment({"PYTHONUNBUFFERED": None}),
                cwd=root,
                check=False,
            )
            first, second, third = done.stderr.splitlines()
            assert (done.returncode, first) == (1, "error: cannot write the image to standard output")
            assert (why in second, third.startswith("  fix: ")) == (True, True)
    finally:
        os.close(full)
        os.close(broken)


def test_nor_is_it_a_place_for_what_push_says(hostbuild: Hostbuild, root: Path) -> None:
    assert hostbuild("build", root, *ONE).code == 0
    for place in (hostbuild.cache / "version", root / ".func/.gitignore"):
        before = place.read_bytes()
        pushed = hostbuild("push", root, "127.0.0.1:1/app", "--retry-time", "0", "--digestfile", place)
        pushed.fails(1, "hostbuild's own directory")
        assert place.read_bytes() == before
    version = hostbuild.cache / "version"
    joined = hostbuild("index", "create", "127.0.0.1:1/app", "127.0.0.1:1/a", "--digestfile", version)
    joined.fails(1, "hostbuild's own directory")

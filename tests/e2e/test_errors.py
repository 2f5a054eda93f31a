"""Errors as a user meets them: what happened, why, what to do; never a traceback, never a result line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, make_source
from tests.rig.oci_tools import tool
from tests.rig.sources import HELLO, STATIC_HTTP

ONE = ("--platform", "linux/amd64")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_source(tmp_path / "src", HELLO)


def test_no_such_directory(hostbuild: Hostbuild, tmp_path: Path) -> None:
    result = hostbuild("build", tmp_path / "nowhere")
    result.fails(result.code, "nowhere")
    assert result.code in (1, 2)


def test_a_file_is_no_source(hostbuild: Hostbuild, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = hostbuild("build", tmp_path / "file")
    result.fails(result.code, "file")
    assert result.code in (1, 2)


def test_an_empty_directory(hostbuild: Hostbuild, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    hostbuild("build", tmp_path / "empty").fails(1, "empty", "  fix: ")


@pytest.mark.parametrize(
    ("runtime", "text"),
    [
        *[(name, "not implemented") for name in ("node", "typescript", "rust", "quarkus", "springboot")],
        ("cobol", "not recognised"),
        ("Go1", "not recognised"),
    ],
)
def test_unknown_runtimes(hostbuild: Hostbuild, tmp_path: Path, runtime: str, text: str) -> None:
    files = {"func.yaml": f"specVersion: 0.36.0\nname: x\nruntime: {runtime}\n"}
    hostbuild("build", make_source(tmp_path / "src", files)).fails(1, runtime, text)


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("func.yaml", "name: [x\n", "func.yaml:2"),
        ("func.yaml", "name: x\nrun:\n  envs:\n  - name: A\n    value:\n", "func.yaml:5"),
        ("func.yaml", "name: x\nrun:\n  envs:\n  - value: a\n    name:\n", "func.yaml:5"),
        ("hostbuild.toml", "platform = [\n", "hostbuild.toml"),
        ("hostbuild.toml", 'user = "1"\nplatfrom = ["linux/arm64"]\n', "platfrom"),
        ("hostbuild.toml", "user = 1.5\n", "user"),
    ],
)
def test_bad_settings(hostbuild: Hostbuild, root: Path, name: str, text: str, place: str) -> None:
    hostbuild("build", make_source(root, {name: text})).fails(2, place)


@pytest.mark.parametrize(
    ("arguments", "quoted"),
    [
        (("--platform", "linux/sparkle"), "linux/sparkle"),
        (("--platform", "linux"), "linux"),
        (("--platform", "windows/amd64"), "windows/amd64"),
        (("-t", "app/UPPER"), "app/UPPER"),
        (("-t", "a" * 300), "a" * 40),
        (("-t", "app:v1:v2"), "app:v1:v2"),
        (("-o", "type=sculpture,dest=x"), "sculpture"),
        (("-o", "dest"), "dest"),
        (("-j", "0"), "0"),
        (("--timeout", "soon"), "soon"),
        (("-e", "=x"), "=x"),
        (("--port", "99999"), "99999"),
        (("--copy", "nothing"), "nothing"),
        (("--annotation", "x"), "x"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_wrong_usage(hostbuild: Hostbuild, root: Path, arguments: tuple[str, ...], quoted: str) -> None:
    hostbuild("build", root, *arguments).fails(2, quoted)
    assert not (root / ".func/builds/by-hash").exists() or not list((root / ".func/builds/by-hash").iterdir())


@pytest.mark.parametrize("arguments", [(), ("frobnicate",), ("build", "--frobnicate"), ("build", "a", "b")])
def test_an_unknown_command_or_flag(hostbuild: Hostbuild, arguments: tuple[str, ...]) -> None:
    result = hostbuild(*arguments)
    assert (result.code, result.stdout) == (2, "")
    assert "usage: hostbuild" in result.stderr


def test_no_go_on_the_machine(hostbuild: Hostbuild, root: Path) -> None:
    missing = hostbuild("build", root, *ONE, env={"FUNC_GO": "/nowhere/go"})
    missing.fails(1, "/nowhere/go", "FUNC_GO", "  fix: ")


def test_a_failing_compile(hostbuild: Hostbuild, root: Path) -> None:
    make_source(root, {"main.go": "package main\n\nfunc main() {\n\tx := 1\n}\n"})
    hostbuild("build", root, *ONE).fails(1, "main.go:4:2: declared and not used: x", "linux/amd64")


def test_a_source_that_does_not_parse(hostbuild: Hostbuild, tmp_path: Path) -> None:
    files = {**STATIC_HTTP, "handle.go": "package function\n\nfunc Handle( {\n"}
    hostbuild("build", make_source(tmp_path / "src", files), *ONE).fails(1, "handle.go")


@contextmanager
def as_ordinary_user(hostbuild: Hostbuild) -> Iterator[Hostbuild]:
    """Without root's power to read and write everything: in a user namespace that maps to nobody's rights."""
    prefix = (tool("unshare"), "--user", "--map-user=4242", "--map-group=4242", "--mount", "--")
    yield Hostbuild(hostbuild.home, prefix=prefix)


def test_an_unreadable_file(hostbuild: Hostbuild, root: Path) -> None:
    make_source(root, {"locked.txt": "x"})
    (root / "locked.txt").chmod(0)
    with as_ordinary_user(hostbuild) as ordinary:
        ordinary("build", root, *ONE, "--ship-source").fails(1, "locked.txt")


def test_an_unwritable_cache(hostbuild: Hostbuild, root: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with as_ordinary_user(hostbuild) as ordinary:
        ordinary("build", root, *ONE, "--cache-dir", tmp_path / "locked/cache").fails(1, "locked")


def test_a_read_only_source(hostbuild: Hostbuild, root: Path) -> None:
    root.chmod(0o500)
    with as_ordinary_user(hostbuild) as ordinary:
        ordinary("build", root, *ONE).fails(1, ".func")
        elsewhere = ordinary("build", root, *ONE, "--build-dir", hostbuild.home / "builds")
    assert elsewhere.code == 0, elsewhere.stderr
    root.chmod(0o700)


def test_a_full_disk(hostbuild: Hostbuild, root: Path, tmp_path: Path) -> None:
    """The cache is on a file system of 1 MiB, mounted in namespaces of the command's own."""
    (tmp_path / "small").mkdir()
    mount = f'mount -t tmpfs -o size=1m none "{tmp_path / "small"}" && exec "$@"'
    prefix = (tool("unshare"), "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    make_source(root, {"noise.bin": os.urandom(3 << 20)})
    full = Hostbuild(hostbuild.home, prefix=prefix)
    full("build", root, *ONE, "--ship-source", "--cache-dir", tmp_path / "small").fails(
        1, "small", "no space is left"
    )
    assert not (root / ".func/builds/last").exists()
    assert hostbuild("build", root, *ONE, "--ship-source").code == 0


def test_a_closed_standard_output_is_no_traceback(hostbuild: Hostbuild, root: Path) -> None:
    process = hostbuild.start("build", root, *ONE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    assert "Traceback" not in stderr
    assert process.returncode != 0


def test_cgo_is_named_in_a_warning(hostbuild: Hostbuild, root: Path) -> None:
    make_source(root, {"c.go": 'package main\n\n// int one() { return 1; }\nimport "C"\n'})
    result = hostbuild("build", root, *ONE)
    assert result.code == 0, result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("warning:") and "cgo" in line]


def test_a_missing_module_is_told_in_the_go_commands_words(hostbuild: Hostbuild, root: Path) -> None:
    make_source(root, {"main.go": 'package main\n\nimport _ "example.com/nowhere"\n\nfunc main() {}\n'})
    result = hostbuild("build", root, *ONE)
    result.fails(1, "no required module provides package example.com/nowhere")
    assert result.stderr.count("no required module provides package") == 1

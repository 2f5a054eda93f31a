"""What a real build leaves behind for programs."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, make_source
from tests.rig.sources import HELLO

ONE = ("--platform", "linux/amd64")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_source(tmp_path / "hello", HELLO)


def test_answers_for_programs(hostbuild: Hostbuild, root: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("m.json", "id", "digest")]
    flags = ("--metadata-file", files[0], "--iidfile", files[1], "--digestfile", files[2])
    result = hostbuild("build", root, *ONE, *flags, "--progress", "rawjson", "-t", "r.example/x:v1")
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    metadata = json.loads(files[0].read_text())
    assert {frozenset(line) for line in lines} == {frozenset(("time", "kind", "message", "platform", "data"))}
    assert (lines[-1]["kind"], lines[-1]["message"]) == ("result", result.reference)
    assert lines[-1]["data"] == metadata
    assert {"start", "done", "info"} <= {line["kind"] for line in lines}
    assert metadata["containerimage.digest"] == result.digest == files[2].read_text()
    assert metadata["containerimage.config.digest"] == files[1].read_text()
    assert metadata["hostbuild.status"] == "built"
    assert metadata["image.name"] == "r.example/x:v1"

    make_source(root, {"main.go": "package main\n\nfunc main() { x := 1 }\n"})
    failed = hostbuild("build", root, *ONE, *flags, "--progress", "rawjson")
    error = json.loads(failed.stderr.splitlines()[-1])
    assert (failed.code, failed.stdout, error["kind"], error["platform"]) == (1, "", "error", "linux/amd64")
    assert "declared and not used" in error["data"]["detail"]
    assert [path.exists() for path in files] == [False, False, False]


def test_a_tar_on_standard_output_and_the_line_beside_it(hostbuild: Hostbuild, root: Path) -> None:
    argv = hostbuild._argv(("build", root, *ONE, "-q", "-o", "type=docker,dest=-"))
    done = subprocess.run(
        argv, env=hostbuild.environment(), cwd=hostbuild.home, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    names = subprocess.run(["tar", "t"], input=done.stdout, capture_output=True, check=True).stdout.split()
    assert {b"index.json", b"oci-layout", b"manifest.json"} <= set(names)
    assert done.stderr.decode().startswith("hello@sha256:")
    assert done.stderr.count(b"\n") == 1


def test_answers_through_what_the_shell_opened(hostbuild: Hostbuild, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("before\n")
    files = "--digestfile /dev/stdout --iidfile >(cat >id; echo done >>id) --metadata-file /dev/fd/3"
    script = f'"$@" {files} >>out 3>m'
    subprocess.run(
        ["bash", "-ec", f"{script}; wait", "sh", *hostbuild._argv(("build", root, *ONE, "-q"))],
        env=hostbuild.environment(),
        cwd=tmp_path,
        timeout=120,
        check=True,
    )
    metadata = json.loads((tmp_path / "m").read_text())
    digest = metadata["containerimage.digest"]
    assert out.read_text() == f"before\n{digest}hello@{digest}\n"
    while not (tmp_path / "id").read_text().endswith("done\n"):  # bash waits for it in newer versions only
        threading.Event().wait(0.01)
    assert (tmp_path / "id").read_text() == f"{metadata['containerimage.config.digest']}done\n"
    assert {path.name for path in tmp_path.iterdir()} >= {"out", "m", "id"}
    assert not [path for path in tmp_path.iterdir() if "deleted" in path.name]


def test_a_build_whose_words_nobody_can_hear(hostbuild: Hostbuild, root: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            hostbuild._argv(("build", root, *ONE, "-v")),
            env=hostbuild.environment(),
            cwd=hostbuild.home,
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0
    assert done.stdout.startswith("hello@sha256:")


def test_a_dry_run_makes_nothing(hostbuild: Hostbuild, root: Path, tmp_path: Path) -> None:
    (tmp_path / "digest").write_text("old")
    flags = ("--dry-run", "--digestfile", tmp_path / "digest")
    text = hostbuild("build", root, *ONE, *flags, "--push", "-t", "r.example/x:v1")
    assert text.code == 0, text.stderr
    assert "would push r.example/x:v1" in text.stdout
    document = json.loads(hostbuild("build", root, *ONE, *flags, "--json").stdout)
    assert document["upToDate"] is False
    assert {path.name for path in root.iterdir()} == set(HELLO)
    assert (tmp_path / "digest").read_text() == "old"


def test_an_unknown_variable_is_a_warning(hostbuild: Hostbuild, root: Path) -> None:
    result = hostbuild("build", root, *ONE, "--dry-run", env={"HOSTBUILD_PLATFROM": "linux/arm64"})
    assert result.stderr.count("HOSTBUILD_PLATFROM") == 1
    assert "did you mean HOSTBUILD_PLATFORM?" in result.stderr


def test_tools_do_not_get_the_logins(hostbuild: Hostbuild, root: Path, tmp_path: Path) -> None:
    spy = tmp_path / "go"
    spy.write_text(f'#!/bin/sh\nenv >>"{tmp_path}/seen"\nexec go "$@"\n')
    spy.chmod(0o755)
    env = {"FUNC_GO": str(spy), "HOSTBUILD_CREDS": "me:s3cret"}
    result = hostbuild("build", root, *ONE, "-v", env=env)
    assert result.code == 0, result.stderr
    assert "PATH=" in (tmp_path / "seen").read_text()
    told = [tmp_path / "seen", *(path for path in root.rglob("*") if path.is_file())]
    assert not [path for path in told if b"s3cret" in path.read_bytes()]
    assert "s3cret" not in result.stderr

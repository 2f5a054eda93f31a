"""The command as others start it: with streams that are closed, full, broken or terminals."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from hostbuild.cli.failures import Failure, say, wants_json

STATUS = (sys.executable, "-m", "hostbuild", "status", ".")


def shell(tmp_path: Path, redirection: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = f'"$@" {redirection}'
    return subprocess.run(
        ["bash", "-c", command, "bash", *(argv or STATUS)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2>&- <&-", "2> >(true)"])
def test_a_broken_standard_error_fails_nothing(tmp_path: Path, redirection: str) -> None:
    done = shell(tmp_path, redirection)
    assert (done.returncode, done.stdout) == (0, "no builds\n")


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_nor_does_it_change_an_exit_code(tmp_path: Path, redirection: str) -> None:
    assert shell(tmp_path, redirection, *STATUS[:-1], "nowhere").returncode == 1
    assert shell(tmp_path, redirection, *STATUS, "--frob").returncode == 2
    assert shell(tmp_path, redirection, *STATUS[:3]).returncode == 2


def test_an_opened_file_does_not_take_a_closed_streams_number(tmp_path: Path) -> None:
    script = "from hostbuild.cli.streams import settle; settle(); print(open('x', 'w').fileno() > 2)"
    done = shell(tmp_path, "2>&- <&-", sys.executable, "-c", script)
    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    ("redirection", "code", "words"),
    [(">/dev/full", 1, "cannot write to standard output"), (">&-", 1, "standard output is closed")],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_broken_standard_output_is_one_error(
    tmp_path: Path, redirection: str, code: int, words: str, unbuffered: str
) -> None:
    done = shell(tmp_path, redirection, "env", f"PYTHONUNBUFFERED={unbuffered}", *STATUS)
    assert done.returncode == code
    assert f"error: {words}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_an_image_is_not_written_to_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module m\n\ngo 1.21\n")
    (tmp_path / "main.go").write_text("package main\n\nfunc main() {}\n")
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "hostbuild",
                "build",
                ".",
                "--cache-dir",
                "cache",
                "-o",
                "type=docker,dest=-",
            ],
            cwd=tmp_path,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert "terminal" in done.stderr
        assert "| docker load" in done.stderr
        assert {path.name for path in tmp_path.iterdir()} == {"go.mod", "main.go"}
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 1)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_login_is_asked_for_on_a_terminal(tmp_path: Path) -> None:
    """The password is not shown; nothing listens at the registry, which is asked when both are typed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.environ["HOME"] = str(tmp_path)
        words = ("login", "127.0.0.1:1", "--retry-time", "0")
        os.execv(sys.executable, (sys.executable, "-m", "hostbuild", *words))
    shown = b""
    try:
        shown += _until(terminal, b"user for 127.0.0.1:1: ")
        os.write(terminal, b"me\n")
        shown += _until(terminal, b"password for me at 127.0.0.1:1: ")
        os.write(terminal, b"s3cret\n")
        shown += _until(terminal, b"error: ")
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 75
    assert b"s3cret" not in shown


def _until(terminal: int, words: bytes) -> bytes:
    shown = b""
    while words not in shown:
        shown += os.read(terminal, 1024)
    return shown


def test_errors_as_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("build", "nowhere", "--progress", "rawjson", "--cache-dir", "cache")
    done = shell(tmp_path, "", *STATUS[:3], *words)
    (line,) = done.stderr.splitlines()
    error = json.loads(line)
    assert (done.returncode, error["kind"], error["data"]["exitCode"]) == (1, "error", 1)
    assert "nowhere" in error["message"]
    assert error["data"]["fix"]
    say(Failure("x", detail="a\nb", trace="t"), as_json=True)
    data = json.loads(capsys.readouterr().err)["data"]
    assert (data["detail"], data["traceback"]) == ("a\nb", "t")


@pytest.mark.parametrize(
    ("argv", "progress", "json_wanted"),
    [
        (["build", "--progress", "rawjson"], "", True),
        (["build", "--progress=rawjson"], "", True),
        (["build"], "rawjson", True),
        (["build", "--progress=plain"], "rawjson", False),
        (["build", "--progress=rawjson", "--progress", "plain"], "", False),
        (["build", "--", "--progress=rawjson"], "", False),
        (["build", "--progress"], "", False),
    ],
)
def test_who_asks_for_json_errors(argv: list[str], progress: str, json_wanted: bool) -> None:
    assert wants_json(argv, {"HOSTBUILD_PROGRESS": progress}) is json_wanted


def test_an_error_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    say(Failure("what \x1b[2J", "why", "fix", "tool said\nso\n", "linux/arm64"), as_json=False)
    say(Failure("linux/arm64 is bad", platform="linux/arm64"), as_json=False)
    say(Failure("interrupted by SIGINT", "nothing is left", interrupted=True), as_json=False)
    assert capsys.readouterr().err == (
        "error: linux/arm64: what \\x1b[2J\n  why: why\ntool said\nso\n  fix: fix\n"
        "error: linux/arm64 is bad\ninterrupted by SIGINT; nothing is left\n"
    )

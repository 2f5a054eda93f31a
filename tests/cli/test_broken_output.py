"""What every command says when its standard output is full, closed, or has lost its reader."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOSTBUILD = (sys.executable, "-m", "hostbuild")
#: What answers without a build; argparse swallows the errors of some by itself.
WORDS = (
    ("--version",),
    ("--help",),
    ("build", "--help"),
    ("index", "--help"),
    ("status", "."),
    ("clean", ".", "--dry-run"),
)


def environment(tmp_path: Path, *, unbuffered: bool) -> dict[str, str]:
    """With Python's own buffering a failed write is noticed at the end only, unless somebody looks."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    own = {"HOSTBUILD_CACHE_DIR": str(tmp_path / "cache")}
    return {**inherited, **own, **({"PYTHONUNBUFFERED": "1"} if unbuffered else {})}


def run(
    tmp_path: Path, redirection: str, *words: str, unbuffered: bool = False
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "bash", *HOSTBUILD, *words],
        cwd=tmp_path,
        env=environment(tmp_path, unbuffered=unbuffered),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize(("redirection", "why"), [(">/dev/full", "No space left"), (">&-", "is closed")])
@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_full_or_closed_is_one_error(
    tmp_path: Path, words: tuple[str, ...], redirection: str, why: str, unbuffered: bool
) -> None:
    done = run(tmp_path, redirection, *words, unbuffered=unbuffered)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("error: ") == 1
    assert why in done.stderr
    assert "Exception" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_reader_that_left_is_nothing_to_talk_about(
    tmp_path: Path, words: tuple[str, ...], unbuffered: bool
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*HOSTBUILD, *words],
            cwd=tmp_path,
            env=environment(tmp_path, unbuffered=unbuffered),
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("words", WORDS[:4], ids=" ".join)
def test_what_is_said_is_all_of_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    for unbuffered in (False, True):
        done = run(tmp_path, "", *words, unbuffered=unbuffered)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(("hostbuild ", "usage: hostbuild"))
        assert done.stdout.endswith("\n")

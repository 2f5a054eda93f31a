"""Other people's Go programs, built once a machine from exact versions and kept in the user's cache.

`go_tool("crane")` is the path of the program. The first to ask builds it, under a lock, so that test workers
and other runs on the machine wait for it instead of building it again.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.rig.go_modules import go_command

_BUILD_SECONDS = 900


class GoProgram(NamedTuple):
    package: str
    version: str


PROGRAMS = {
    "crane": GoProgram("github.com/google/go-containerregistry/cmd/crane", "v0.22.1"),
    "registry": GoProgram("github.com/distribution/distribution/v3/cmd/registry", "v3.0.0"),
}


def cache_directory() -> Path:
    """Where built programs are kept: below XDG_CACHE_HOME, or below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "hostbuild-test-tools")


def _build(program: GoProgram, name: str, destination: Path) -> None:
    """`go install` into a private directory, then one rename: nobody sees half a program."""
    with tempfile.TemporaryDirectory(dir=destination.parent.parent, prefix=f".{name}.") as scratch:
        environment = {**os.environ, "GOBIN": scratch, "CGO_ENABLED": "0"}
        for foreign in ("GOOS", "GOARCH", "GOARM", "GOAMD64"):
            environment.pop(foreign, None)
        wanted = f"{program.package}@{program.version}"
        done = subprocess.run(
            [go_command(), "install", "-trimpath", "-ldflags=-s -w", wanted],
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"go install {wanted}: {done.stdout}{done.stderr}"
        destination.parent.mkdir(exist_ok=True)
        os.replace(os.path.join(scratch, name), destination)


def build_once(name: str, program: GoProgram) -> Path:
    """The program's path; built under a lock if it is not there. The kernel frees the lock of who dies."""
    home = cache_directory()
    home.mkdir(parents=True, exist_ok=True)
    destination = home / f"{name}@{program.version}" / name
    if not destination.exists():
        with (home / f"{name}@{program.version}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not destination.exists():
                _build(program, name, destination)
    return destination


@cache
def go_tool(name: str) -> Path:
    """The path of one of PROGRAMS, built if need be."""
    return build_once(name, PROGRAMS[name])

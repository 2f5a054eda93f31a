"""Public Go modules, by the go command's own client; exact versions, checked by its checksum database."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest


@cache
def go_command() -> str:
    """The go command that PATH leads to; the test fails where there is none.

    It is the one in GOROOT: what lies on PATH may be a small program that starts it.
    """
    path = shutil.which("go")
    if path is None:
        pytest.fail("no go command on PATH: pip install 'hostbuild[go]'", pytrace=False)
    done = subprocess.run([path, "env", "GOROOT"], capture_output=True, text=True, timeout=60, check=True)
    return os.path.join(done.stdout.strip(), "bin", "go")


@cache
def go_env(name: str) -> str:
    """A setting of the go command, such as GOCACHE."""
    done = subprocess.run([go_command(), "env", name], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


@cache
def module_directory(module: str) -> Path:
    """The read-only directory of `path@version` in the module cache, downloaded if need be."""
    command = [go_command(), "mod", "download", "-json", module]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"go mod download {module}: {done.stdout}{done.stderr}"
    return Path(json.loads(done.stdout)["Dir"])


def copy_module(module: str, destination: Path) -> Path:
    """A writable copy of a module's source, unmodified, as somebody's checkout of it would be."""
    shutil.copytree(module_directory(module), destination)
    for folder, _, files in os.walk(destination):
        os.chmod(folder, 0o755)  # the module cache is read-only
        for file in files:
            os.chmod(os.path.join(folder, file), 0o644)
    return destination

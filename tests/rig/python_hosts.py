"""hostbuild on another Python of this machine: what it builds must not depend on which one that is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.rig.oci_tools import run as run_tool
from tests.rig.python_image import once

CHECKOUT = Path(__file__).resolve().parents[2]
_WANTED = "import sys; print(sys.version_info[:2] >= (3, 11) and sys.version_info[:2] != {mine})"


@cache
def other_python() -> Path:
    """A CPython 3.11 or newer of another minor version than this one, the newest that there is.

    HOSTBUILD_TEST_PYTHON names one, which must be such a one; else it is looked for in PATH, with pyenv, and
    among uv's. A machine that has one Python only compares it with itself in another environment.
    """
    named = os.environ.get("HOSTBUILD_TEST_PYTHON")
    for path in [Path(named)] if named else _candidates():
        if _is_another(path):
            return path
    assert not named, f"HOSTBUILD_TEST_PYTHON={named} is no second Python, 3.11 or newer"
    return Path(sys.executable)


def _candidates() -> Iterator[Path]:
    roots = [Path(run_tool("pyenv", "root").strip()) / "versions"] if shutil.which("pyenv") else []
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local/share/uv/python")
    for minor in range(19, 10, -1):
        name = f"python3.{minor}"
        if (found := shutil.which(name)) is not None:
            yield Path(found)
        for home in (*roots, managed):
            yield from sorted(home.glob(f"*/bin/{name}"))


def _is_another(path: Path) -> bool:
    """A name in PATH may be one of pyenv's that leads nowhere."""
    code = _WANTED.format(mine=tuple(sys.version_info[:2]))
    done = subprocess.run([path, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode == 0 and done.stdout.strip() == "True"


def install_hostbuild(directory: Path) -> Path:
    """The interpreter of an environment of the other Python that has hostbuild, made once in `directory`."""
    return once(directory, _install) / "venv/bin/python"


def _install(directory: Path) -> None:
    source = directory / "source"  # a build writes into its source
    source.mkdir()
    for name in ("LICENSE", "README.md", "setup.cfg", "setup.py"):
        shutil.copyfile(CHECKOUT / name, source / name)
    shutil.copytree(
        CHECKOUT / "hostbuild", source / "hostbuild", ignore=shutil.ignore_patterns("__pycache__")
    )
    venv = directory / "venv"
    run_tool("uv", "venv", "--quiet", "--no-python-downloads", "--python", other_python(), venv)
    run_tool("uv", "pip", "install", "--quiet", "--python", venv / "bin/python", f"{source}[python]")

"""The same Python project gives the same bytes: on any Python, in any directory, with any cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, make_source
from tests.rig.python_base import python_base
from tests.rig.python_hosts import install_hostbuild
from tests.rig.python_image import run_directory, shared_hostbuild

#: Its own wheel, wheels for any machine and for one, commands, data, and a package made from source.
PROJECT = {
    "pyproject.toml": """\
[project]
name = "shop"
version = "1.0"
dependencies = ["markupsafe", "bottle", "jupyterlab-widgets", "pyyaml"]

[project.scripts]
shop = "shop.main:main"

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
""",
    "shop/__init__.py": "",
    "shop/main.py": "def main():\n    print('open')\n",
    "shop/data/ünicode.txt": "x",
}
FUNCTION = {
    "func.yaml": "specVersion: 0.36.0\nname: fn\nruntime: python\nregistry: registry.example/team\n",
    "func.py": "def new():\n    return Function()\n\nclass Function:\n    async def handle(self, *_): ...\n",
    "requirements.txt": "markupsafe\n",
}
SOURCES = {"application": PROJECT, "function": FUNCTION}


@pytest.fixture(params=SOURCES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def arguments(kind: str) -> tuple[str, ...]:
    return ("--base", python_base().place, "-t", f"registry.example/{kind}:v1")


@pytest.fixture
def expected(
    kind: str, arguments: tuple[str, ...], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The digest of a build as they usually are."""
    root = make_source(tmp_path / "plain" / "src", SOURCES[kind])
    return shared_hostbuild(tmp_path_factory)("build", root, *arguments).digest


def cold(tmp_path: Path) -> Hostbuild:
    """The command with nothing in its own cache, and nothing in uv's."""
    home = tmp_path / "cold"
    home.mkdir()
    return Hostbuild(home, {"UV_CACHE_DIR": str(home / "uv")})


def test_cold_in_another_directory_with_one_worker(
    kind: str, expected: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    root = make_source(tmp_path / "b with spaces" / "ünd" / "a-much-longer-path" / "other", SOURCES[kind])
    assert cold(tmp_path)("build", root, *arguments, "-j", "1", umask=0o077).digest == expected


def test_warm_with_three_workers_and_made_anew(
    kind: str,
    expected: str,
    arguments: tuple[str, ...],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = make_source(tmp_path / "src", SOURCES[kind])
    hostbuild = shared_hostbuild(tmp_path_factory)
    assert hostbuild("build", root, *arguments, "-j", "3", "--no-cache").digest == expected
    assert hostbuild("build", root, *arguments, "-j", "3").digest == expected


def test_another_python_as_the_host(
    kind: str,
    expected: str,
    arguments: tuple[str, ...],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    python = install_hostbuild(run_directory(tmp_path_factory) / "other-python")
    root = make_source(tmp_path / "elsewhere" / "src", SOURCES[kind])
    hostbuild = replace(cold(tmp_path), python=str(python))
    env = {"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu", "PATH": None}
    search = f"{python.parent}:/usr/bin:/bin"
    assert hostbuild("build", root, *arguments, env={**env, "PATH": search}).digest == expected

"""The base image of a project that names none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.bases import default_base
from hostbuild.languages.python.pyproject import read_pyproject


def base(folder: Path, requires: str = "", pinned: str | None = None, poetry: str = "") -> str:
    text = (
        f'[project]\nname = "a"\nrequires-python = "{requires}"\n' if requires else '[project]\nname = "a"\n'
    )
    text += f'[tool.poetry.dependencies]\npython = "{poetry}"\n' if poetry else ""
    (folder / "pyproject.toml").write_text(text)
    if pinned is not None:
        (folder / ".python-version").write_text(pinned)
    return default_base(str(folder), read_pyproject(str(folder)))


def test_without_a_project(tmp_path: Path) -> None:
    assert default_base(str(tmp_path), None) == "python:3.13-slim"


@pytest.mark.parametrize(
    ("requires", "minor"),
    [
        ("", 13),
        (" ", 13),
        (">=3.9", 13),
        (">=3", 13),
        (">= 3.10.4", 13),
        (">=3.10,<4", 13),
        (">=3.10, <4.0", 13),
        (">=3.14", 14),
        (">=3.13.2", 13),
        (">=3.16", 16),
        ("<3.13", 12),
        (">=3.9,<3.13", 12),
        ("<3.14", 13),
        ("!=3.13.*", 14),
        (">=3.9,!=3.13.*,<3.14", 12),
        ("~=3.11", 13),
        ("~=3.11.2", 11),
        ("==3.12.*", 12),
        ("<=3.12", 11),
        (">3.13.1", 13),
        (">=3.14.1,<3.16", 14),
        ("==3.17.*", 17),
        (">=3.6,<3.7", 6),
        (">=2.7,!=3.0.*,<3.9", 8),
    ],
)
def test_requires_python(tmp_path: Path, requires: str, minor: int) -> None:
    assert base(tmp_path, requires) == f"python:3.{minor}-slim"


@pytest.mark.parametrize(
    ("pinned", "minor"),
    [
        ("3.11", 11),
        ("3.11.4\n", 11),
        ("# ours\n\n  3.12 # why\n3.11\n", 12),
        ("cpython-3.11", 11),
        ("cpython@3.11.2", 11),
        ("python3.11", 11),
        ("3.15.0rc1", 15),
        ("3.9", 13),
        ("3.13t", 13),
        ("pypy3.11", 13),
        ("2.7", 13),
        ("system", 13),
        ("", 13),
        ("\x00\xff", 13),
    ],
)
def test_what_is_pinned_counts_where_it_fits(tmp_path: Path, pinned: str, minor: int) -> None:
    assert base(tmp_path, ">=3.10", pinned) == f"python:3.{minor}-slim"
    assert base(tmp_path, ">=3.10,!=3.10.1", pinned) == f"python:3.{minor}-slim"


@pytest.mark.parametrize(
    ("poetry", "minor"),
    [
        ("^3.11", 13),
        ("~3.11", 11),
        ("~3", 13),
        (">=3.9,<3.12", 11),
        ("3.10.*", 10),
        ("*", 13),
        ("^2.7 , <3", 0),
    ],
)
def test_poetry_says_it_in_its_own_words(tmp_path: Path, poetry: str, minor: int) -> None:
    if not minor:
        with pytest.raises(DependenciesError):
            base(tmp_path, poetry=poetry)
        return
    assert base(tmp_path, poetry=poetry) == f"python:3.{minor}-slim"


@pytest.mark.parametrize("requires", ["==3.12.4", " === 3.12.4 "])
def test_one_exact_version(tmp_path: Path, requires: str) -> None:
    assert base(tmp_path, requires, "3.13") == "python:3.12.4-slim"


def test_requires_python_goes_before_poetrys(tmp_path: Path) -> None:
    assert base(tmp_path, ">=3.9", poetry="~3.11") == "python:3.13-slim"


@pytest.mark.parametrize("requires", ["<3", "==2.7.*", ">=3.12,<3.12", "==3.12.4,!=3.12.4", ">=4"])
def test_no_python(tmp_path: Path, requires: str) -> None:
    with pytest.raises(DependenciesError, match="allows no Python 3") as caught:
        base(tmp_path, requires)
    assert repr(requires) in caught.value.what
    assert "--base" in caught.value.fix


@pytest.mark.parametrize("requires", ["3.12", "python >= 3", ">=x"])
def test_no_specifier(tmp_path: Path, requires: str) -> None:
    with pytest.raises(DependenciesError, match="is not a version specifier"):
        base(tmp_path, requires)


def test_a_plain_requirement_imports_nothing_heavy(tmp_path: Path) -> None:
    base(tmp_path, ">=3.10,<4.0", "3.12")
    program = (
        "import sys; from hostbuild.languages.python.bases import default_base; "
        "from hostbuild.languages.python.pyproject import read_pyproject; "
        f"print(default_base({str(tmp_path)!r}, read_pyproject({str(tmp_path)!r}))); "
        "print([name for name in sys.modules if name.startswith('packaging')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "python:3.12-slim\n[]\n"

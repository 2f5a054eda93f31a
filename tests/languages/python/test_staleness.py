"""A uv.lock that was made for other dependencies is refused, and one that says them otherwise is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.pyproject import read_pyproject
from hostbuild.languages.python.staleness import check_uv_lock
from tests.languages.python.made import write

LOCK = """
version = 1
[[package]]
name = "my-app"
version = "0.1"
source = { virtual = "." }
[package.metadata]
requires-dist = [
    { name = "click" },
    { name = "flask", specifier = ">=3,<4" },
    { name = "idna", marker = "extra == 'x'", specifier = ">=3" },
    { name = "local-dep", directory = "dep" },
]
[[package]]
name = "flask"
version = "3.0"
source = { registry = "https://h.example/simple" }
"""


def check(folder: Path, dependencies: str, *, extra: str = 'x = ["IDNA>=3"]', lock: str = LOCK) -> None:
    text = f"[project]\nname = 'My_App'\nversion = '0.1'\n{dependencies}\n"
    if extra:
        text += f"[project.optional-dependencies]\n{extra}\n"
    write(folder, {"pyproject.toml": text, "uv.lock": lock})
    project = read_pyproject(str(folder))
    assert project is not None
    check_uv_lock(str(folder / "uv.lock"), project, "uv.lock")


@pytest.mark.parametrize(
    "dependencies",
    [
        'dependencies = ["click", "flask>=3,<4", "local_dep"]',
        'dependencies = ["Local.Dep>=1", "Flask <4, >=3", "click"]',
        'dependencies = ["click", "flask>=3,<4", "local-dep @ file:///x"]',
        'dynamic = ["dependencies"]',
    ],
)
def test_the_same_in_other_words(tmp_path: Path, dependencies: str) -> None:
    check(tmp_path, dependencies)


@pytest.mark.parametrize(
    ("dependencies", "extra", "why"),
    [
        ('["click", "flask>=3,<4", "local-dep", "requests"]', 'x = ["idna>=3"]', "does not know requests"),
        ('["click", "local-dep"]', 'x = ["idna>=3"]', "still has flask"),
        ('["click", "flask>=3.1,<4", "local-dep"]', 'x = ["idna>=3"]', "another range of flask"),
        ('["click", "flask>=3,<4", "local-dep"]', "", "still has idna"),
    ],
)
def test_an_older_lock_says_what_it_does_not_know(
    tmp_path: Path, dependencies: str, extra: str, why: str
) -> None:
    with pytest.raises(DependenciesError, match="older than pyproject") as caught:
        check(tmp_path, f"dependencies = {dependencies}", extra=extra)
    assert why in caught.value.why
    assert "uv lock" in caught.value.fix


@pytest.mark.parametrize("lock", ["x = [", "version = 1\n", "package = 3\n", "[[package]]\nname = 1\n"])
def test_a_lock_that_is_none_is_for_uv_to_complain_of(tmp_path: Path, lock: str) -> None:
    check(tmp_path, 'dependencies = ["click"]', lock=lock)

"""What the tests of Python's dependencies share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.languages.python.made import environment


@pytest.fixture(scope="session")
def uv_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where uv keeps its cache in this run."""
    return tmp_path_factory.mktemp("uv")


@pytest.fixture
def tools(uv_home: Path) -> dict[str, str]:
    """The environment that uv is started with; no index is asked."""
    return environment(uv_home, PIP_NO_INDEX="1")


@pytest.fixture
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scratch directory, in which nothing may be left."""
    return tmp_path_factory.mktemp("work")

"""A layout that all tests of the room copy, and the result that a build with it would be."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from hostbuild.model import BuildResult
from tests.outputs.results import PLATFORMS, TAGS, result_of
from tests.rig.handmade import write_handmade


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout that all tests copy."""
    layout = tmp_path_factory.mktemp("built") / "oci"
    random = hashlib.shake_128(b"image").digest(2_500_000)  # more than two pieces, and not to be compressed
    files = {platform: {"f": platform.encode() + random} for platform in PLATFORMS}
    write_handmade(layout, TAGS[0], files, {"Cmd": ["/f"]})
    return layout


@pytest.fixture
def result(built: Path, tmp_path: Path) -> BuildResult:
    layout = tmp_path / "build/oci"
    shutil.copytree(built, layout)
    return result_of(layout)

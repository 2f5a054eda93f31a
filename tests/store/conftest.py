from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostbuild.points import set_hook
from hostbuild.store.cache import Cache


@pytest.fixture(autouse=True)
def _no_hook_stays() -> Iterator[None]:
    yield
    set_hook(None)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of 256 KiB; None where this user may not mount one."""
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(directory)], check=False
        ).returncode
        == 0
    )
    yield directory if mounted else None
    if mounted:
        subprocess.run(["umount", str(directory)], check=True)

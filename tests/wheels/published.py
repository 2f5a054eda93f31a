"""Published wheels of exact versions, fetched by pip once a machine and kept in the user's cache."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.rig.go_tools import cache_directory

_SECONDS = 600


class Published(NamedTuple):
    """A wheel: what pip is asked for, and the platforms that it may be for (none: pure)."""

    requirement: str
    platforms: tuple[str, ...] = ()

    @property
    def selection(self) -> list[str]:
        """The options with which pip takes just this wheel, wherever it runs."""
        options = [
            "--no-deps",
            "--only-binary",
            ":all:",
            "--python-version",
            "3.13",
            "--implementation",
            "cp",
        ]
        for platform in self.platforms:
            options += ["--platform", platform]
        return options


AARCH64 = (*(f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 24, 17)), "manylinux2014_aarch64")
ARMV7L = ("manylinux_2_31_armv7l", "manylinux_2_17_armv7l", "manylinux2014_armv7l")

#: Pure and not; with commands, with scripts of their own, headers, data files, bundled libraries.
PUBLISHED = (
    Published("markupsafe==3.0.4", AARCH64),
    Published("markupsafe==3.0.4", ("musllinux_1_2_x86_64",)),
    Published("flask==3.1.3"),
    Published("click==8.5.1"),
    Published("pydantic-core==2.50.4", AARCH64),
    Published("pydantic-core==2.50.4", ARMV7L),
    Published("numpy==2.5.5", AARCH64),
    Published("greenlet==3.5.6", AARCH64),
    Published("docutils==0.20.1"),
    Published("jupyterlab-pygments==0.3.0"),
    Published("sphinxcontrib-serializinghtml==2.0.0"),
    Published("ruff==0.17.6", ARMV7L),
)


def pip(*arguments: str | Path) -> None:
    """Run pip; a failure shows all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"pip {' '.join(map(str, arguments))}:\n{done.stdout}{done.stderr}"


@cache
def wheel_file(published: Published) -> Path:
    """The wheel; fetched under a lock into a private directory, then put in place by one rename."""
    home = cache_directory() / "wheels"
    home.mkdir(parents=True, exist_ok=True)
    destination = home / "-".join([published.requirement, *published.platforms[:1]])
    if not destination.exists():
        with (home / f"{destination.name}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not destination.exists():
                with tempfile.TemporaryDirectory(dir=home, prefix=".fetch.") as scratch:
                    target = Path(scratch, "wheel")
                    pip("download", "-q", *published.selection, "-d", target, published.requirement)
                    os.replace(target, destination)
    (found,) = destination.iterdir()
    return found

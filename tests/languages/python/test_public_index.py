"""Real requirement sets, against the package index of this machine, with pip as the judge of what has wheels.

What was uploaded after one day is left out, so that the answers stay; where they come from is nobody's name
here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hostbuild.languages.python.availability import look_up
from hostbuild.languages.python.inputs import find_inputs
from hostbuild.languages.python.locking import lock
from hostbuild.languages.python.missing import missing_error, platform_flag
from hostbuild.languages.python.selection import select
from hostbuild.languages.python.session import Resolving
from hostbuild.languages.python.tagnames import availability
from hostbuild.languages.python.values import Missing, Selection
from hostbuild.wheels.target import Target
from tests.languages.python.made import THREE, target

DAY = Resolving(exclude_newer="2026-11-20")
ARM = "linux/arm/v7"

#: Popular sets, and which of their packages have no wheel for arm/v7; all have one for the other two.
SETS: dict[str, set[str]] = {
    "flask\ngunicorn": set(),
    "fastapi\npydantic\nuvicorn": set(),
    "grpcio\nprotobuf\nlxml\norjson": set(),
    "func-python\ncloudevents": set(),
    "aiohttp\nyarl\nmultidict": set(),
    "django\npsycopg[binary]\nredis": {"psycopg-binary"},
    "uvicorn[standard]": {"httptools", "pyyaml", "uvloop"},
    "numpy\npandas\npillow": {"numpy", "pandas", "pillow"},
    "pyyaml\ncffi": {"pyyaml", "cffi"},
    "cryptography\nrequests\npyjwt[crypto]": {"cffi"},
    "sqlalchemy[asyncio]\nalembic\nasyncpg": {"asyncpg", "greenlet"},
    "msgpack\nzstandard\nregex\npsutil": {"msgpack", "psutil", "regex", "zstandard"},
}


@cache
def resolve(requirements: str, targets: tuple[Target, ...] = THREE) -> tuple[Selection, tuple[Missing, ...]]:
    """What is selected, and what is missing with all that is known of it."""
    environment = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    with TemporaryDirectory() as root, TemporaryDirectory() as work:
        Path(root, "requirements.txt").write_text(requirements)
        inputs = find_inputs(root, environment=environment)
        made = lock(inputs, targets, environment=environment, work=work, how=DAY)
        found = select(made, targets, root=root)
        return found, look_up(found.missing, inputs, targets, environment=environment, work=work, how=DAY)


@pytest.mark.parametrize("requirements", SETS, ids=lambda text: text.replace("\n", "+"))
def test_what_has_no_wheel(requirements: str) -> None:
    found, missing = resolve(requirements)
    assert {each.name for each in missing} == SETS[requirements]
    assert [len(each.wheels) for each in found.targets] == [
        len(found.targets[0].wheels),
        len(found.targets[0].wheels),
        len(found.targets[0].wheels) - len(missing),
    ]
    for each in missing:
        assert [gap.platform for gap in each.gaps] == [ARM]
        there = availability(each.wheels)
        assert {"3.13", "3.6+", "3.9+"} & set(there["linux/amd64"]), there
        assert ARM not in there
    if missing:
        error = missing_error(missing, THREE)
        assert all(f"{each.name} {each.version}\n" in error.detail for each in missing)
        assert error.extra["command"] == "--platform linux/amd64,linux/arm64"


def test_what_pip_says() -> None:
    """pip, which knows tags by itself, finds what was chosen for arm/v7 and nothing of what is missing."""
    there: set[str] = set()
    lacking: set[str] = set()
    for requirements in SETS:
        found, missing = resolve(requirements)
        native = (each for each in found.targets[2].wheels if not each.filename.endswith("-any.whl"))
        there |= {f"{each.name}=={each.version}" for each in native}
        lacking |= {f"{each.name}=={each.version}" for each in missing}
    assert len(there) > 10
    # Every one was tried once; some are enough to see that the two still agree.
    assert pip_refuses(sorted(there)[::6], THREE[2]) == ""
    for each in sorted(lacking)[::6]:
        assert "No matching distribution" in pip_refuses([each], THREE[2])


def pip_refuses(requirements: Iterable[str], target: Target) -> str:
    """What pip prints where it has no wheel for one of the requirements, else "". Nothing is installed."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--quiet",
        "--no-deps",
        "--ignore-installed",
    ]
    command += ["--target", "nowhere", "--only-binary", ":all:", "--python-version", target.python]
    command += ["--implementation", "cp", "--disable-pip-version-check", "--no-input"]
    command += [word for each in target.platforms() for word in ("--platform", each)]
    done = subprocess.run([*command, *sorted(requirements)], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def test_markers_that_differ_by_machine() -> None:
    lines = ["grpcio; platform_machine == 'aarch64'", "numpy; platform_machine == 'x86_64'", "idna"]
    found, missing = resolve("\n".join(lines))
    assert missing == ()
    assert [[each.name for each in one.wheels] for one in found.targets] == [
        ["idna", "numpy"],
        ["grpcio", "idna", "typing-extensions"],
        ["idna"],
    ]


def test_numpy_and_its_bases() -> None:
    found, _ = resolve("numpy==2.2.6")
    assert "manylinux" in found.targets[0].wheels[0].filename
    musl = tuple(target(each, libc="musl", libc_version="1.2") for each in ("linux/amd64", "linux/arm64"))
    found, missing = resolve("numpy==2.2.6", musl)
    assert missing == ()
    assert all("musllinux" in one.wheels[0].filename for one in found.targets)
    _, missing = resolve("numpy==2.2.6", (target(libc_version="2.12"), target(python="3.14.0")))
    assert [gap.reason for gap in missing[0].gaps][1].startswith("its wheels are for Python 3.10 to 3.13")
    assert platform_flag(missing, THREE) == "--platform linux/arm64,linux/arm/v7"


def test_a_source_only_package_is_a_candidate() -> None:
    found, missing = resolve("docopt==0.6.2\nsix")
    assert [[each.name for each in one.wheels] for one in found.targets] == [["six"]] * 3
    (docopt,) = missing
    assert docopt.sdist is not None
    assert docopt.sdist.filename == "docopt-0.6.2.tar.gz"
    assert docopt.sdist.size == 25901
    assert docopt.gaps[0].reason == "no wheel at all, only source"

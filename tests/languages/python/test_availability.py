"""What else there is of packages that have no wheel, asked of the real uv."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostbuild.languages.python.availability import look_up
from hostbuild.languages.python.inputs import find_inputs
from hostbuild.languages.python.locking import lock
from hostbuild.languages.python.missing import missing_error
from hostbuild.languages.python.selection import select
from hostbuild.languages.python.tagnames import UNLISTED, availability
from hostbuild.languages.python.values import Missing
from tests.languages.python.made import THREE, sdist, sha256, wheel, write


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for machine in ("x86_64", "aarch64"):
        for python in ("310", "313"):
            wheel(folder, "native", "2.0", f"cp{python}-cp{python}-manylinux_2_17_{machine}")
        wheel(folder, "only", "2.0", f"cp39-abi3-manylinux_2_17_{machine}")
        wheel(folder, "next", "1.0", f"cp314-cp314-manylinux_2_17_{machine}")
    wheel(folder, "native", "2.0", "cp312-cp312-win_amd64")
    wheel(folder, "native", "1.5", "cp313-cp313-manylinux_2_17_armv7l")
    wheel(folder, "native", "1.0")
    wheel(folder, "pure_once", "1.0")
    wheel(folder, "pure_once", "2.0", "cp313-cp313-win_amd64")
    sdist(folder, "pure_once", "2.0")
    wheel(folder, "drags", "2.0", requires=["native>=2"])
    wheel(folder, "drags", "1.0")
    wheel(folder, "only", "1.0", "cp313-cp313-win_amd64")
    wheel(folder, "needs_new", "1.0", requires=["native>=2"])
    sdist(folder, "next", "1.0")
    sdist(folder, "source", "1.0", setup="raise SystemExit('not to be run')", metadata=False)
    return folder


def missing(
    root: Path, wheels: Path, tools: dict[str, str], work: Path, requirements: str
) -> dict[str, Missing]:
    write(root, {"requirements.txt": requirements})
    environment = {**tools, "UV_FIND_LINKS": str(wheels)}
    inputs = find_inputs(str(root), environment=environment)
    made = lock(inputs, THREE, environment=environment, work=str(work))
    first = select(made, THREE, root=inputs.root).missing
    found = look_up(first, inputs, THREE, environment=environment, work=str(work))
    assert list(work.iterdir()) == []
    assert [each.name for each in found] == [each.name for each in first]
    assert not found or missing_error(found, THREE).detail
    return {each.name: each for each in found}


def test_all_wheels_of_the_version_and_another_one_that_would_do(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    found = missing(tmp_path, wheels, tools, work, "native\nsource\npure-once\n")
    assert availability(found["native"].wheels) == {
        "linux/amd64": ["3.10", "3.13"],
        "linux/arm64": ["3.10", "3.13"],
        "Windows": ["3.12"],
    }
    assert found["native"].pin == "native==1.5 ; platform_machine == 'armv7l'"
    assert found["pure-once"].pin == "pure-once==1.0"
    assert found["source"].pin == ""
    assert found["source"].wheels == ()
    assert found["source"].gaps[0].reason == "no wheel at all, only source"


def test_a_version_that_the_rest_does_not_allow_is_not_offered(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    for asked in ("needs_new\n", "native>=2\n", "drags\n"):
        assert missing(tmp_path, wheels, tools, work, asked)["native"].pin == ""


def test_none_is_offered_where_there_is_none(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    found = missing(tmp_path, wheels, tools, work, "native\nonly\n")
    assert found["only"].pin == ""
    assert availability(found["only"].wheels) == {"linux/amd64": ["3.9+"], "linux/arm64": ["3.9+"]}


def test_a_pin_that_is_offered_helps(tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path) -> None:
    asked = "native\npure-once\n"
    pins = [each.pin for each in missing(tmp_path, wheels, tools, work, asked).values()]
    assert len(pins) == 2
    assert missing(tmp_path, wheels, tools, work, asked + "\n".join(pins)) == {}


def test_wheels_for_another_python_say_so(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    found = missing(tmp_path, wheels, tools, work, "next\n")["next"]
    assert [(each.platform, each.reason, each.another_base) for each in found.gaps] == [
        ("linux/amd64", "its wheels are for Python 3.14, the base has 3.13.5", True),
        ("linux/arm64", "its wheels are for Python 3.14, the base has 3.13.5", True),
        ("linux/arm/v7", "no wheel for armv7l", False),
    ]


def test_what_uv_cannot_say_is_left_out(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"requirements.txt": "native\n"})
    environment = {**tools, "UV_FIND_LINKS": str(wheels)}
    inputs = find_inputs(str(tmp_path), environment=environment)
    made = lock(inputs, THREE, environment=environment, work=str(work))
    first = select(made, THREE, root=inputs.root).missing
    assert look_up(first, inputs, THREE, environment=tools, work=str(work)) == first
    assert look_up((), inputs, THREE, environment={"PATH": ""}, work=str(work)) == ()


def test_a_lock_for_one_platform_is_told_as_such(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    filename = "native-2.0-cp313-cp313-manylinux_2_17_x86_64.whl"
    file = f'{{ path = "{wheels / filename}", hashes = {{ sha256 = "{sha256(wheels / filename)}" }} }}'
    text = (
        'lock-version = "1.0"\ncreated-by = "test"\n[[packages]]\nname = "native"\nversion = "2.0"\n'
        f"wheels = [{file}]\n"
    )
    root = write(tmp_path, {"pylock.toml": text})
    environment = {**tools, "UV_FIND_LINKS": str(wheels)}
    inputs = find_inputs(str(root), environment=environment)
    made = lock(inputs, THREE, environment=environment, work=str(work))
    first = select(made, THREE, root=inputs.root).missing
    (found,) = look_up(first, inputs, THREE, environment=environment, work=str(work))
    assert [(gap.platform, gap.reason == UNLISTED) for gap in found.gaps] == [
        ("linux/arm64", True),
        ("linux/arm/v7", False),
    ]
    assert "uv pip compile --universal" in missing_error([found], THREE).detail

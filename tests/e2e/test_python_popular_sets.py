"""What people often ask for, checked for three platforms: what has no wheel is named, that and nothing else.

pip is the judge. On the machine's own platform, where all of these have wheels, it resolves the set. What
each platform needs of that follows from the metadata and the markers of that platform's own, emulated Python.
For each of those, alone and pinned, pip is asked whether there is a wheel with one of that Python's tags.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.rig.builder import make_source
from tests.rig.python_base import PLATFORMS, python_base
from tests.rig.python_image import canonical, run_directory, shared_hostbuild
from tests.rig.python_judge import PipJudge, Target
from tests.rig.run_image import NATIVE

#: Some are complete for all three platforms, some are not. What is to be had as a wheel is the index's
#: affair, and not written down here.
SETS: dict[str, tuple[str, ...]] = {
    "flask": ("flask", "gunicorn"),
    "django": ("django", "psycopg[binary]"),
    "uvicorn": ("fastapi", "uvicorn[standard]"),
    "pandas": ("pandas",),
    "cryptography": ("requests", "cryptography"),
    "sqlalchemy": ("sqlalchemy<2.1", "alembic"),
    "celery": ("celery[redis]",),
    "boto3": ("boto3",),
    "pillow": ("pillow", "reportlab"),
    "aiohttp": ("aiohttp", "orjson", "lxml", "bcrypt"),
    "operations": ("psutil", "regex", "zstandard", "msgpack"),
    "playwright": ("playwright",),
}
#: What hostbuild makes of source, as it has no machine code, or can do without: pip would find no wheel.
BUILT = {"uvicorn": {"pyyaml"}, "operations": {"msgpack"}}


class Needed:
    """What each platform needs of a set that pip resolved on this machine's platform."""

    def __init__(self, metadata: Iterable[Mapping[str, Any]]) -> None:
        self.metadata = {canonical(each["name"]): each for each in metadata}

    def on(self, requirements: Sequence[str], target: Target) -> dict[str, str]:
        """Name to version, by the markers of the target."""
        found: set[tuple[str, str]] = set()
        waiting = [Requirement(text) for text in requirements]
        while waiting:
            requirement = waiting.pop()
            name = canonical(requirement.name)
            for extra in ("", *requirement.extras):
                if (name, extra) in found:
                    continue
                found.add((name, extra))
                environment = {**target.markers, "extra": extra}
                for text in self.metadata[name].get("requires_dist", []):
                    each = Requirement(text)
                    if each.marker is None or each.marker.evaluate(environment):
                        waiting.append(each)
        return {name: str(self.metadata[name]["version"]) for name, _ in found}


@cache
def target_of(judge: PipJudge) -> Target:
    return judge.target()


def lacking(native: PipJudge, target: Target, needed: Mapping[str, str], suspected: set[str]) -> set[str]:
    """The names that pip finds no wheel for. The suspected are asked for one by one, all others at once."""
    present = [f"{name}=={version}" for name, version in needed.items() if name not in suspected]
    if present:
        is_there, said = native.has_wheels(target, present)
        assert is_there, f"{target.markers['platform_machine']}: not named as missing: {said}"
    return {name for name in suspected if not native.has_wheels(target, [f"{name}=={needed[name]}"])[0]}


@pytest.mark.parametrize("name", SETS)
def test_what_has_no_wheel_is_named_and_nothing_else(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = {"app.py": "", "Procfile": "web: python app.py\n", "requirements.txt": "\n".join(SETS[name])}
    root = make_source(tmp_path / "src", files)
    hostbuild = shared_hostbuild(tmp_path_factory)
    result = hostbuild("check", root, "--base", python_base().place, "--json")
    report = json.loads(result.stdout)
    assert report["unloadable"] == []
    wheels = {
        each["platform"]: {wheel["name"]: wheel["version"] for wheel in each["wheels"]}
        for each in report["platforms"]
    }
    missing: dict[str, dict[str, str]] = {platform: {} for platform in PLATFORMS}
    for each in report["missing"]:
        for gap in each["missing_for"]:
            missing[gap["platform"]][each["name"]] = each["version"]
    assert result.code == (1 if report["missing"] else 0), result.stderr

    directory = run_directory(tmp_path_factory)
    native = PipJudge.made(directory, f"linux/{NATIVE}")
    needed = Needed(native.resolve(SETS[name]))
    for platform in PLATFORMS:
        target = target_of(PipJudge.made(directory, platform))
        wanted = needed.on(SETS[name], target)
        ours = missing[platform]
        assert ours.items() <= wanted.items()
        if platform == native.platform:
            assert ours == {}, "pip has just found all of it for this platform"
        else:
            built = BUILT.get(name, set()) & set(wanted)
            assert lacking(native, target, wanted, set(ours) | built) - built == set(ours), platform
        if not report["missing"]:
            assert wheels[platform] == wanted

    if report["missing"]:
        refused = hostbuild("build", root, "--base", python_base().place)
        refused.fails(1, *[f"{each['name']} {each['version']}" for each in report["missing"]])
        assert not (root / ".func/builds/last").exists()

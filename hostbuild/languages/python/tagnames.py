"""What wheels' file names say to people: which platforms and which versions of Python they are for.

Source: packaging.python.org, "Platform compatibility tags" (PEP 425, 513, 571, 599, 600, 656).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from packaging.tags import Tag

    from hostbuild.wheels.target import Target

_GLIBC = {"manylinux1": "2.5", "manylinux2010": "2.12", "manylinux2014": "2.17"}
_LINUX = re.compile(r"(manylinux1|manylinux2010|manylinux2014|(manylinux|musllinux)_(\d+)_(\d+)|linux)_(\w+)")
_PYTHON = re.compile(r"(cp|py)(\d)(\d*)")

#: What `uname` calls a machine, as a platform of an image.
_PLATFORMS = {
    "x86_64": "linux/amd64",
    "aarch64": "linux/arm64",
    "armv7l": "linux/arm/v7",
    "armv6l": "linux/arm/v6",
    "i686": "linux/386",
    "ppc64le": "linux/ppc64le",
    "riscv64": "linux/riscv64",
    "s390x": "linux/s390x",
    "loongarch64": "linux/loong64",
}


class LinuxTag(NamedTuple):
    """A Linux platform tag: "glibc" or "musl" or "" for any, that libc's oldest version, the machine."""

    libc: str
    version: tuple[int, ...]
    machine: str


def parse_platform_tag(tag: str) -> LinuxTag | None:
    """What a platform tag asks for, or None for one of another system."""
    match = _LINUX.fullmatch(tag)
    if match is None:
        return None
    kind, family, major, minor, machine = match.groups()
    if kind in _GLIBC:
        return LinuxTag("glibc", _numbers(_GLIBC[kind]), machine)
    if family:
        return LinuxTag("musl" if family == "musllinux" else "glibc", (int(major), int(minor)), machine)
    return LinuxTag("", (), machine)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in version.split(".")[:2] if each.isdigit())


#: The reason where the index has what a lock that was found does not name.
UNLISTED = "there is a wheel for it, which the lock does not list"


def explain_gap(filenames: Iterable[str], target: Target, *, all_known: bool = False) -> tuple[str, bool]:
    """Why none of the wheels fits the target, and whether another base image for the platform could help.

    `all_known` tells that these are all wheels of the version, not only those that a lock names.
    """
    tags = list(_tags(filenames))
    if not tags:
        return "no wheel at all, only source" if all_known else "the lock names no wheel of it", False
    accepted = target.tags()
    if all_known and not set(tags).isdisjoint(accepted):
        return UNLISTED, False
    pythons = {(tag.interpreter, tag.abi) for tag in accepted}
    here = [
        (tag, linux) for tag in tags if (linux := parse_platform_tag(tag.platform)) and _runs(linux, target)
    ]
    fitting = [linux for tag, linux in here if (tag.interpreter, tag.abi) in pythons]
    if same := [linux for linux in fitting if linux.libc == target.libc]:
        oldest = ".".join(str(each) for each in min(same).version)
        return f"its wheels need {target.libc} {oldest}, the base has {target.libc_version}", True
    if fitting:
        return f"its wheels are for {fitting[0].libc}, the base has {target.libc}", True
    if here:
        pythons_there = _join_versions({each for tag, _ in here for each in _python_names(tag)})
        return f"its wheels are for Python {pythons_there}, the base has {target.python}", True
    if any(tag.platform == "any" for tag in tags):
        pythons_there = _join_versions({each for tag in tags for each in _python_names(tag)})
        return f"its wheels are for Python {pythons_there}, the base has {target.python}", True
    return f"no wheel for {target.machine}", False


def _runs(linux: LinuxTag, target: Target) -> bool:
    return linux.machine == target.machine


def availability(filenames: Iterable[str]) -> dict[str, list[str]]:
    """Which platforms the wheels are for, and there which versions of Python, in order.

    A platform is as "linux/arm64", "linux/arm64 (musl)", "macOS", "Windows", "any"; a version as "3.13",
    "3.13t" for a free-threaded one, "3.9+" for the stable ABI.
    """
    found: dict[str, set[str]] = {}
    for tag in _tags(filenames):
        place = _place(tag.platform)
        if place and (names := _python_names(tag)):
            found.setdefault(place, set()).update(names)
    return {place: sorted(found[place], key=_version_order) for place in sorted(found, key=_place_order)}


def describe(filenames: Iterable[str]) -> list[str]:
    """The same as lines: platforms that have the same versions of Python together."""
    together: dict[tuple[str, ...], list[str]] = {}
    for place, versions in availability(filenames).items():
        together.setdefault(tuple(versions), []).append(place)
    return [f"{', '.join(places)}: Python {_join_versions(set(key))}" for key, places in together.items()]


def _tags(filenames: Iterable[str]) -> Iterator[Tag]:
    from hostbuild.wheels.names import parse_wheel_name

    for filename in filenames:
        yield from sorted(parse_wheel_name(filename).tags, key=str)


def _place(platform: str) -> str:
    if platform == "any":
        return "any"
    if linux := parse_platform_tag(platform):
        name = _PLATFORMS.get(linux.machine, f"linux {linux.machine}")
        return f"{name} (musl)" if linux.libc == "musl" else name
    if platform.startswith("macosx"):
        return "macOS"
    if platform.startswith("win"):
        return "Windows"
    return ""


def _place_order(place: str) -> tuple[bool, bool, str]:
    return not place.startswith("linux"), "musl" in place, place


def _python_names(tag: Tag) -> list[str]:
    match = _PYTHON.fullmatch(tag.interpreter)
    if match is None:
        return []  # PyPy and others: no base image of ours
    _, major, minor = match.groups()
    name = f"{major}.{minor}" if minor else major
    if tag.abi.startswith("abi3") or (match[1] == "py" and minor):
        return [f"{name}+"]
    return [f"{name}t" if tag.abi.endswith("t") and tag.abi.startswith("cp") else name]


def _version_order(version: str) -> tuple[bool, tuple[int, ...], str]:
    return version.endswith("t"), tuple(int(each) for each in re.findall(r"\d+", version)), version


def _join_versions(versions: set[str]) -> str:
    """`3.9 to 3.13, 3.13t`: what follows one another is a range."""
    ordered = sorted(versions, key=_version_order)
    runs: list[list[str]] = []
    for version in ordered:
        if runs and _follows(runs[-1][-1], version):
            runs[-1].append(version)
        else:
            runs.append([version])
    return ", ".join(_run(run) for run in runs)


def _follows(one: str, other: str) -> bool:
    first, second = re.fullmatch(r"(\d)\.(\d+)(t?)", one), re.fullmatch(r"(\d)\.(\d+)(t?)", other)
    if first is None or second is None or first[1] != second[1] or first[3] != second[3]:
        return False
    return int(second[2]) == int(first[2]) + 1


def _run(run: Sequence[str]) -> str:
    return (
        run[0] if len(run) == 1 else f"{run[0]} and {run[-1]}" if len(run) == 2 else f"{run[0]} to {run[-1]}"
    )

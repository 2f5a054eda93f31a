"""What a Python in an image accepts, told without asking this machine."""

from __future__ import annotations

import os
import platform
import sys

import pytest
from packaging.markers import Marker, default_environment
from packaging.tags import sys_tags

from hostbuild.errors import BaseImageError
from hostbuild.oci.platform import Platform
from hostbuild.wheels.target import Target


def target(
    name: str = "linux/arm64",
    python: str = "3.13.5",
    libc: str = "glibc",
    version: str = "2.36",
    interpreter: str = "/usr/local/bin/python3.13",
) -> Target:
    return Target(Platform.parse(name), python, libc, version, interpreter)


def this_machine() -> Target:
    libc, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    name = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7"}[platform.machine()]
    return target(f"linux/{name}", platform.python_version(), libc, version, sys.executable)


def test_tags_of_this_machine_are_those_that_packaging_finds_here() -> None:
    ours, theirs = this_machine().tags(), list(sys_tags())
    assert set(ours) == set(theirs)
    # Where linux_* stands among its kind differs between versions of packaging.
    assert [tag for tag in ours if not tag.platform.startswith("linux_")] == [
        tag for tag in theirs if not tag.platform.startswith("linux_")
    ]


def test_markers_of_this_machine_are_those_that_packaging_finds_here() -> None:
    theirs = dict(default_environment())
    theirs.update(platform_release="", platform_version="")
    assert this_machine().markers() == theirs


def test_platforms_of_aarch64() -> None:
    assert target(version="2.19").platforms() == (
        "linux_aarch64",
        "manylinux_2_19_aarch64",
        "manylinux_2_18_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
    )


def test_platforms_of_x86_64_reach_down_to_manylinux1() -> None:
    platforms = target("linux/amd64", version="2.12").platforms()
    assert platforms[:3] == ("linux_x86_64", "manylinux_2_12_x86_64", "manylinux2010_x86_64")
    assert platforms[-2:] == ("manylinux_2_5_x86_64", "manylinux1_x86_64")
    assert target("linux/amd64/v3", version="2.12").platforms() == platforms


def test_platforms_of_32_bit_arm() -> None:
    assert target("linux/arm/v7", version="2.17").platforms() == (
        "linux_armv7l",
        "manylinux_2_17_armv7l",
        "manylinux2014_armv7l",
    )
    assert target("linux/arm/v6").platforms() == ("linux_armv6l",)


def test_platforms_of_musl() -> None:
    assert target("linux/arm/v7", libc="musl", version="1.2.5").platforms() == (
        "linux_armv7l",
        "musllinux_1_2_armv7l",
        "musllinux_1_1_armv7l",
        "musllinux_1_0_armv7l",
    )


def test_tags_come_from_the_best_to_the_worst() -> None:
    tags = [str(tag) for tag in target(version="2.17").tags()]
    order = [
        "cp313-cp313-manylinux_2_17_aarch64",
        "cp313-cp313-manylinux2014_aarch64",
        "cp313-abi3-manylinux_2_17_aarch64",
        "cp313-none-manylinux_2_17_aarch64",
        "cp312-abi3-manylinux2014_aarch64",
        "cp32-abi3-manylinux2014_aarch64",
        "py313-none-manylinux_2_17_aarch64",
        "py3-none-manylinux2014_aarch64",
        "cp313-none-any",
        "py313-none-any",
        "py3-none-any",
        "py30-none-any",
    ]
    places = [tags.index(tag) for tag in order]
    assert places == sorted(places)
    assert len(tags) == len(set(tags))
    assert not any("x86_64" in tag or "musllinux" in tag or "cp312-cp312" in tag for tag in tags)


def test_a_free_threaded_python_takes_no_ordinary_extension_modules() -> None:
    tags = {str(tag) for tag in target(interpreter="/usr/local/bin/python3.13t").tags()}
    assert "cp313-cp313t-manylinux_2_36_aarch64" in tags
    assert "py3-none-any" in tags
    assert not any("-cp313-" in tag or "-abi3-" in tag for tag in tags)


@pytest.mark.parametrize(
    ("name", "machine"),
    [
        ("linux/amd64", "x86_64"),
        ("linux/arm64", "aarch64"),
        ("linux/arm/v7", "armv7l"),
        ("linux/386", "i686"),
    ],
)
def test_markers_are_the_targets(name: str, machine: str) -> None:
    environment = target(name, "3.13.5").markers()
    assert environment["platform_machine"] == machine
    for marker in (
        f"platform_machine == '{machine}'",
        "python_full_version >= '3.13.5' and python_version == '3.13'",
        "sys_platform == 'linux' and os_name == 'posix' and platform_system == 'Linux'",
        "implementation_name == 'cpython' and platform_python_implementation == 'CPython'",
        "implementation_version == '3.13.5'",
    ):
        assert Marker(marker).evaluate(environment), marker
    for marker in ("python_full_version < '3.13.5'", "platform_release >= '4'", "extra == 'x'"):
        assert not Marker(marker).evaluate({**environment, "extra": ""}), marker


@pytest.mark.parametrize(
    "wrong",
    [
        target("windows/amd64"),
        target("linux/mips64"),
        target(libc="uclibc"),
        target(version="3.0"),
        target(version="new"),
        target(python="three"),
        target(python="3"),
        target(python="3." + "9" * 100),
    ],
    ids=str,
)
def test_what_wheels_have_no_name_for_is_an_error(wrong: Target) -> None:
    with pytest.raises(BaseImageError):
        wrong.tags()

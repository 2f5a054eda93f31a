"""What is said of packages without a wheel."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import MissingWheelsError
from hostbuild.languages.python.missing import advice, missing_error, platform_flag, to_json
from hostbuild.languages.python.tagnames import availability, describe, explain_gap, parse_platform_tag
from hostbuild.languages.python.values import Archive, Gap, Missing
from tests.languages.python.made import THREE, target


def names(*tags: str) -> tuple[str, ...]:
    return tuple(f"a-1-{tag}.whl" for tag in tags)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("manylinux1_x86_64", ("glibc", (2, 5), "x86_64")),
        ("manylinux2014_armv7l", ("glibc", (2, 17), "armv7l")),
        ("manylinux_2_39_aarch64", ("glibc", (2, 39), "aarch64")),
        ("musllinux_1_2_i686", ("musl", (1, 2), "i686")),
        ("linux_armv7l", ("", (), "armv7l")),
        ("macosx_11_0_arm64", None),
        ("win_amd64", None),
        ("any", None),
    ],
)
def test_platform_tags(tag: str, expected: tuple[object, ...] | None) -> None:
    assert parse_platform_tag(tag) == expected


@pytest.mark.parametrize(
    ("tags", "reason", "another_base"),
    [
        ((), "no wheel at all, only source", False),
        (("cp313-cp313-win_amd64", "cp313-cp313-manylinux2014_x86_64"), "no wheel for aarch64", False),
        (
            ("cp313-cp313-manylinux_2_39_aarch64", "cp313-cp313-manylinux_2_38_aarch64"),
            "its wheels need glibc 2.38, the base has 2.36",
            True,
        ),
        (("cp313-cp313-musllinux_1_2_aarch64",), "its wheels are for musl, the base has glibc", True),
        (
            ("cp311-cp311-manylinux2014_aarch64", "cp312-cp312-musllinux_1_2_aarch64"),
            "its wheels are for Python 3.11 and 3.12, the base has 3.13.5",
            True,
        ),
        (("cp314-abi3-manylinux2014_aarch64",), "its wheels are for Python 3.14+, the base has 3.13.5", True),
        (("py2-none-any",), "its wheels are for Python 2, the base has 3.13.5", True),
        (("cp39-abi3-manylinux_2_40_aarch64",), "its wheels need glibc 2.40, the base has 2.36", True),
    ],
)
def test_why_no_wheel_fits(tags: tuple[str, ...], reason: str, another_base: bool) -> None:
    assert explain_gap(names(*tags), target("linux/arm64"), all_known=True) == (reason, another_base)


def test_what_there_is_by_platform_and_python() -> None:
    found = availability(
        names(
            "cp310-cp310-manylinux1_x86_64.manylinux_2_28_x86_64",
            "cp39-cp39-manylinux1_x86_64",
            "cp313-cp313t-manylinux1_x86_64",
            "cp39-abi3-musllinux_1_1_x86_64",
            "pp310-pypy310_pp73-manylinux1_x86_64",
            "cp314-cp314-macosx_11_0_arm64",
            "cp314-cp314-win32",
            "cp314-cp314-linux_armv6l",
            "cp314-cp314-ios_13_0_arm64_iphoneos",
            "py3-none-any",
        )
    )
    assert found == {
        "linux/amd64": ["3.9", "3.10", "3.13t"],
        "linux/arm/v6": ["3.14"],
        "linux/amd64 (musl)": ["3.9+"],
        "Windows": ["3.14"],
        "any": ["3"],
        "macOS": ["3.14"],
    }
    assert list(found)[:3] == ["linux/amd64", "linux/arm/v6", "linux/amd64 (musl)"]


def test_platforms_with_the_same_pythons_share_a_line() -> None:
    tags = [f"cp3{minor}-cp3{minor}-{p}" for minor in (9, 10, 11, 13) for p in ("win32", "manylinux1_x86_64")]
    assert describe(names(*tags)) == ["linux/amd64, Windows: Python 3.9 to 3.11, 3.13"]


TAGS = st.builds(
    lambda python, abi, platform: f"{python}-{abi}-{platform}",
    st.sampled_from(["cp39", "cp313", "cp314", "py3", "pp310", "py2.py3", "jy27"]),
    st.sampled_from(["cp313", "cp313t", "abi3", "none", "pypy310_pp73", "abi3t"]),
    st.sampled_from(
        ["any", "win32", "manylinux2014_aarch64", "musllinux_1_2_armv7l", "macosx_11_0_arm64", "odd"]
    ),
)


@settings(deadline=None)
@given(st.lists(TAGS, max_size=5))
def test_any_tags_can_be_spoken_of(tags: list[str]) -> None:
    for each in THREE:
        reason, _ = explain_gap(names(*tags), each)
        assert reason
    assert len(describe(names(*tags))) <= len(availability(names(*tags)))


ARM = Gap("linux/arm/v7", "3.13.5", "glibc 2.36", "no wheel for armv7l")
SDIST = Archive("a", "1", "a-1.tar.gz", "https://h.example/a-1.tar.gz", "", "0" * 64, 3)
CFFI = Missing("cffi", "2.0", (ARM,), ("cffi-2.0-cp313-cp313-manylinux1_x86_64.whl",))
YAML = Missing("pyyaml", "6.0", (ARM,), ("pyyaml-6.0-cp313-cp313-manylinux1_x86_64.whl",), SDIST)


def test_the_one_error_names_everything() -> None:
    error = missing_error([CFFI, YAML], THREE)
    assert isinstance(error, MissingWheelsError)
    assert error.exit_code == 1
    assert error.what == "cffi 2.0, pyyaml 6.0 have no wheel for linux/arm/v7"
    assert error.fix.startswith("leave out what cannot be served: --platform linux/amd64,linux/arm64 (")
    assert error.detail == (
        "cffi 2.0\n"
        "  linux/arm/v7: no wheel for armv7l\n"
        "  has wheels for linux/amd64: Python 3.13\n"
        "  do: leave the platform out, or depend on something else\n"
        "pyyaml 6.0\n"
        "  linux/arm/v7: no wheel for armv7l\n"
        "  has wheels for linux/amd64: Python 3.13\n"
        "  do: make it pure: PYYAML_FORCE_LIBYAML=0 pip wheel --no-cache-dir --no-deps --no-binary pyyaml"
        " -w wheels pyyaml==6.0; and name wheels/ with --find-links"
    )
    assert error.extra["command"] == "--platform linux/amd64,linux/arm64"
    assert json.loads(json.dumps(error.extra["missing"]))[1] == to_json(YAML)
    again = pickle.loads(pickle.dumps(error))
    assert (again.what, again.extra) == (error.what, error.extra)


def test_many_are_counted_and_one_stands_alone() -> None:
    many = [Missing(each, "1", (ARM,)) for each in "abcde"]
    assert missing_error(many, THREE).what == "a 1, b 1, c 1 and 2 more have no wheel for linux/arm/v7"
    assert missing_error(many[:1], THREE).what == "a 1 has no wheel for linux/arm/v7"


def test_no_flag_where_no_platform_is_served() -> None:
    everywhere = Missing("a", "1", tuple(ARM._replace(platform=str(each.platform)) for each in THREE))
    assert platform_flag([everywhere], THREE) == ""
    error = missing_error([everywhere], THREE)
    assert error.what == "a 1 has no wheel for linux/amd64, linux/arm64, linux/arm/v7"
    assert "--platform" not in error.fix


def test_json_of_one() -> None:
    assert to_json(YAML) == {
        "name": "pyyaml",
        "version": "6.0",
        "missing_for": [
            {
                "platform": "linux/arm/v7",
                "python": "3.13.5",
                "libc": "glibc 2.36",
                "reason": "no wheel for armv7l",
            }
        ],
        "wheels_for": {"linux/amd64": ["3.13"]},
        "sdist": "a-1.tar.gz",
        "pin": "",
        "advice": advice(YAML),
    }


@pytest.mark.parametrize(
    ("missing", "part"),
    [
        (Missing("a", "2", (ARM,), pin="a==1"), "pin a==1: it has wheels, and nothing else changes"),
        (Missing("a", "2", (ARM,), (), SDIST), "build it to a wheel, if it has no machine code: pip wheel"),
        (
            Missing("a", "2", (ARM._replace(reason="too new", another_base=True),)),
            "use another base image for linux/arm/v7: too new",
        ),
        (Missing("a", "2", (ARM,), (), SDIST, note="x\nno gcc\n\nhint: y"), "did not help: no gcc"),
        (Missing("a", "2", (ARM,), ("a-2-py2-none-any.whl",), SDIST), "leave the platform out"),
    ],
)
def test_advice(missing: Missing, part: str) -> None:
    assert part in advice(missing)[0]
    assert len(advice(missing)) == 1

"""No name leads out of where it is put, and no two names mean one file."""

from __future__ import annotations

import os
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import WheelError
from hostbuild.wheels.names import file_name, find_clash, parse_wheel_name, why_unsafe

PARTS = st.one_of(
    st.sampled_from(["", ".", "..", "a", "A", "ä", "a\u0308", "C:", "~", "a\\b", "..\\x", "\0", "\n", "..."]),
    st.text(max_size=8),
)
PATHS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/..",
        "./a",
        "a//b",
        "a/",
        "",
        "..",
        "a\\..\\b",
        "\\\\server\\share",
        "C:/x",
        "c:x",
        "a\0.py",
        "a\nb",
        "\x7f",
        ".wh.x",
        "a/.wh..wh..opq",
        "a\ud800",
        "x" * 256,
        "a/" + "ü" * 128,
        "a/" * 600 + "a",
        "a/" * 64 + "a",
    ],
)
def test_unsafe_names_are_told(path: str) -> None:
    assert why_unsafe(path)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a/b.py",
        "..a/b..",
        "a/.hidden",
        "ünïcode/文.py",
        "a b/c,d",
        "ab:c",
        "x" * 255,
        "a" * 63 + "ü" * 96,
    ],
)
def test_ordinary_names_are_in_order(path: str) -> None:
    assert why_unsafe(path) == ""


@given(PATHS)
def test_a_name_that_is_in_order_stays_where_it_is_put(path: str) -> None:
    if why_unsafe(path):
        return
    put = posixpath.join("/image/site", path)
    assert posixpath.normpath(put) == put
    assert put.startswith("/image/site/")
    assert os.fsdecode(os.fsencode(path)) == path
    assert "\0" not in path


@given(st.lists(PATHS, max_size=6))
def test_names_without_a_clash_are_files_beside_each_other(paths: list[str]) -> None:
    names = [path for path in paths if not why_unsafe(path)]
    clash = find_clash(names)
    if clash is not None:
        assert set(clash) <= set(names)
        return
    assert len({name.casefold() for name in names}) == len(names)
    assert not any(other.casefold().startswith(name.casefold() + "/") for name in names for other in names)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "a"),
        ("A.py", "a.py"),
        ("p/Ä", "p/a\u0308"),
        ("a", "a/b"),
        ("a/b", "A"),
        ("straße", "STRASSE"),
        ("x/y/z", "x"),
    ],
)
def test_clashes_are_found(first: str, second: str) -> None:
    assert set(find_clash([first, "other", second]) or ()) == {first, second}


def test_directories_of_two_cases_are_no_clash() -> None:
    assert find_clash(["A/x", "a/y", "a/z/x"]) is None


def test_a_file_name_says_what_the_wheel_is() -> None:
    name = parse_wheel_name(
        "Foo_Bar-1.0.0+local.1-2b-cp39.cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    )
    assert (name.name, name.version, name.build) == ("foo-bar", "1.0.0+local.1", (2, "b"))
    assert {str(tag) for tag in name.tags} == {
        f"{python}-abi3-{platform}"
        for python in ("cp39", "cp310")
        for platform in ("manylinux_2_17_x86_64", "manylinux2014_x86_64")
    }


@pytest.mark.parametrize(
    "name",
    [
        "demo-1.0.tar.gz",
        "demo.whl",
        "demo-1.0-py3-none.whl",
        "demo-one-py3-none-any.whl",
        "-1.0-py3-none-any.whl",
        "../demo-1.0-py3-none-any.whl/x",
        "demo-1.0-py3-none-any.whl" + "x" * 256,
        "",
    ],
)
def test_other_file_names_are_refused(name: str) -> None:
    with pytest.raises(WheelError):
        parse_wheel_name(name)


def test_the_file_name_at_the_end_of_an_origin() -> None:
    assert (
        file_name("https://user:secret@host/a/demo-1.0%2Bx-py3-none-any.whl?sig=1#f")
        == "demo-1.0+x-py3-none-any.whl"
    )
    assert file_name("/a/b/demo.whl") == "demo.whl"
    assert file_name("demo.whl") == "demo.whl"

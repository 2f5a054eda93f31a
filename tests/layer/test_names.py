from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import SourceError
from hostbuild.model import Entry
from hostbuild.records import replace
from tests.layer.helpers import by_path, file, folder, layer, link


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "./a",
        "a/.",
        "a/./b",
        "..",
        "../a",
        "a/..",
        "a/../b",
        "a\0b",
        "a\0/b",
        "//",
    ],
)
def test_unsafe_names_are_refused(path: str) -> None:
    for entry in (file(path, b"x"), folder(path), link(path, "x")):
        with pytest.raises(SourceError) as caught:
            layer([replace(entry, origin="/somewhere/else")])
        assert "/somewhere/else" in caught.value.what
        assert caught.value.why


@pytest.mark.parametrize(
    "path", ["...", "..a", ".a", "a..", "a/...", "-", " ", "a b", "a\nb", "\\", "a/.../b"]
)
def test_odd_names_are_fine(path: str) -> None:
    assert layer([file(path)])[0].entries == 1


def test_a_bad_directory_is_seen_after_a_good_one() -> None:
    with pytest.raises(SourceError):
        layer([file("a/b"), file("a/../c")])


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["a", "a"], "twice"),
        (["b", "a"], "later name"),
        (["a/b", "a"], "later name"),
        (["a", "a/b", "a-b"], "later name"),
    ],
)
def test_order_is_that_of_the_bytes(paths: list[str], why: str) -> None:
    with pytest.raises(SourceError) as caught:
        layer([folder(path) for path in paths])
    assert why in caught.value.why
    assert f"/src/{paths[-1]}" in caught.value.what


def test_order_is_of_bytes_and_not_of_characters() -> None:
    # U+FF5E is EF BD 9E, U+1F600 is F0 9F 98 80, a lone byte FF is last; as text, FF's escape comes first.
    names = ["\uff5e", "\U0001f600", "\udcff"]
    assert sorted(names) != names
    assert layer([file(name) for name in names])[0].entries == 3
    with pytest.raises(SourceError):
        layer([file(name) for name in sorted(names)])


@pytest.mark.parametrize("leaf", [file("a", b"x"), link("a", "/etc")])
@pytest.mark.parametrize("between", [[], ["a-"], ["a!", "a-", "a-b"]])
def test_nothing_lies_below_what_is_no_directory(leaf: Entry, between: list[str]) -> None:
    with pytest.raises(SourceError) as caught:
        layer([leaf, *(file(name) for name in between), file("a/b")])
    assert "'a' in the same layer is not a directory" in caught.value.why


def test_names_that_only_begin_alike_are_fine() -> None:
    entries = [file("a"), file("a-"), folder("ab"), file("ab/c"), file("abc"), folder("b"), folder("b/c")]
    assert layer(entries)[0].entries == 7


def test_lone_surrogates_are_no_names() -> None:
    with pytest.raises(SourceError):
        layer([file("a\ud800")])


parts = st.sampled_from(["a", "b", "-", "a-", "a.", "0", "ab"])
paths = st.lists(st.lists(parts, min_size=1, max_size=3).map("/".join), unique=True, max_size=12)


@settings(max_examples=120, deadline=None)
@given(paths=paths, kinds=st.lists(st.booleans(), min_size=12, max_size=12))
def test_conflicts_are_found_exactly(paths: list[str], kinds: list[bool]) -> None:
    leaves = {path for path, leaf in zip(paths, kinds, strict=False) if leaf}
    entries = by_path(file(path) if path in leaves else folder(path) for path in paths)
    conflict = any(path.startswith(leaf + "/") for path in paths for leaf in leaves)
    if conflict:
        with pytest.raises(SourceError):
            layer(entries)
    else:
        assert layer(entries)[0].entries == len(paths)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import InvalidValueError
from hostbuild.oci.annotations import parse_annotations
from hostbuild.oci.platform import Platform
from tests.oci.samples import assert_explains

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


def test_each_place() -> None:
    found = parse_annotations(
        [
            "plain=1",
            "manifest:m=2",
            "manifest[linux/arm64/v8]:only=arm",
            "index:i=3",
            "index,manifest:both=4",
            "manifest[linux/amd64],index-descriptor:mixed=5",
            "manifest-descriptor:d=6",
            "index-descriptor:id=a=b:c",
            "index:empty=",
        ]
    )
    assert dict(found.index) == {"i": "3", "both": "4", "empty": ""}
    assert dict(found.index_descriptor) == {"mixed": "5", "id": "a=b:c"}
    assert dict(found.for_platform(AMD64)) == {"plain": "1", "m": "2", "both": "4", "mixed": "5"}
    assert dict(found.for_platform(ARM64)) == {"plain": "1", "m": "2", "both": "4", "only": "arm"}
    assert found.for_descriptor(ARM64) == (("d", "6"),)


def test_the_later_one_wins_and_one_platform_over_all() -> None:
    found = parse_annotations(["manifest[linux/arm64]:k=arm", "k=1", "k=2"])
    assert found.for_platform(AMD64) == (("k", "2"),)
    assert found.for_platform(ARM64) == (("k", "arm"),)


def test_nothing() -> None:
    found = parse_annotations([])
    assert found.index == found.index_descriptor == found.for_platform(AMD64) == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", '"="'),
        ("key", '"="'),
        ("=v", "key"),
        ("index:=v", "key"),
        (" k=v", "key"),
        ("k\n=v", "key"),
        ("layer:k=v", "layer"),
        ("org:k=v", "org"),
        (":k=v", "none of"),
        ("index,:k=v", "none of"),
        ("manifest[]:k=v", "platform"),
        ("manifest[linux/amd46]:k=v", "amd46"),
        ("manifest[linux/amd64:k=v", "none of"),
        ("index[linux/amd64]:k=v", "no platform"),
        ("index-descriptor:org.opencontainers.image.ref.name=x", "itself"),
    ],
)
def test_bad_ones(text: str, why: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_annotations(["a=b", text])
    assert why in caught.value.why
    assert repr(text) in caught.value.what
    assert caught.value.fix


def test_a_platform_that_is_not_built() -> None:
    found = parse_annotations(["manifest[linux/arm64]:k=v"])
    found.require_platforms([AMD64, ARM64])
    with pytest.raises(InvalidValueError, match="linux/arm64"):
        found.require_platforms([AMD64])


@given(st.text() | st.text(alphabet="index-manifest[]:,=/amd64", max_size=30))
def test_any_text_is_an_annotation_or_the_typed_error(text: str) -> None:
    try:
        assert parse_annotations([text]).entries
    except InvalidValueError as error:
        assert_explains(error)

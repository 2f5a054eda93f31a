from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import InvalidDocumentError, InvalidValueError
from hostbuild.oci.json import MAX_DEPTH, canonical, parse_object
from tests.oci.samples import assert_explains
from tests.oci.strategies import JSON


def test_canonical_form() -> None:
    assert canonical({"b": [1, "é\n"], "a": {"d": None, "c": True}}) == (
        '{"a":{"c":true,"d":null},"b":[1,"é\\n"]}'.encode()
    )


def test_order_of_keys_does_not_matter() -> None:
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_nan(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical({"a": number})


def test_bytes_from_the_command_line_are_a_typed_error() -> None:
    with pytest.raises(InvalidValueError, match="udcff"):
        canonical({"env": "A=\udcff"})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"{", "line 1, column 2"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a":1}x', "not JSON"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON"),
        (b'{"a":"\xff"}', "not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a":1,"a":1}', "'a' twice"),
        (b'{"x":[{"a":1,"b":2,"a":null}]}', "'a' twice"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b'{"a":1e999}', "1e999"),
        (b'{"a":' + b"9" * 5000 + b"}", "too long"),
        (b'{"a":"\\ud800"}', "not Unicode"),
        (b'{"\\uDC00":[]}', "not Unicode"),
        (b'{"a":' + b"[" * 100_000, "too deeply"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "too deeply"),
        (b'{"a":"' + b"x" * 100 + b'"}', "too large"),
    ],
)
def test_bad_documents(data: bytes, said: str) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        parse_object(data, "the thing", limit=100 if said == "too large" else 1_000_000)
    assert said in str(caught.value)
    assert "the thing" in caught.value.what
    assert caught.value.fix
    assert len(str(caught.value)) < 500


def test_the_deepest_that_is_allowed_can_be_written() -> None:
    data = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    assert canonical(parse_object(data, "x")) == data


def test_a_pair_of_surrogates_is_text() -> None:
    assert parse_object(b'{"a":"\\ud83d\\ude00"}', "x") == {"a": "\U0001f600"}


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_what_is_written_is_read(value: dict[str, Any]) -> None:
    data = canonical(value)
    assert parse_object(data, "x") == value
    assert canonical(parse_object(json.dumps(value, indent=2).encode(), "x")) == data


@given(st.binary())
def test_any_bytes_are_an_object_or_the_typed_error(data: bytes) -> None:
    try:
        canonical(parse_object(data, "x"))
    except InvalidDocumentError as error:
        assert_explains(error)

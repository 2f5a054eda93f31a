from __future__ import annotations

import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import InvalidDigestError
from hostbuild.oci.digest import Digest
from tests.oci.samples import assert_explains


def test_of_is_sha256() -> None:
    assert str(Digest.of(b"x")) == "sha256:" + hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("text", ["sha256:" + "0a" * 32, "sha512:" + "0a" * 64])
def test_parse_and_print(text: str) -> None:
    digest = Digest.parse(text)
    assert (str(digest), digest.algorithm, digest.hex) == (text, *text.split(":"))
    assert pickle.loads(pickle.dumps(digest)) == digest
    assert len({digest, Digest.parse(text)}) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", '":"'),
        ("sha256", '":"'),
        ("md5:" + "0" * 32, "algorithm"),
        ("SHA256:" + "0" * 64, "algorithm"),
        ("sha384:" + "0" * 96, "algorithm"),
        ("sha256:" + "0" * 63, "64 hex digits, not 63"),
        ("sha512:" + "0" * 64, "128 hex digits, not 64"),
        ("sha256:" + "A" * 64, "lower case"),
        ("sha256:" + "0" * 63 + "\n", "lower case"),
        ("sha256:" + "\u0660" * 64, "lower case"),
        ("sha256:../../" + "0" * 58, "lower case"),
    ],
)
def test_bad_ones_say_why(text: str, why: str) -> None:
    with pytest.raises(InvalidDigestError) as caught:
        Digest.parse(text)
    assert why in caught.value.why
    assert "sha256:" in caught.value.fix
    assert repr(text) in caught.value.what


def test_no_digest_holds_anything_else() -> None:
    with pytest.raises(InvalidDigestError):
        Digest("sha256", "../x")


def test_the_quote_is_bounded_and_harmless() -> None:
    with pytest.raises(InvalidDigestError) as caught:
        Digest.parse("\x1b[2J\n" + "a" * 100_000)
    assert len(caught.value.what) < 300
    assert caught.value.what.isprintable()


@given(st.text())
def test_any_text_is_a_digest_or_the_typed_error(text: str) -> None:
    try:
        assert str(Digest.parse(text)) == text
    except InvalidDigestError as error:
        assert_explains(error)


@given(st.binary())
def test_print_then_parse(data: bytes) -> None:
    digest = Digest.of(data)
    assert Digest.parse(str(digest)) == digest

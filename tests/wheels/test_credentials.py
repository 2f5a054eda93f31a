"""Who we are to a server is chosen by its URL, and shown nowhere."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import CredentialsError, InvalidValueError
from hostbuild.wheels.credentials import Credentials, read_netrc

PAIRS = (
    ("", "default:d"),
    ("index.example", "host:h"),
    ("index.example:8443", "port:p"),
    ("https://index.example/team", "team:t"),
    ("https://index.example/team/inner", "inner:i"),
    ("http://plain.example", "plain:p"),
    ("index.example", "later:l"),
)


def sent(url: str, pairs: tuple[tuple[str, str], ...] = PAIRS) -> str:
    """What is told to the server; the URL must then hold nothing of it."""
    bare, headers = Credentials(pairs).apply(url)
    assert "@" not in bare.partition("?")[0]
    if not headers:
        return ""
    kind, _, encoded = headers["Authorization"].partition(" ")
    assert kind == "Basic"
    return base64.b64decode(encoded).decode()


@pytest.mark.parametrize(
    ("url", "pair"),
    [
        ("https://index.example/x.whl", "host:h"),
        ("https://INDEX.example./x.whl", "host:h"),
        ("http://index.example/x.whl", "host:h"),
        ("https://index.example:8443/x.whl", "port:p"),
        ("https://index.example:9/x.whl", "host:h"),
        ("https://index.example/team/x.whl", "team:t"),
        ("https://index.example/team", "team:t"),
        ("https://index.example/team/inner/x.whl", "inner:i"),
        ("https://index.example/teamwork/x.whl", "host:h"),
        ("http://index.example/team/x.whl", "host:h"),
        ("http://plain.example/x", "plain:p"),
        ("https://plain.example/x", "default:d"),
        ("https://notindex.example/x", "default:d"),
        ("https://index.example.evil.example/x", "default:d"),
        ("https://me:mine@index.example/x", "me:mine"),
        ("https://me:@index.example/x", "me:"),
        ("https://m%40e:s%2Fx@index.example/x", "m@e:s/x"),
        ("https://host@index.example/x", "host:h"),
        ("https://token@index.example/x", "token:"),
    ],
)
def test_the_narrowest_place_counts(url: str, pair: str) -> None:
    assert sent(url) == pair


def test_others_get_nothing() -> None:
    assert sent("https://other.example/x", PAIRS[1:]) == ""
    assert Credentials().apply("https://h.example/a?b=c#d") == ("https://h.example/a?b=c", {})


@pytest.mark.parametrize("url", ["x.whl", "ftp://me:secret@h/x", "https:///x", "https://me:secret@h:99999/x"])
def test_what_is_no_url_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Credentials(PAIRS).apply(url)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_place_is_an_error(place: str, path: str) -> None:
    Credentials([(place, "u:secret"), (f"https://{place}", "u:secret")]).apply("https://h.example/x")
    assert "secret" not in repr(Credentials([(place, f"u:secret{path}")]))


def test_a_netrc_file(tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    path.write_text(
        "machine index.example login me password s3#cret\n"
        "machine other.example\n  login you\n  password x\n"
        "default login any password y\n"
    )
    pairs = read_netrc(str(path))
    assert set(pairs) == {("index.example", "me:s3#cret"), ("other.example", "you:x"), ("", "any:y")}
    assert sent("https://index.example/x", pairs) == "me:s3#cret"
    assert sent("https://elsewhere.example/x", pairs) == "any:y"


@pytest.mark.parametrize("content", [b"machine h login me secret x\n", b"secret\n", b"machine h login \xff"])
def test_a_broken_netrc_file_is_not_quoted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "netrc"
    path.write_bytes(content)
    with pytest.raises(CredentialsError) as caught:
        read_netrc(str(path))
    error: BaseException | None = caught.value
    assert str(path) in str(error)
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_missing_netrc_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError):
        read_netrc(str(tmp_path / "netrc"))

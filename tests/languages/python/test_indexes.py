"""pip's and uv's variables, a file's own sources, and the secrets in them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.languages.python.indexes import (
    credential_pairs,
    hide,
    resolving_variables,
    secrets,
    strip_user_info,
    unused_variables,
    uv_environment,
    without_index,
)
from hostbuild.languages.python.requirements import Sources


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"PIP_INDEX_URL": "https://a"}, {"UV_DEFAULT_INDEX": "https://a"}),
        ({"PIP_INDEX_URL": "https://a", "UV_DEFAULT_INDEX": "https://b"}, {"UV_DEFAULT_INDEX": "https://b"}),
        ({"PIP_INDEX_URL": "https://a", "UV_INDEX_URL": "https://b"}, {"UV_INDEX_URL": "https://b"}),
        ({"PIP_EXTRA_INDEX_URL": "https://a https://b"}, {"UV_INDEX": "https://a https://b"}),
        ({"PIP_FIND_LINKS": "/a  https://b"}, {"UV_FIND_LINKS": "/a,https://b"}),
        ({"PIP_CERT": "/c.pem"}, {"SSL_CERT_FILE": "/c.pem"}),
        ({"PIP_CERT": "/c.pem", "SSL_CERT_FILE": "/d.pem"}, {"SSL_CERT_FILE": "/d.pem"}),
        ({"PIP_KEYRING_PROVIDER": "auto"}, {"UV_KEYRING_PROVIDER": "subprocess"}),
        ({"PIP_TRUSTED_HOST": "a b"}, {"UV_INSECURE_HOST": "a b"}),
    ],
)
def test_pip_s_words_become_uv_s(given: dict[str, str], expected: dict[str, str]) -> None:
    found = uv_environment(given)
    assert {name: value for name, value in found.items() if name.startswith(("UV_", "SSL_"))} == {
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",
        "UV_NO_PROGRESS": "1",
        "UV_NO_WRAP": "1",
        **expected,
    }


def test_a_file_s_own_sources_come_first_and_add() -> None:
    sources = Sources()
    sources.index, sources.extra_indexes = "https://file", ["https://extra"]
    sources.find_links, sources.trusted_hosts = ["/links"], ["h"]
    found = uv_environment(
        {"UV_INDEX_URL": "https://env", "UV_INDEX": "https://one", "UV_FIND_LINKS": "/env"}, sources
    )
    assert found["UV_DEFAULT_INDEX"] == "https://file"
    assert "UV_INDEX_URL" not in found
    assert found["UV_INDEX"] == "https://one https://extra"
    assert found["UV_FIND_LINKS"] == "/env,/links"
    assert found["UV_INSECURE_HOST"] == "h"


def test_what_would_lead_uv_elsewhere_is_left_out() -> None:
    found = uv_environment({"VIRTUAL_ENV": "/v", "UV_PYTHON": "3.9", "UV_PROJECT": "/p", "PATH": "/bin"})
    assert found.keys() & {"VIRTUAL_ENV", "UV_PYTHON", "UV_PROJECT"} == set()
    assert found["PATH"] == "/bin"
    assert unused_variables({"UV_CONSTRAINT": "c.txt", "UV_OVERRIDE": ""}) == ("UV_CONSTRAINT",)


def test_no_index() -> None:
    assert without_index({"PIP_NO_INDEX": "1"})
    sources = Sources()
    assert not without_index({"PIP_NO_INDEX": "0"}, sources)
    sources.no_index = True
    assert without_index({}, sources)


def test_a_key_holds_no_secret() -> None:
    found = resolving_variables(
        {
            "PIP_INDEX_URL": "https://u:secret@host/simple",
            "UV_INDEX_A_PASSWORD": "secret",
            "UV_EXCLUDE_NEWER": "2026-01-01",
        }
    )
    assert found == {"UV_DEFAULT_INDEX": "https://host/simple", "UV_EXCLUDE_NEWER": "2026-01-01"}


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://u:p@host/x", "https://host/x"),
        ("https://token@host", "https://host"),
        ("https://u:p@ss@host/x@y", "https://host/x@y"),
        ("https://host/x@y", "https://host/x@y"),
        ("https://host?a=b@c", "https://host?a=b@c"),
        ("a=https://u:p@h/ https://v:w@i/", "a=https://h/ https://i/"),
        ("a @ https://u:p@h/x.whl", "a @ https://h/x.whl"),
        ("someone@host", "someone@host"),
    ],
)
def test_user_information_is_cut_out(url: str, bare: str) -> None:
    assert strip_user_info(url) == bare


PASSWORDS = st.text("abcXYZ019-._~!$%:@+", min_size=4, max_size=12)


@settings(deadline=None)
@given(PASSWORDS)
def test_no_password_is_shown(password: str) -> None:
    variables = {
        "UV_INDEX": f"https://user:{password}@host.example/simple",
        "UV_INDEX_X_TOKEN": password + "#",
    }
    hidden = secrets(variables, [f"https://{password}@other.example/x"])
    shown = hide(
        f"cannot reach https://user:{password}@host.example/simple with {password}# ({password})", hidden
    )
    assert password not in shown
    assert "host.example" in shown


def test_who_we_are_to_which_server() -> None:
    found = credential_pairs(
        {
            "UV_DEFAULT_INDEX": "https://u:p%40ss@one.example/simple",
            "UV_INDEX": "corp-eu=https://two.example:8443/simple https://t0ken@three.example/",
            "UV_INDEX_CORP_EU_USERNAME": "me",
            "UV_INDEX_CORP_EU_PASSWORD": "pw",
            "UV_INDEX_MINE_PASSWORD": "other",
        },
        ["https://a:b@four.example/x.whl", "https://five.example/"],
        {"mine": "https://six.example/simple"},
    )
    assert dict(found) == {
        "https://four.example/": "a:b",
        "https://one.example/": "u:p@ss",
        "https://three.example/": "t0ken:",
        "https://two.example:8443/": "me:pw",
        "https://six.example/": ":other",
    }

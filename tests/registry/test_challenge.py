from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.registry.challenge import MAX_HEADER, Challenge, choose_challenge, parse_challenges


def read(header: str) -> list[tuple[str, dict[str, str], str]]:
    return [(found.scheme, dict(found.parameters), found.token68) for found in parse_challenges(header)]


def test_what_docker_hub_says() -> None:
    header = (
        'Bearer realm="https://auth.example/token",service="registry.example",'
        'scope="repository:library/nginx:pull,push",error="insufficient_scope"'
    )
    (found,) = parse_challenges(header)
    assert found.scheme == "bearer"
    assert found.get("realm") == "https://auth.example/token"
    assert found.get("service") == "registry.example"
    assert found.get("scope") == "repository:library/nginx:pull,push"
    assert found.get("error") == "insufficient_scope"
    assert found.get("nothing") == ""


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("Basic", [("basic", {}, "")]),
        ('BASIC Realm="x"', [("basic", {"realm": "x"}, "")]),
        ('Basic realm="a, b", charset="UTF-8"', [("basic", {"realm": "a, b", "charset": "UTF-8"}, "")]),
        (r'Basic realm="say \"hi\" \\ now"', [("basic", {"realm": r'say "hi" \ now'}, "")]),
        ('Basic realm = "x" ,a= b', [("basic", {"realm": "x", "a": "b"}, "")]),
        # Several challenges in one header, and several headers, joined.
        (
            'Basic realm="r", Bearer realm="https://a/t",scope="x:y:pull,push"',
            [("basic", {"realm": "r"}, ""),
             ("bearer", {"realm": "https://a/t", "scope": "x:y:pull,push"}, "")],
        ),
        ("Negotiate, Basic realm=r", [("negotiate", {}, ""), ("basic", {"realm": "r"}, "")]),
        ("Negotiate YWJj==, NTLM", [("negotiate", {}, "YWJj=="), ("ntlm", {}, "")]),
        ('Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"',
         [("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}, ""),
          ("basic", {"realm": "simple"}, "")]),
        # What strays from the grammar.
        ("Bearer realm=https://a.example/t?x=y,service=s",
         [("bearer", {"realm": "https://a.example/t?x=y", "service": "s"}, "")]),
        ('Bearer realm="https://a/t', [("bearer", {"realm": "https://a/t"}, "")]),
        ('realm="lost"', []),
        ('realm="lost", Basic realm="r"', [("basic", {"realm": "r"}, "")]),
        ('Bearer realm="first",realm="second"', [("bearer", {"realm": "first"}, "")]),
        ('<>?, Basic realm="r"', [("basic", {"realm": "r"}, "")]),
        ('Bearer realm="",service=""', [("bearer", {"realm": "", "service": ""}, "")]),
    ],
)  # fmt: skip
def test_headers(header: str, expected: list[tuple[str, dict[str, str], str]]) -> None:
    assert read(header) == expected


def test_the_choice() -> None:
    basic = Challenge("basic", {"realm": "r"})
    bearer = Challenge("bearer", {"realm": "https://a/t"})
    assert choose_challenge((basic, bearer)) == bearer
    assert choose_challenge((bearer, basic)) == bearer
    assert choose_challenge((Challenge("negotiate"), basic)) == basic
    assert choose_challenge((Challenge("bearer"), basic)) == basic
    assert choose_challenge((Challenge("bearer"), Challenge("ntlm"))) is None
    assert choose_challenge(()) is None


TOKEN = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=12)
VALUE = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=30)
SPACE = st.sampled_from(["", " ", "  ", "\t"])


@st.composite
def rendered(draw: st.DrawFn) -> tuple[str, list[tuple[str, dict[str, str], str]]]:
    challenges, texts = [], []
    for _ in range(draw(st.integers(1, 4))):
        scheme = draw(TOKEN)
        parameters = draw(st.dictionaries(TOKEN.map(str.lower), VALUE, min_size=1, max_size=4))
        items = []
        for name, value in parameters.items():
            spelled = draw(st.sampled_from([name, name.upper()])) if name.isascii() else name
            if spelled.lower() != name:
                spelled = name
            quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
            bare = bool(value) and all(c in string.ascii_letters + string.digits for c in value)
            text = value if bare and draw(st.booleans()) else quoted
            items.append(f"{spelled}{draw(SPACE)}={draw(SPACE)}{text}")
        challenges.append((scheme.lower(), parameters, ""))
        texts.append(f"{scheme} " + f"{draw(SPACE)},{draw(SPACE)}".join(items))
    return f"{draw(SPACE)},{draw(SPACE)}".join(texts), challenges


@given(rendered())
def test_what_the_grammar_allows_is_read_as_it_was_meant(
    case: tuple[str, list[tuple[str, dict[str, str], str]]],
) -> None:
    header, expected = case
    assert read(header) == expected


@given(st.text(max_size=200) | st.text('"\\=, aB/:', max_size=60))
def test_nothing_makes_it_fail(header: str) -> None:
    for found in parse_challenges(header):
        assert found.scheme
        assert found.scheme == found.scheme.lower()


def test_a_header_of_any_length_is_read_to_a_bound() -> None:
    many = parse_challenges('a b="' + "\\" * 3_000_000)
    assert len(many) == 1
    assert len(many[0].get("b")) <= MAX_HEADER
    assert len(parse_challenges("a," * 1_000_000)) <= MAX_HEADER

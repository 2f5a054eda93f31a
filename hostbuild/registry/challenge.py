"""WWW-Authenticate: what a server asks for (RFC 7235, 4.1 and 2.1; Bearer's parameters: RFC 6750, 3).

    WWW-Authenticate = 1#challenge
    challenge        = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
    auth-param       = token BWS "=" BWS ( token / quoted-string )

Servers stray from it (URLs without quotes, empty list items): what can be understood is, the rest is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hostbuild.records import field, record

#: Characters of a header that are looked at.
MAX_HEADER = 64 * 1024

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SPACE = re.compile(r"[ \t\r\n]*")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_TOKEN68 = re.compile(r"([A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|\Z)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"?', re.DOTALL)
_BARE = re.compile(r'[^\s,"]*')
_JUNK = re.compile(r"[^,]*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@record
class Challenge:
    """One challenge: scheme and parameter names in lower case; `token68` is what some schemes have."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    token68: str = ""

    def get(self, name: str) -> str:
        """A parameter's value, "" where it is not given."""
        return self.parameters.get(name, "")


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """All challenges of a header's value (several headers are joined by commas), in order. Never raises."""
    text = header[:MAX_HEADER]
    found: list[tuple[str, dict[str, str], str]] = []
    position = 0
    while True:
        position = _skip_separators(text, position)
        if position >= len(text):
            break
        token = _TOKEN.match(text, position)
        if token is None:
            position = _after(_JUNK.match(text, position), position)
            continue
        equals = _EQUALS.match(text, token.end())
        if equals is not None and found:
            value, position = _value(text, equals.end())
            # The first one counts where a name comes twice: what was appended later does not replace it.
            found[-1][1].setdefault(token.group().lower(), value)
            continue
        if equals is not None:  # a parameter that belongs to no challenge
            _, position = _value(text, equals.end())
            continue
        found.append((token.group().lower(), {}, ""))
        position = token.end()
        after = _after(_SPACE.match(text, position), position)
        token68 = _TOKEN68.match(text, after) if after > position else None
        if token68 is not None:
            scheme, parameters, _ = found[-1]
            found[-1] = (scheme, parameters, token68.group(1))
            position = token68.end()
    return tuple(Challenge(*challenge) for challenge in found)


def choose_challenge(challenges: tuple[Challenge, ...]) -> Challenge | None:
    """The one to answer: Bearer with a realm before Basic, whatever their order; None where neither is
    offered.
    """
    for challenge in challenges:
        if challenge.scheme == "bearer" and challenge.get("realm"):
            return challenge
    for challenge in challenges:
        if challenge.scheme == "basic":
            return challenge
    return None


def _skip_separators(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n,":
        position += 1
    return position


def _value(text: str, position: int) -> tuple[str, int]:
    """A quoted string or a bare value (a token, and what servers forget to quote), and where it ends."""
    quoted = _QUOTED.match(text, position)
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted.group(1)), quoted.end()
    bare = _BARE.match(text, position)
    return (bare.group() if bare else ""), _after(bare, position)


def _after(match: re.Match[str] | None, position: int) -> int:
    return match.end() if match else position

"""The tokens of Go source, as far as a builder needs them (the Go specification, "Lexical elements").

Comments, all kinds of literals, automatic semicolons, CRLF and a byte order mark are understood;
bodies are hopped over bracket by bracket without making tokens. Operators that do not matter to
declarations come one character at a time. Offsets are bytes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hostbuild.errors import SourceError

_BOM = b"\xef\xbb\xbf"
_LETTERS = rb"A-Za-z_\x80-\xff"
_STRING = rb'"(?:[^"\\\n]++|\\[^\n])*+"'
_RAW = rb"`[^`]*+`"
_RUNE = rb"'(?:[^'\\\n]++|\\[^\n])++'"
_LINE_COMMENT = rb"//[^\n]*+"
_BLOCK_COMMENT = rb"/\*(?:[^*]++|\*(?!/))*+\*/"

#: White space and comments, possibly none. Used at a position, never to search.
BLANK = rb"(?:[ \t\r\n]++|" + _LINE_COMMENT + rb"|" + _BLOCK_COMMENT + rb")*+"
WORD = rb"[" + _LETTERS + rb"][0-9" + _LETTERS + rb"]*+"
TEXT = rb"(?:" + _STRING + rb"|" + _RAW + rb")"

_BLANK_AT = re.compile(BLANK).match
_TOKEN_AT = re.compile(
    rb"(?P<word>" + WORD + rb")"
    rb"|(?P<string>" + TEXT + rb")"
    rb"|(?P<rune>" + _RUNE + rb")"
    rb"|(?P<number>\.?[0-9](?:[eEpP][+-]|[0-9A-Za-z_.])*+)"
    rb"|(?P<operator>\.\.\.|<-|\+\+|--|[-+*%&|^<>=!~:,.;()\[\]{}]|/(?![/*]))"
).match
_HOP = re.compile(
    rb"(?:[^\"'`/()\[\]{}]++|"
    + rb"|".join((_STRING, _RAW, _RUNE, _LINE_COMMENT, _BLOCK_COMMENT, rb"/(?![/*])"))
    + rb")*+"
).match
_COMMENTS = re.compile(
    rb"|".join((_STRING, _RAW, _RUNE, _BLOCK_COMMENT, rb"(" + _LINE_COMMENT + rb")"))
).finditer

_KEYWORDS = (
    "break case chan const continue default defer else fallthrough for func go goto if import interface "
    "map package range return select struct switch type var"
)
KEYWORDS = frozenset(_KEYWORDS.split())
_ENDING_WORDS = frozenset(("break", "continue", "fallthrough", "return"))
_ENDING_OPERATORS = frozenset((")", "]", "}", "++", "--"))
_OPEN = b"([{"
_CLOSE = b")]}"


class Token(NamedTuple):
    """One token: kind is word, string, rune, number, operator or end; offset is where it begins."""

    kind: str
    text: str
    offset: int


def start_of(data: bytes) -> int:
    """Where the text begins: behind a byte order mark, if there is one."""
    return 3 if data.startswith(_BOM) else 0


def position(data: bytes, offset: int) -> tuple[int, int]:
    """Line and column (bytes), both from 1, as the go command counts them."""
    return data.count(b"\n", 0, offset) + 1, offset - data.rfind(b"\n", 0, offset)


def syntax_error(data: bytes, name: str, offset: int, message: str) -> SourceError:
    """The error to raise for what is wrong at `offset`; `what` begins with file:line:column."""
    line, column = position(data, offset)
    return SourceError(f"{name}:{line}:{column}: {message}", fix="correct the Go source")


def decode(data: bytes) -> str:
    """Source text as str; bytes that are not UTF-8 become what `os.fsencode` turns back."""
    return data.decode("utf-8", "surrogateescape")


def line_comments(data: bytes) -> list[bytes]:
    """Every `//` comment that really is one (not inside a literal or a block comment), without CR."""
    return [match[1].rstrip(b"\r") for match in _COMMENTS(data) if match[1] is not None]


class Scanner:
    """Reads tokens one after the other; a newline that ends a statement comes as operator `;`."""

    __slots__ = ("_ends", "data", "name", "pos")

    def __init__(self, data: bytes, name: str, pos: int | None = None) -> None:
        self.data = data
        self.name = name
        self.pos = start_of(data) if pos is None else pos
        self._ends = False

    def error(self, offset: int, message: str) -> SourceError:
        """The error for what is wrong at `offset`."""
        return syntax_error(self.data, self.name, offset, message)

    def next(self) -> Token:
        """The next token; of kind "end" when there is none. Raises SourceError for what is no token."""
        blank = _BLANK_AT(self.data, self.pos)
        offset = blank.end() if blank else self.pos
        at_end = offset >= len(self.data)
        if self._ends and (at_end or self.data.find(b"\n", self.pos, offset) >= 0):
            self._ends = False
            return Token("operator", ";", self.pos)
        if at_end:
            self.pos = offset
            return Token("end", "", offset)
        match = _TOKEN_AT(self.data, offset)
        if match is None:
            raise self.error(offset, self._complaint(offset))
        kind = match.lastgroup or "operator"
        text = decode(match[0])
        self.pos = match.end()
        if kind == "operator":
            self._ends = text in _ENDING_OPERATORS
        else:
            self._ends = kind != "word" or text not in KEYWORDS or text in _ENDING_WORDS
        return Token(kind, text, offset)

    def peek(self) -> Token:
        """The next token, without going past it."""
        pos, ends = self.pos, self._ends
        token = self.next()
        self.pos, self._ends = pos, ends
        return token

    def skip_brackets(self, opened: int) -> None:
        """Go past the bracket that closes the one just read at `opened`. SourceError if there is none."""
        data, pos, depth = self.data, self.pos, 1
        while depth:
            hop = _HOP(data, pos)
            pos = hop.end() if hop else pos
            if pos >= len(data):
                raise self.error(opened, f"no closing bracket for {chr(data[opened])!r}")
            if data[pos] in _OPEN:
                depth += 1
            elif data[pos] in _CLOSE:
                depth -= 1
            else:
                raise self.error(pos, self._complaint(pos))
            pos += 1
        self.pos = pos
        self._ends = True

    def _complaint(self, offset: int) -> str:
        first = chr(self.data[offset])
        if first in "\"'`":
            return "literal not terminated"
        if first == "/":
            return "comment not terminated"
        return f"unexpected character {first!r}"


_SIMPLE_ESCAPES = {
    b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v",
    b"\\": b"\\", b'"': b'"',
}  # fmt: skip
_ESCAPE = re.compile(
    rb"\\(?:([abfnrtv\\\"])|([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))", re.DOTALL
)


def unquote(literal: bytes) -> str:
    """The value of a string literal with its quotes ("…" or `…`). Raises ValueError if it has none."""
    inner = literal[1:-1]
    if literal[:1] == b"`":
        return decode(inner.replace(b"\r", b""))
    if b"\\" in inner:
        inner = _ESCAPE.sub(_unescape, inner)
    return decode(inner)


def _unescape(match: re.Match[bytes]) -> bytes:
    simple, octal, byte, short, long, bad = match.groups()
    if simple is not None:
        return _SIMPLE_ESCAPES[simple]
    if bad is not None:
        raise ValueError("unknown escape")
    if octal is not None or byte is not None:
        value = int(octal, 8) if octal is not None else int(byte, 16)
        return bytes((value,))  # ValueError above 255, as the specification has it
    return chr(int(short or long, 16)).encode("utf-8")  # ValueError for surrogates and above U+10FFFF

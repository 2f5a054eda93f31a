"""The tokens of Go source (the Go specification, "Lexical elements").

Comments, all kinds of literals, automatic semicolons, CRLF and a byte order mark are understood;
bodies are hopped over bracket by bracket without making tokens. Operators that do not matter to
declarations come one character at a time. Offsets are bytes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hostbuild.errors import SourceError
from hostbuild.languages.go.literals import (
    BLANK,
    BLOCK_COMMENT,
    LINE_COMMENT,
    RAW_STRING,
    RUNE,
    STRING,
    TEXT,
    WORD,
    decode,
    start_of,
    syntax_error,
)

_BLANK_AT = re.compile(BLANK).match
_TOKEN_AT = re.compile(
    rb"(?P<word>" + WORD + rb")"
    rb"|(?P<string>" + TEXT + rb")"
    rb"|(?P<rune>" + RUNE + rb")"
    rb"|(?P<number>\.?[0-9](?:[eEpP][+-]|[0-9A-Za-z_.])*)"
    rb"|(?P<operator>\.\.\.|<-|\+\+|--|[-+*%&|^<>=!~:,.;()\[\]{}]|/(?![/*]))"
).match
_ATOMS = rb"[^\"'`/()\[\]{}]++|" + rb"|".join(
    (STRING, RAW_STRING, RUNE, LINE_COMMENT, BLOCK_COMMENT, rb"/(?![/*])")
)
#: All that is no bracket, and pairs of brackets with none inside: most of a body in few steps.
_HOP = re.compile(rb"(?:" + _ATOMS + rb"|[(\[{](?:" + _ATOMS + rb")*[)\]}])*").match

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


class Scanner:
    """Reads tokens one after the other; a newline that ends a statement comes as operator `;`."""

    __slots__ = ("_ends", "_line", "_line_pos", "data", "name", "pos")

    def __init__(self, data: bytes, name: str, pos: int | None = None) -> None:
        self.data = data
        self.name = name
        self.pos = start_of(data) if pos is None else pos
        self._ends = False
        self._line = 1
        self._line_pos = 0

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of `offset`, counting on from the last one asked for, so ask in order."""
        if offset < self._line_pos:
            self._line, self._line_pos = 1, 0
        self._line += self.data.count(b"\n", self._line_pos, offset)
        self._line_pos = offset
        return self._line, offset - self.data.rfind(b"\n", 0, offset)

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

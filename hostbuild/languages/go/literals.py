"""The parts of Go source below tokens: white space, comments, literals, positions (the Go specification,
"Lexical elements").

Pieces of regular expressions over bytes, and what is read with them. Offsets are bytes. Patterns that
most builds do not need are compiled by their first use: compiling costs more than reading a file. Only single
characters are repeated possessively: for groups Python before 3.11.5 gets that wrong.
"""

from __future__ import annotations

import re

from hostbuild.errors import SourceError

_BOM = b"\xef\xbb\xbf"
_LETTERS = rb"A-Za-z_\x80-\xff"
STRING = rb'"(?:[^"\\\n]++|\\[^\n])*"'
RAW_STRING = rb"`[^`]*+`"
RUNE = rb"'(?:[^'\\\n]++|\\[^\n])+'"
LINE_COMMENT = rb"//[^\n]*+"
BLOCK_COMMENT = rb"/\*(?:[^*]++|\*(?!/))*\*/"

#: White space and comments, possibly none. Used at a position, never to search.
BLANK = rb"(?:[ \t\r\n]++|" + LINE_COMMENT + rb"|" + BLOCK_COMMENT + rb")*"
WORD = rb"[" + _LETTERS + rb"][0-9" + _LETTERS + rb"]*+"
WORD_END = rb"(?![0-9" + _LETTERS + rb"])"
TEXT = rb"(?:" + STRING + rb"|" + RAW_STRING + rb")"

_COMMENTS = rb"|".join((STRING, RAW_STRING, RUNE, BLOCK_COMMENT, rb"(" + LINE_COMMENT + rb")"))


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
    return [match[1].rstrip(b"\r") for match in re.finditer(_COMMENTS, data) if match[1] is not None]


_SIMPLE_ESCAPES = {
    b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v",
    b"\\": b"\\", b'"': b'"',
}  # fmt: skip
_ESCAPE = (
    rb"(?s)" + rb"\\(?:([abfnrtv\\\"])|([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))"
)


def unquote(literal: bytes) -> str:
    """The value of a string literal with its quotes ("…" or `…`). Raises ValueError if it has none."""
    inner = literal[1:-1]
    if literal[:1] == b"`":
        return decode(inner.replace(b"\r", b""))
    if b"\\" in inner:
        inner = re.sub(_ESCAPE, _unescape, inner)
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

"""Changing the text of a go.mod or go.work without losing what is not understood.

The syntax is that of https://go.dev/ref/mod#go-mod-file-lexical: directives on lines of their own or
in parenthesised blocks, `//` comments, words that may be quoted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from hostbuild.records import record


@record
class Line:
    """One directive: its verb, the words after it, the number of its line (from 0), whether in a block."""

    verb: str
    words: tuple[str, ...]
    number: int
    in_block: bool


def directives(text: str) -> Iterator[Line]:
    """All directives of a go.mod or go.work, in order. Block brackets and comments are left out."""
    block = ""
    for number, raw in enumerate(text.splitlines()):
        words = _words(raw)
        if not words:
            continue
        if block:
            if words == [")"]:
                block = ""
            else:
                yield Line(block, tuple(words), number, in_block=True)
        elif words[1:] == ["("] or words[0].endswith("("):
            block = words[0].removesuffix("(")
        elif words[1:] != ["(", ")"]:
            yield Line(words[0], tuple(words[1:]), number, in_block=False)


def rewrite(text: str, change: Callable[[Line], tuple[str, ...] | None]) -> str:
    """The text with each directive as `change` gives it: its words, the same words, or None to drop it."""
    lines = text.splitlines()
    for line in list(directives(text)):
        words = change(line)
        if words is None:
            lines[line.number] = ""
        elif words != line.words:
            shown = " ".join(quote(word) for word in words)
            lines[line.number] = f"\t{shown}" if line.in_block else f"{line.verb} {shown}"
    return "\n".join(lines) + "\n"


def quote(word: str) -> str:
    """A word as it may stand in such a file, quoted where it must be."""
    plain = word and not any(sign in word for sign in " \t\"'`(),") and "//" not in word
    return word if plain else json.dumps(word, ensure_ascii=False)


def _words(line: str) -> list[str]:
    words: list[str] = []
    position, end = 0, len(line)
    while position < end:
        sign = line[position]
        if sign.isspace():
            position += 1
        elif line.startswith("//", position):
            break
        elif sign in '"`':
            close = line.find(sign, position + 1)
            close = end if close < 0 else close
            words.append(line[position + 1 : close])
            position = close + 1
        elif sign in "(),":
            words.append(sign)
            position += 1
        else:
            start = position
            while position < end and not line[position].isspace() and line[position] not in "(),":
                if line.startswith("//", position):
                    break
                position += 1
            words.append(line[start:position])
    return words

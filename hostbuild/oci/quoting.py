"""Foreign text in our messages: bounded in length, one line, without control characters."""

from __future__ import annotations

#: Characters of a foreign text that a message shows.
MAX_SHOWN = 120


def quote(text: str) -> str:
    """`text` in quotes, with what a terminal would obey escaped, cut after MAX_SHOWN characters."""
    if len(text) <= MAX_SHOWN:
        return repr(text)
    return f"{text[:MAX_SHOWN]!r}… ({len(text)} characters)"


def describe(value: object) -> str:
    """A JSON value as a message shows it: texts and small numbers themselves, others by their kind."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**30 else "a very large number"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "an array"
    return f"a {type(value).__name__}"

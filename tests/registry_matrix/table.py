"""The fault matrix as data: what a fault between hostbuild and a registry ends in, for each operation.

`tests/registry_matrix` makes each cell happen against a real registry; `scripts/fault_matrix` prints this
table for docs/registries.md. Nothing but the standard library is imported, so that the script runs anywhere.
"""

from __future__ import annotations

from typing import NamedTuple

OPERATIONS = ("pull manifest", "pull blob", "push blob", "push manifest", "whole push")

#: The bytes are right in the end.
RIGHT = "right"
#: Errors by their class in hostbuild.errors, with the exit code that a user sees.
AUTHENTICATION = "AuthenticationError"
ABSENT = "NotInRegistryError"
REFUSED = "RegistryError"
PROTOCOL = "ProtocolError"
CORRUPT = "CorruptBlobError"
UNREACHABLE = "UnreachableError"
EXIT_CODES = {AUTHENTICATION: 1, ABSENT: 1, REFUSED: 1, PROTOCOL: 1, CORRUPT: 1, UNREACHABLE: 75}
#: The fault cannot happen in this operation.
NEVER = ""


class Row(NamedTuple):
    """A fault (a key of `actions.ACTIONS`), in words, how often it happens, and what each operation ends in.

    A whole push meets the fault at the bodies of its blobs, where the row's words say nothing else.
    """

    fault: str
    words: str
    times: str
    outcomes: tuple[str, str, str, str, str]


ONCE, ALWAYS = "once", "always"
_ALL_RIGHT = (RIGHT,) * 5
_ALL_UNREACHABLE = (UNREACHABLE,) * 5
_PULLS_RIGHT = (RIGHT, RIGHT, NEVER, NEVER, NEVER)
_BLOBS_RIGHT = (NEVER, NEVER, RIGHT, NEVER, RIGHT)
_LATER = (408, 429, 499, 500, 502, 503, 504, 522)

ROWS: tuple[Row, ...] = (
    Row("401", "401 with a challenge", ONCE, _ALL_RIGHT),
    Row("401", "401 with a challenge", ALWAYS, (AUTHENTICATION,) * 5),
    Row("expiry", "the token ends meanwhile, earlier than was said", ONCE, _ALL_RIGHT),
    Row("403", "403", ONCE, (RIGHT, RIGHT, AUTHENTICATION, AUTHENTICATION, AUTHENTICATION)),
    Row("403", "403", ALWAYS, (AUTHENTICATION,) * 5),
    Row("404", "404", ONCE, (ABSENT, ABSENT, RIGHT, ABSENT, RIGHT)),
    Row("404", "404", ALWAYS, (ABSENT,) * 5),
    Row("416", "416", ONCE, (REFUSED, PROTOCOL, RIGHT, REFUSED, RIGHT)),
    Row("416", "416", ALWAYS, (REFUSED, PROTOCOL, REFUSED, REFUSED, REFUSED)),
    *(Row(f"{code}", f"{code}", ONCE, _ALL_RIGHT) for code in _LATER),
    *(Row(f"{code}", f"{code}", ALWAYS, _ALL_UNREACHABLE) for code in (429, 500, 503, 522)),
    Row("429 seconds", "429, Retry-After 1 second", ONCE, _ALL_RIGHT),
    Row("429 date", "429, Retry-After with a date", ONCE, _ALL_RIGHT),
    Row("429 too long", "429, Retry-After longer than there is time", ALWAYS, _ALL_UNREACHABLE),
    Row("503 every third", "503 at every third request", ALWAYS, _ALL_RIGHT),
    Row("html", "200 with a web page", ONCE, (PROTOCOL, PROTOCOL, PROTOCOL, REFUSED, PROTOCOL)),
    Row("502 html", "502 with a web page", ONCE, _ALL_RIGHT),
    Row("refused", "nobody listens", ALWAYS, _ALL_UNREACHABLE),
    Row("reset before", "reset before the body is read", ONCE, _ALL_RIGHT),
    Row("reset before", "reset before the body is read", ALWAYS, _ALL_UNREACHABLE),
    Row("reset in body", "reset in the middle of the body", ONCE, (NEVER, NEVER, RIGHT, RIGHT, RIGHT)),
    Row(
        "reset in body",
        "reset in the middle of the body",
        ALWAYS,
        (NEVER, NEVER, RIGHT, UNREACHABLE, RIGHT),
    ),
    Row(
        "no progress in body",
        "reset at the same byte of each body",
        ALWAYS,
        (NEVER, NEVER, UNREACHABLE, UNREACHABLE, UNREACHABLE),
    ),
    Row("reset after", "reset after the body, before the answer", ONCE, _ALL_RIGHT),
    Row(
        "reset after",
        "reset after the body, before the answer",
        ALWAYS,
        (UNREACHABLE, UNREACHABLE, RIGHT, UNREACHABLE, RIGHT),
    ),
    Row("reset in answer", "reset in the middle of the answer", ONCE, _PULLS_RIGHT),
    Row(
        "reset in answer",
        "reset in the middle of the answer",
        ALWAYS,
        (UNREACHABLE, RIGHT, NEVER, NEVER, NEVER),
    ),
    Row(
        "no progress",
        "reset at the same byte of each answer",
        ALWAYS,
        (UNREACHABLE, UNREACHABLE, NEVER, NEVER, NEVER),
    ),
    Row("truncated", "the answer is cut short", ONCE, _PULLS_RIGHT),
    Row("truncated", "the answer is cut short", ALWAYS, (UNREACHABLE, RIGHT, NEVER, NEVER, NEVER)),
    Row("wrong byte", "a wrong byte in the answer", ONCE, (PROTOCOL, CORRUPT, NEVER, NEVER, NEVER)),
    Row(
        "wrong byte by digest",
        "a wrong byte in what was asked for by digest",
        ONCE,
        (CORRUPT, CORRUPT, NEVER, NEVER, NEVER),
    ),
    Row("damaged body", "a wrong byte in what is sent", ONCE, (NEVER, NEVER, RIGHT, REFUSED, RIGHT)),
    Row("damaged body", "a wrong byte in what is sent", ALWAYS, (NEVER, NEVER, REFUSED, REFUSED, REFUSED)),
    Row("length too large", "Content-Length too large", ONCE, (RIGHT, PROTOCOL, NEVER, NEVER, NEVER)),
    Row("length too small", "Content-Length too small", ONCE, (PROTOCOL, PROTOCOL, NEVER, NEVER, NEVER)),
    Row("more bytes", "more bytes than there should be", ONCE, (PROTOCOL, PROTOCOL, NEVER, NEVER, NEVER)),
    Row(
        "endless",
        "more bytes than a manifest may have, without a length",
        ONCE,
        (PROTOCOL, PROTOCOL, NEVER, NEVER, NEVER),
    ),
    Row("chunked", "an answer without Content-Length", ALWAYS, _PULLS_RIGHT),
    Row("slow", "slow loris: the answer comes byte by byte", ALWAYS, _PULLS_RIGHT),
    Row("late", "a late answer", ALWAYS, _ALL_RIGHT),
    Row("silence", "silence in place of an answer", ONCE, _ALL_RIGHT),
    Row("silence", "silence in place of an answer", ALWAYS, _ALL_UNREACHABLE),
    Row("silence in answer", "silence in the middle of the answer", ONCE, _PULLS_RIGHT),
    Row("cap 413", "a proxy takes no bodies above a limit: 413", ALWAYS, _BLOBS_RIGHT),
    Row("cap reset", "a proxy takes no bodies above a limit: reset", ALWAYS, _BLOBS_RIGHT),
    Row("chunk 416", "416 for a chunk in mid-upload", ONCE, _BLOBS_RIGHT),
    Row("chunk lost", "reset in the middle of a chunk", ONCE, _BLOBS_RIGHT),
    Row("chunk answer lost", "reset after a chunk, before the answer", ONCE, _BLOBS_RIGHT),
    Row("no chunks", "bodies capped, and chunks refused", ALWAYS, (NEVER, NEVER, REFUSED, NEVER, REFUSED)),
    Row("redirect", "redirect to another host", ALWAYS, _ALL_RIGHT),
    Row("redirect 302", "redirect (302) of a pull to another host", ALWAYS, _PULLS_RIGHT),
    Row("redirect upload", "the start of an upload leads to another host", ALWAYS, _BLOBS_RIGHT),
    Row(
        "redirect challenge",
        "the other host asks for a login",
        ALWAYS,
        (AUTHENTICATION,) * 5,
    ),
    Row("location elsewhere", "Location at another host", ALWAYS, _BLOBS_RIGHT),
    Row("circles", "redirect in circles", ALWAYS, (PROTOCOL,) * 5),
    Row("no range", "broken off; then Range is ignored", ONCE, (NEVER, RIGHT, NEVER, NEVER, NEVER)),
    Row("earlier range", "broken off; then an earlier Range", ONCE, (NEVER, RIGHT, NEVER, NEVER, NEVER)),
    Row("later range", "broken off; then a later Range", ONCE, (NEVER, RIGHT, NEVER, NEVER, NEVER)),
    Row("range 416", "broken off; then 416", ONCE, (NEVER, RIGHT, NEVER, NEVER, NEVER)),
    Row("location absolute", "Location with scheme and host", ALWAYS, _BLOBS_RIGHT),
    Row("location relative", "Location as a path", ALWAYS, _BLOBS_RIGHT),
    Row("location document", "Location relative to the request's path", ALWAYS, _BLOBS_RIGHT),
    Row("location query", "Location with a query of its own", ALWAYS, _BLOBS_RIGHT),
    Row("location missing", "no Location", ALWAYS, (NEVER, NEVER, PROTOCOL, NEVER, PROTOCOL)),
    Row("mount 201", "a mount is answered 201", ALWAYS, _BLOBS_RIGHT),
    Row("mount 202", "a mount is answered 202", ALWAYS, _BLOBS_RIGHT),
    Row("mount 404", "a mount is answered 404", ALWAYS, _BLOBS_RIGHT),
    Row("mount untrue", "a mount is answered 201 untruly", ALWAYS, (NEVER, NEVER, NEVER, NEVER, ABSENT)),
    Row(
        "other digest",
        "Docker-Content-Digest of something else",
        ALWAYS,
        (PROTOCOL, NEVER, REFUSED, REFUSED, REFUSED),
    ),
    Row("no digest", "no Docker-Content-Digest", ALWAYS, _ALL_RIGHT),
    Row("moved", "the tag is moved in between", ONCE, (RIGHT, NEVER, NEVER, RIGHT, RIGHT)),
    Row(
        "pushed meanwhile",
        "somebody else pushes the same meanwhile",
        ONCE,
        (NEVER, NEVER, RIGHT, RIGHT, RIGHT),
    ),
    Row("lost blob", "a blob is deleted in mid-push", ONCE, (NEVER, NEVER, NEVER, NEVER, ABSENT)),
)


class Cell(NamedTuple):
    """One operation under one fault, and what it must end in."""

    row: Row
    operation: str
    outcome: str

    @property
    def name(self) -> str:
        """For people and for test identifiers."""
        return f"{self.operation}, {self.row.fault} {self.row.times}"


CELLS = tuple(
    Cell(row, operation, outcome)
    for row in ROWS
    for operation, outcome in zip(OPERATIONS, row.outcomes, strict=True)
    if outcome != NEVER
)


def shown(outcome: str) -> str:
    """An outcome as the documentation shows it."""
    if outcome == NEVER:
        return "-"
    return outcome if outcome == RIGHT else f"{outcome} ({EXIT_CODES[outcome]})"


def to_markdown() -> str:
    """The table of the documentation."""
    lines = [
        f"| fault | how often | {' | '.join(OPERATIONS)} |",
        f"| --- | --- |{' --- |' * len(OPERATIONS)}",
    ]
    lines += [
        f"| {row.words} | {row.times} | {' | '.join(shown(outcome) for outcome in row.outcomes)} |"
        for row in ROWS
    ]
    return "\n".join(lines) + "\n"


BEGIN = "<!-- fault matrix: printed by scripts/fault_matrix -->\n"
END = "<!-- end of the fault matrix -->\n"


def in_page(page: str) -> str:
    """The page's text with the table between its two marks made anew."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"the page lacks the marks {BEGIN.strip()} and {END.strip()}")
    return f"{head}{BEGIN}\n{to_markdown()}\n{END}{tail}"

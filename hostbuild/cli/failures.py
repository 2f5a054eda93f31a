"""How a command that fails says so: a few lines for people, or one JSON object for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hostbuild.errors import HostbuildError


class Failure(NamedTuple):
    """What happened, why, what a tool said, what to do, and the exit code; `trace` is for `-v`."""

    what: str
    why: str = ""
    fix: str = ""
    detail: str = ""
    platform: str = ""
    exit_code: int = 1
    retryable: bool = False
    interrupted: bool = False
    trace: str = ""

    @classmethod
    def of(cls, error: HostbuildError) -> Failure:
        """The failure that an error is."""
        return cls(
            error.what,
            error.why,
            error.fix,
            error.detail,
            error.platform,
            error.exit_code,
            error.retryable,
        )


def wants_json(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether `--progress rawjson` is asked for, also in a command line that cannot be understood."""
    progress = environ.get("HOSTBUILD_PROGRESS", "")
    for number, word in enumerate(argv):
        if word == "--":
            break
        if word.startswith("--progress="):
            progress = word.partition("=")[2]
        elif word == "--progress":
            progress = "".join(argv[number + 1 : number + 2])
    return progress == "rawjson"


def say(failure: Failure, *, as_json: bool) -> None:
    """Say it on standard error."""
    if as_json:
        from hostbuild.cli.rawjson import write_line

        data = {
            "why": failure.why,
            "fix": failure.fix,
            "detail": failure.detail,
            "exitCode": failure.exit_code,
            "retryable": failure.retryable,
            **({"traceback": failure.trace} if failure.trace else {}),
        }
        write_line(sys.stderr, "error", failure.what, failure.platform, data)
    elif failure.interrupted:
        _say(f"{failure.what}; {failure.why}")
    else:
        named = failure.platform and failure.platform not in failure.what
        _say(f"error: {f'{failure.platform}: ' if named else ''}{failure.what}")
        if failure.why:
            _say(f"  why: {failure.why}")
        if failure.detail:
            _say(failure.detail.rstrip("\n"))
        if failure.fix:
            _say(f"  fix: {failure.fix}")
        if failure.trace:
            _say(failure.trace.rstrip("\n"))


def _say(line: str) -> None:
    sys.stderr.write(f"{printable(clean(line))}\n")


def clean(text: str) -> str:
    """Without the user and password of an address, wherever the text comes from."""
    if "@" not in text:
        return text
    from hostbuild.redact import redact

    return redact(text)


def printable(text: str) -> str:
    """Text that any terminal can print: what is not UTF-8, or moves the cursor, is escaped."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    return "".join(char if char in "\n\t" or char.isprintable() else ascii(char)[1:-1] for char in safe)

"""A Procfile's commands, and how each is started without a shell where it needs none.

Sources: Heroku's documentation, "The Procfile" (NAME: COMMAND, one a line); POSIX, "Shell Command Language".
"""

from __future__ import annotations

import shlex
from typing import NamedTuple

from hostbuild.errors import DetectionError
from hostbuild.patterns import late

FILE_NAME = "Procfile"

_LINE = late(r"([A-Za-z0-9_-]+)\s*:\s*(.*)")
_ASSIGNMENT = late(r"""\s*[A-Za-z_]\w*=(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\])*(?=\s)""")
_WORD = late(r"[^\s'\"$`\\(){}<>|&;*?\[\]#~]+")
_PYTHON = late(r"python3?")

#: Words that the shell alone understands: `exec` before them would start nothing.
_SHELL_WORD = late(
    r"[!.:{}]|alias|case|cd|command|do|done|elif|else|esac|eval|exec|exit|export|fi|for|function|if|in|read|readonly"
    r"|return|set|shift|source|then|time|trap|ulimit|umask|unset|until|wait|while"
)


def parse_procfile(data: bytes) -> dict[str, str]:
    """The commands by their names ("web"). Lines that are none are passed over, as Heroku does.

    Raises DetectionError for what is no text, and for a name that has two commands.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DetectionError(f"{FILE_NAME} is not UTF-8", why=str(error)) from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line.strip())
        if match is None or not match[2]:
            continue
        if match[1] in found:
            raise DetectionError(
                f"{FILE_NAME}:{number}: a second line {match[1]}:", fix="leave one of the two"
            )
        found[match[1]] = match[2]
    return found


def command(text: str, *, interpreter: str, shell: str) -> tuple[str, ...]:
    """The words that start a Procfile's command.

    What only a shell understands ($PORT, pipes, several commands) is handed to `shell`, an absolute path, or
    "" where the base has none. The last command is put in the shell's place (exec), so that signals reach it.
    `python` and `python3` are `interpreter`, whatever the base calls it.

    Raises DetectionError for text that no shell understands, and for text that needs one that is not there.
    """
    scan = _scan(text)
    commands = [_Command.of(text[start:end]) for start, end in zip(scan.starts, scan.ends, strict=True)]
    last = commands[-1]
    replaced = last.text[len("exec") :].strip() if last.word == "exec" and scan.may_exec else ""
    if replaced and not replaced.startswith("-"):
        last = commands[-1] = _Command.of(replaced, last.head)
    if not scan.needs_shell and not last.head.strip() and not _SHELL_WORD.fullmatch(last.word):
        words = shlex.split(last.text)
        if words:
            return (interpreter if _PYTHON.fullmatch(words[0]) else words[0], *words[1:])
    if not shell:
        raise DetectionError(
            f"{FILE_NAME}: {text!r} needs a shell",
            why="the base image has no /bin/sh",
            fix="write it without $, pipes and several commands, or name another base with --base",
        )
    python = shlex.quote(interpreter)
    parts = [each.head + each.with_python(python) for each in commands]
    if scan.may_exec and last.word and not _SHELL_WORD.fullmatch(last.word):
        parts[-1] = f"{last.head.rstrip()} exec {last.with_python(python)}"
    return (shell, "-c", "".join(parts).strip())


class _Command(NamedTuple):
    """One command of a line: `head` is what it assigns, `word` its first word where that is plain, or ""."""

    head: str
    word: str
    text: str

    @classmethod
    def of(cls, text: str, head: str = "") -> _Command:
        at = 0
        while match := _ASSIGNMENT.match(text, at):
            at = match.end()
        rest = text[at:].lstrip()
        head += text[: len(text) - len(rest)]
        found = _WORD.match(rest)
        is_plain = found is not None and rest[found.end() : found.end() + 1] in ("", " ", "\t", ";", "&", "|")
        return cls(head, found[0] if found and is_plain else "", rest)

    def with_python(self, python: str) -> str:
        return python + self.text[len(self.word) :] if _PYTHON.fullmatch(self.word) else self.text


class _Scan(NamedTuple):
    """What a line asks of a shell. `starts` are where its commands begin.

    `may_exec` tells that the last command takes the shell's place as well as not.
    """

    needs_shell: bool
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    may_exec: bool


def _scan(text: str) -> _Scan:
    """Find what is the shell's business: in double quotes it is $, ` and backslashes alone."""
    needs_shell = any(mark in text for mark in "$`\\")
    nested = "$(" in text or "`" in text
    if nested and any(mark in text for mark in "&|;"):
        # Commands in commands may hold operators of their own, which are not the line's.
        return _Scan(True, (0,), (len(text),), False)
    starts, may_exec, at, blank = [0], True, 0, True
    while at < len(text):
        char, step = text[at], 1
        if char in "'\"":
            step = _quoted(text, at)
        elif char == "\\":
            step = 2
        elif text.startswith("${", at):
            step = max(text.find("}", at) - at + 1, 2)
        elif char in "<>":
            needs_shell = True
            step = 2 if text[at + 1 : at + 2] in ("&", "<", ">", "|") else 1
        elif char in "&|;":
            needs_shell = True
            step = 2 if text.startswith(("&&", "||"), at) else 1
            may_exec = may_exec and text[at : at + step] in ("&&", ";")
            starts.append(at + step)
        elif char == "#" and blank:
            needs_shell = True
            break
        elif char in "*?[](){}" or (blank and char in "~!"):
            needs_shell = True
        blank = char in " \t;&|("
        at += step
    if starts[-1] >= len(text.rstrip()):  # a separator ends the line
        may_exec = False
    return _Scan(needs_shell, tuple(starts), (*starts[1:], len(text)), may_exec)


def _quoted(text: str, start: int) -> int:
    """How many characters a quoted part takes, its quotes included."""
    quote, at = text[start], start + 1
    while at < len(text) and text[at] != quote:
        at += 2 if quote == '"' and text[at] == "\\" else 1
    if at >= len(text):
        raise DetectionError(f"{FILE_NAME}: {text!r} has a quote without its end", fix="close it")
    return at - start + 1

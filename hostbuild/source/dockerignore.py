r"""The patterns of .dockerignore, as Docker matches them.

Rules: Docker's manual ("dockerignore file"), and where that is silent what moby's ignorefile and
patternmatcher do, asked as its builders ask them: from the root down, each name with what is known of its
parent. Matching is by characters. A line is trimmed, made clean as a path, and anchored at the root; `*`
and `?` stop at slashes; `**` stands for any number of directories; a leading `!` makes an exception, also
below what is left out; the last line that matches decides.

One thing is taken from the manual and not from the code: a backslash makes any character literal (moby
hands `\d` on to its regular expressions, where it means a digit).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.errors import IgnoreFileError
from hostbuild.source.names import decode, show

if TYPE_CHECKING:
    from hostbuild.source.ignore import Matched

_BOM = "\ufeff"

#: What Go's strings.TrimSpace removes: Unicode's White_Space.
_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


class _PatternError(ValueError):
    """Why a pattern cannot be understood."""


class _Rule(NamedTuple):
    ignore: bool
    text: str
    match: Callable[[str], object]


class DockerPatterns:
    """The patterns of one .dockerignore, for paths relative to the root."""

    def __init__(self, data: bytes, name: str = ".dockerignore") -> None:
        """Parse the file's content. Raises IgnoreFileError naming file and line."""
        self._rules: list[_Rule] = []
        for number, line in enumerate(decode(data).removeprefix(_BOM).split("\n"), 1):
            if line.startswith("#"):
                continue
            pattern = line.strip(_SPACE)
            ignore = not pattern.startswith("!")
            pattern = _clean(pattern[not ignore :].strip(_SPACE))
            # Trimmed once more when it is compiled, an exception then with its mark before it.
            pattern = _clean(pattern.strip(_SPACE) if ignore else pattern.rstrip(_SPACE))
            if not pattern and ignore:
                continue
            try:
                self._rules.append(_Rule(ignore, pattern, _matcher(pattern)))
            except _PatternError as error:
                raise IgnoreFileError(
                    f"line {number} of {name} cannot be understood: {show(line.strip(_SPACE))}",
                    why=str(error),
                    fix="correct the pattern; a backslash makes the next character literal",
                ) from None
        self._exceptions = [rule.text for rule in self._rules if not rule.ignore]

    def top(self) -> Matched:
        """What is known at the root, which no pattern matches."""
        return (False,) * len(self._rules)

    def decide(
        self,
        path: bytes,
        name: bytes,
        *,
        is_dir: bool,
        parent: Matched,
    ) -> tuple[bool | None, Matched]:
        """Whether `path` is left out (True) or an exception (False); None: no pattern matches.

        `parent` is what this gave for the directory above, `top` for the root; the second value is to be
        handed on to what is below.
        """
        del name, is_dir
        text = decode(path)
        decision: bool | None = None
        matched: list[bool] = []
        for rule, above in zip(self._rules, parent, strict=True):
            # An exception is asked only for what is left out so far, a pattern only for what is not.
            match = above or (rule.ignore != (decision is True) and bool(rule.match(text)))
            matched.append(match)
            if match:
                decision = rule.ignore
        return decision, tuple(matched)

    def may_except_below(self, path: bytes) -> bool:
        """Whether an exception could match something below this directory, which is left out."""
        parts = decode(path).split("/")
        return any(_may_match_below(exception, parts) for exception in self._exceptions)

    def plain(self) -> None:
        """There is nothing: patterns match whole paths."""


def _clean(pattern: str) -> str:
    """As Go's filepath.Clean, without the leading slash; "" for nothing and for the root."""
    if not pattern:
        return ""
    # normpath keeps two leading slashes, Go one.
    clean = posixpath.normpath("/" + pattern.lstrip("/") if pattern.startswith("/") else pattern)
    return clean.removeprefix("/")


def _may_match_below(pattern: str, parts: list[str]) -> bool:
    wanted = pattern.split("/")
    for index, part in enumerate(parts):
        if index >= len(wanted):
            return False
        piece = wanted[index]
        if "**" in piece or "[" in piece or "\\" in piece:
            return True
        if not re.fullmatch(_simple(piece), part, re.DOTALL):
            return False
    return len(wanted) > len(parts)


def _simple(piece: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in piece)


def _matcher(pattern: str) -> Callable[[str], object]:
    """What matches a whole path. Raises _PatternError."""
    if not pattern:
        raise _PatternError("an exception needs a pattern after the exclamation mark")
    regex, special = _translate(pattern)
    if not special:
        return pattern.__eq__
    if pattern.startswith("**") and not re.search(r"[*?\[\]\\]", pattern[2:]):
        # Not as the manual says, yet as Docker does: "**x" is whatever ends in "x", and "**/x" likewise.
        suffix = pattern[2:]
        return lambda path: path.endswith(suffix) or path == suffix.removeprefix("/")
    return re.compile(regex, re.DOTALL).fullmatch


def _translate(pattern: str) -> tuple[str, bool]:
    """A regular expression for the whole path, and whether anything in the pattern is special."""
    out: list[str] = []
    special = False
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            special = True
            if not pattern.startswith("*", at):
                out.append("[^/]*")
                continue
            at += 1
            at += pattern.startswith("/", at)
            out.append("(?:.*/)?" if at < len(pattern) else ".*")
        elif char == "?":
            special = True
            out.append("[^/]")
        elif char == "[":
            special = True
            regex, at = _read_class(pattern, at)
            out.append(regex)
        elif char == "\\":
            special = True
            char, at = _read_escaped(pattern, at)
            out.append(re.escape(char))
        else:
            out.append(re.escape(char))
    return "".join(out), special


def _read_class(pattern: str, at: int) -> tuple[str, int]:
    """The regular expression for the class whose bracket is before `at`, and the place after it."""
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    while not ranges or not pattern.startswith("]", at):
        first, at = _read_member(pattern, at)
        last = first
        if pattern.startswith("-", at):
            last, at = _read_member(pattern, at + 1)
        if last < first:
            raise _PatternError(f"the range {first}-{last} runs backwards")
        ranges.append(f"{re.escape(first)}-{re.escape(last)}")
    return f"[{'^' if negated else ''}{''.join(ranges)}]", at + 1


def _read_member(pattern: str, at: int) -> tuple[str, int]:
    if at < len(pattern) and pattern[at] in "-]":
        raise _PatternError(f"in a class {pattern[at]!r} must be written with a backslash here")
    if pattern.startswith("\\", at):
        char, at = _read_escaped(pattern, at + 1)
    elif at < len(pattern):
        char, at = pattern[at], at + 1
    else:
        char = ""
    if not char or at == len(pattern):
        raise _PatternError("the class has no closing bracket")
    return char, at


def _read_escaped(pattern: str, at: int) -> tuple[str, int]:
    if at == len(pattern):
        raise _PatternError("nothing follows the last backslash")
    return pattern[at], at + 1

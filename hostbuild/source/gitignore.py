"""gitignore's patterns, as git matches them.

Rules: gitignore(5), and where that is silent what git does. Patterns and names are bytes: `?` is one byte,
a class may be written with `!` or `^`, POSIX classes know ASCII only, and a pattern that git cannot parse
matches nothing. `**` is special only between slashes: `foo**/bar` is `foo*/bar`, as the manual says (git
before 2.52 matched "foobar" with it).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.source.ignore import Plain

if TYPE_CHECKING:
    from hostbuild.source.ignore import Matched

_BOM = b"\xef\xbb\xbf"
_SPECIAL = re.compile(rb"[*?\[\\]")
_SLASH = 0x2F


def _bytes(*ranges: tuple[int, int]) -> frozenset[int]:
    return frozenset(value for first, last in ranges for value in range(first, last + 1))


_DIGIT = _bytes((0x30, 0x39))
_UPPER = _bytes((0x41, 0x5A))
_LOWER = _bytes((0x61, 0x7A))
_GRAPH = _bytes((0x21, 0x7E))

#: As git's own character table has them: no vertical tab and no form feed among the spaces.
_CLASSES: dict[bytes, frozenset[int]] = {
    b"alnum": _DIGIT | _UPPER | _LOWER,
    b"alpha": _UPPER | _LOWER,
    b"blank": frozenset(b" \t"),
    b"cntrl": _bytes((0x00, 0x1F), (0x7F, 0x7F)),
    b"digit": _DIGIT,
    b"graph": _GRAPH,
    b"lower": _LOWER,
    b"print": _GRAPH | {0x20},
    b"punct": _GRAPH - _DIGIT - _UPPER - _LOWER,
    b"space": frozenset(b" \t\n\r"),
    b"upper": _UPPER,
    b"xdigit": _DIGIT | _bytes((0x41, 0x46), (0x61, 0x66)),
}


class _MalformedError(ValueError):
    """The pattern can match nothing."""


class _Rule(NamedTuple):
    ignore: bool
    directories: bool
    by_name: bool
    match: Callable[[bytes], object]


class GitPatterns:
    """The patterns of one file; paths that are asked for are relative to the directory it stands in."""

    def __init__(self, data: bytes) -> None:
        """Parse the file's content; nothing in it is an error, as for git."""
        self._rules: list[_Rule] = []
        names: set[bytes] = set()
        paths: set[bytes] = set()
        name_regexes: list[bytes] = []
        path_regexes: list[bytes] = []
        for line in data.removeprefix(_BOM).split(b"\n"):
            pattern = _trimmed(line)
            if not pattern or pattern.startswith(b"#"):
                continue
            ignore = not pattern.startswith(b"!")
            pattern = pattern[not ignore :]
            directories = pattern.endswith(b"/")
            pattern = pattern[: len(pattern) - directories]
            by_name = b"/" not in pattern
            pattern = pattern.removeprefix(b"/")
            if not pattern:
                continue
            match: Callable[[bytes], object]
            if not _SPECIAL.search(pattern):
                match = pattern.__eq__
                (names if by_name else paths).add(pattern)
            else:
                try:
                    regex = _translate(pattern)
                except _MalformedError:
                    continue
                match = re.compile(regex, re.DOTALL).fullmatch
                (name_regexes if by_name else path_regexes).append(regex)
            self._rules.append(_Rule(ignore, directories, by_name, match))
        self._rules.reverse()
        # Most names are met by no pattern at all: one look at all of them settles that.
        self._names = frozenset(names)
        self._paths = frozenset(paths)
        self._name_regex = _union(name_regexes)
        self._path_regex = _union(path_regexes)

    def top(self) -> Matched:
        """Nothing is to be known."""
        return ()

    def decide(
        self, path: bytes, name: bytes, *, is_dir: bool, parent: Matched
    ) -> tuple[bool | None, Matched]:
        """As `verdict`, for the patterns of the root."""
        return self.verdict(path, name, is_dir=is_dir), parent

    def may_except_below(self, path: bytes) -> bool:
        """Never: git does not walk into what is ignored."""
        del path
        return False

    def plain(self) -> Plain | None:
        """The union of what the patterns match; there is none where one looks at the path."""
        if self._paths or self._path_regex:
            return None
        return Plain(self._names, (), self._name_regex)

    def verdict(self, path: bytes, name: bytes, *, is_dir: bool) -> bool | None:
        """Whether the last pattern that matches says "ignore" (True) or "do not" (False); None: no pattern.

        `name` is the path's last component. That what is below an ignored directory is ignored too is
        left to the caller, who does not walk into it.
        """
        if not (
            name in self._names
            or path in self._paths
            or (self._name_regex and self._name_regex(name))
            or (self._path_regex and self._path_regex(path))
        ):
            return None
        for rule in self._rules:
            if (is_dir or not rule.directories) and rule.match(name if rule.by_name else path):
                return rule.ignore
        return None


def _union(regexes: list[bytes]) -> Callable[[bytes], object] | None:
    if not regexes:
        return None
    return re.compile(b"|".join(b"(?:%b)" % regex for regex in regexes), re.DOTALL).fullmatch


def _trimmed(line: bytes) -> bytes:
    """The line as git sees it: one carriage return and unescaped trailing spaces are no part of it."""
    line = line.removesuffix(b"\r").split(b"\0", 1)[0]
    end = len(line)
    while end and line[end - 1] == 0x20:
        end -= 1
    backslashes = 0
    while backslashes < end and line[end - 1 - backslashes] == 0x5C:
        backslashes += 1
    # An odd number of backslashes escapes the first of the spaces.
    return line[: end + (backslashes % 2)]


def _translate(pattern: bytes) -> bytes:
    """A regular expression for the whole path (or name), or `_MalformedError`."""
    out: list[bytes] = []
    star = -1  # where the last star of the current component stands in `out`
    at = 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        if char == b"*":
            end = len(pattern) - len(pattern[at:].lstrip(b"*"))
            rest = pattern[end:]
            bounded = at == 0 or pattern[at - 1] == _SLASH
            if end - at > 1 and bounded and (not rest or rest.startswith((b"/", b"\\/"))):
                out.append(b"(?:.*/)?" if rest.startswith(b"/") else b".*")
                at = end + rest.startswith(b"/")
                continue
            if star >= 0:
                # What stands between two stars is best matched as early as it can be, and never again:
                # otherwise a handful of stars takes for ever.
                out[star:] = [b"(?>[^/]*?%b)" % b"".join(out[star + 1 :])]
            star = len(out)
            out.append(b"[^/]*")
            at = end
        elif char == b"?":
            out.append(b"[^/]")
            at += 1
        elif char == b"[":
            members, at = _read_class(pattern, at + 1)
            out.append(_class_regex(members))
        else:
            literal, at = _read_member(pattern, at)
            out.append(re.escape(bytes((literal,))))
            star = -1 if literal == _SLASH else star
    return b"".join(out)


def _read_class(pattern: bytes, at: int) -> tuple[frozenset[int], int]:
    """The bytes that the class matches whose `[` is before `at`, and the place after its `]`."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    previous: int | None = None
    first = True
    while first or pattern[at : at + 1] != b"]":
        first = False
        char, after = _read_member(pattern, at)
        if pattern[at] == 0x2D and previous is not None and pattern[at + 1 : at + 2] not in (b"", b"]"):
            last, at = _read_member(pattern, at + 1)
            members.update(range(previous, last + 1))
            previous = None
        elif pattern.startswith(b"[:", at):
            named, at = _read_named(pattern, at)
            members |= named
            # Not a named class after all: the bracket stands for itself, and a range may begin with it.
            previous = None if at != after else char
        else:
            members.add(char)
            previous = char
            at = after
    # A slash is matched by slashes only.
    chosen = frozenset(range(256)) - members if negated else frozenset(members)
    return chosen - {_SLASH}, at + 1


def _read_member(pattern: bytes, at: int) -> tuple[int, int]:
    if pattern[at : at + 1] == b"\\":
        at += 1
    if at >= len(pattern):
        raise _MalformedError
    return pattern[at], at + 1


def _read_named(pattern: bytes, at: int) -> tuple[frozenset[int], int]:
    """The members of `[:name:]` at `at` and the place after it, or the bracket and the place after that."""
    end = pattern.find(b"]", at + 2)
    if end < 0:
        raise _MalformedError
    if end == at + 2 or pattern[end - 1 : end] != b":":
        return frozenset(b"["), at + 1
    named = _CLASSES.get(pattern[at + 2 : end - 1])
    if named is None:
        raise _MalformedError
    return named, end + 1


def _class_regex(members: frozenset[int]) -> bytes:
    if not members:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % member for member in sorted(members)) + b"]"

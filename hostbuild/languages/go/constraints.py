"""Which files of a package directory belong to a build (`go help buildconstraint`).

Two rules: the suffixes of a file's name (_GOOS, _GOARCH, _GOOS_GOARCH, each before _test), and the
`//go:build` line, or the older `// +build` lines where there is none. Both are judged by a set of
tags, which `tags_for` makes for a platform.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hostbuild.oci.platform import Platform

#: Every GOOS and GOARCH there is or was: a file's name is judged by all of them.
_OS_NAMES = (
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris "
    "wasip1 windows zos"
)
_ARCH_NAMES = (
    "386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le "
    "ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm"
)
_UNIX_NAMES = "aix android darwin dragonfly freebsd hurd illumos ios linux netbsd openbsd solaris"
KNOWN_OS = frozenset(_OS_NAMES.split())
KNOWN_ARCH = frozenset(_ARCH_NAMES.split())
UNIX_OS = frozenset(_UNIX_NAMES.split())
_ALSO = {"android": "linux", "illumos": "solaris", "ios": "darwin"}
_DEFAULT_FEATURES = {
    "386": ("386.sse2",),
    "mips": ("mips.hardfloat",),
    "mipsle": ("mipsle.hardfloat",),
    "mips64": ("mips64.hardfloat",),
    "mips64le": ("mips64le.hardfloat",),
    "ppc64": ("ppc64.power8",),
    "ppc64le": ("ppc64le.power8",),
    "riscv64": ("riscv64.rva20u64",),
    "wasm": ("wasm.satconv", "wasm.signext"),
}

_MAX_WORDS = 3000
_DIGITS = frozenset("0123456789")
_MAX_DEPTH = 100
_WORDS = r"[ \t]*(?:([\w.]+)|(\|\||&&|[!()])|(.))"
_VALID_TAG = r"[\w.]+"
_EXPERIMENTS = ("goexperiment.", "boringcrypto")


class Operation(NamedTuple):
    """Operator `!` (one operand), `&&` or `||` (two or more); an operand may be a tag."""

    operator: str
    operands: tuple[Expression, ...]


#: A build expression: a tag, or an operation.
Expression = str | Operation


def goarm(platform: Platform) -> str:
    """The value of GOARM for an arm platform, "" for another: its variant without `v`, 7 if none."""
    if platform.architecture != "arm":
        return ""
    return platform.variant.removeprefix("v") or "7"


def tags_for(platform: Platform, go_minor: int, user_tags: Iterable[str] = ()) -> frozenset[str]:
    """The tags that hold when Go 1.`go_minor` compiles for `platform` without cgo.

    GOARM and GOAMD64 are taken from the platform's variant; other architectures have Go's default
    features. Experiments (`goexperiment.…`) are not among them unless they are in `user_tags`.
    """
    system, arch = platform.os, platform.architecture
    tags = {system, arch, "gc", *user_tags}
    tags.update(f"go1.{minor}" for minor in range(1, go_minor + 1))
    if system in UNIX_OS:
        tags.add("unix")
    if system in _ALSO:
        tags.add(_ALSO[system])
    tags.update(_features(arch, platform.variant))
    return frozenset(tags)


def _features(arch: str, variant: str) -> Iterable[str]:
    numbers = [
        int(number) for number in "".join(char if char in _DIGITS else " " for char in variant).split()
    ]
    if arch == "amd64":
        return [f"amd64.v{level}" for level in range(1, (numbers or [1])[0] + 1)]
    if arch == "arm":
        return [f"arm.{level}" for level in range(5, (numbers or [7])[0] + 1)]
    if arch == "arm64":
        major, minor = [*(numbers or [8]), 0][:2]
        tags = [f"arm64.v{major}.{level}" for level in range(minor + 1)]
        if major == 9:  # armv9.x contains armv8.(x+5)
            tags += [f"arm64.v8.{level}" for level in range(min(minor + 5, 9) + 1)]
        return tags
    return _DEFAULT_FEATURES.get(arch, ())


@lru_cache(maxsize=8192)
def name_tags(name: str) -> tuple[str, ...]:
    """The tags that a file's name asks for: none, an OS, an architecture, or both."""
    stem = name.partition(".")[0]
    words = stem.split("_")[1:]  # what is before the first _ never counts: linux.go is for all
    if words and words[-1] == "test":
        words.pop()
    if len(words) >= 2 and words[-2] in KNOWN_OS and words[-1] in KNOWN_ARCH:
        return (words[-2], words[-1])
    if words and (words[-1] in KNOWN_OS or words[-1] in KNOWN_ARCH):
        return (words[-1],)
    return ()


def file_matches(name: str, constraint: str, tags: frozenset[str]) -> bool:
    """Whether a file of this name with this constraint ("" for none) is built under `tags`.

    Raises SourceError for a constraint that cannot be read.
    """
    return all(tag in tags for tag in name_tags(name)) and (not constraint or holds(constraint, tags))


def holds(constraint: str, tags: frozenset[str]) -> bool:
    """The value of a build expression (what stands behind `//go:build`). SourceError if it has none.

    Which experiments a release of Go has on is not known here: an expression that names one holds if
    it holds with it or without.
    """
    expression = parse_constraint(constraint)
    value = _value(expression, tags)
    if not value and any(word in constraint for word in _EXPERIMENTS):
        words = re.findall(r"[\w.]+", constraint)
        value = _value(expression, tags.union(word for word in words if word.startswith(_EXPERIMENTS)))
    return value


def _value(expression: Expression, tags: frozenset[str]) -> bool:
    if isinstance(expression, str):
        return expression in tags
    if expression.operator == "!":
        return not _value(expression.operands[0], tags)
    values = (_value(operand, tags) for operand in expression.operands)
    return all(values) if expression.operator == "&&" else any(values)


@lru_cache(maxsize=4096)
def parse_constraint(text: str) -> Expression:
    """A build expression as a value. Raises SourceError that quotes it."""
    return _Parser(text).parse()


class _Parser:
    """Recursive descent over `||`, `&&`, `!`, parentheses and tags (go/build/constraint)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words: list[str] = []
        end = len(text.rstrip())
        word_at = re.compile(_WORDS).match
        pos = 0
        while pos < end:
            match = word_at(text, pos)
            if match is None or match[3] is not None:
                raise self.error(f"unexpected {text[pos:].strip()[:1]!r}")
            self.words.append(match[1] or match[2])
            pos = match.end()
        if len(self.words) > _MAX_WORDS or self.words.count("(") > _MAX_DEPTH:
            raise self.error("it is too long")
        self.words.reverse()

    def error(self, why: str) -> SourceError:
        return SourceError(f"cannot read the build constraint {self.text!r}", why=why, fix="correct the line")

    def parse(self) -> Expression:
        expression = self.either()
        if self.words:
            raise self.error(f"unexpected {self.words[-1]!r}")
        return expression

    def either(self) -> Expression:
        return self.chain("||", self.both)

    def both(self) -> Expression:
        return self.chain("&&", self.negation)

    def chain(self, operator: str, operand: Callable[[], Expression]) -> Expression:
        operands = [operand()]
        while self.words and self.words[-1] == operator:
            self.words.pop()
            operands.append(operand())
        return operands[0] if len(operands) == 1 else Operation(operator, tuple(operands))

    def negation(self) -> Expression:
        if self.words and self.words[-1] == "!":
            self.words.pop()
            if self.words and self.words[-1] == "!":
                raise self.error("double negation is not allowed")
            return Operation("!", (self.atom(),))
        return self.atom()

    def atom(self) -> Expression:
        if not self.words:
            raise self.error("it ends too early")
        word = self.words.pop()
        if word == "(":
            expression = self.either()
            if not self.words or self.words.pop() != ")":
                raise self.error("a closing parenthesis is missing")
            return expression
        if word in ("!", "&&", "||", ")"):
            raise self.error(f"unexpected {word!r}")
        return word


def find_constraint(data: bytes) -> str:
    """The build expression of a Go, assembler or header file, "" if it has none.

    It must stand before the first text that is no comment. Old `// +build` lines count only where
    there is no `//go:build` and a blank line follows; they come back in the new spelling. Raises
    SourceError for two `//go:build` lines.
    """
    if b"//go:build" not in data and b"+build" not in data:
        return ""
    new, old = _header_lines(data)
    if new is not None:
        return new or " "  # an empty expression is an error, for whoever reads it
    expressions = [_from_old_line(line) for line in old]
    return " && ".join(expressions)


def _header_lines(data: bytes) -> tuple[str | None, list[str]]:
    """The //go:build expression, and the texts of those +build lines that a blank line follows."""
    new: str | None = None
    old: list[str] = []
    pending: list[str] = []
    in_block = ended = False
    for raw in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        line = raw.strip()
        if not line and not ended:
            old += pending
            pending = []
            continue
        if not line.startswith(b"//"):
            ended = True
        elif not in_block:
            text = line.decode("utf-8", "replace")
            if re.match(r"//go:build(\s|$)", text):
                if new is not None:
                    raise SourceError("more than one //go:build line", fix="join them with &&")
                new = text[len("//go:build") :].strip()
            elif not ended and (found := re.match(r"//\s*\+build(\s|$)", text)):
                pending.append(text[found.end() :])
        in_block, more = _after_comments(line, in_block=in_block)
        if more:
            break
    return new, old


def _after_comments(line: bytes, *, in_block: bool) -> tuple[bool, bool]:
    """Whether a block comment is open after this line, and whether the line has more than comments."""
    while line:
        if in_block:
            _, closed, line = line.partition(b"*/")
            if not closed:
                return True, False
            in_block = False
            line = line.strip()
        elif line.startswith(b"//"):
            return False, False
        elif line.startswith(b"/*"):
            in_block = True
            line = line[2:]
        else:
            return False, True
    return in_block, False


def _from_old_line(text: str) -> str:
    """`// +build a,b !c` in the new spelling: spaces are or, commas and; a bad word never holds."""
    options = []
    for clause in text.split():
        terms = []
        for word in clause.split(","):
            tag = word.removeprefix("!")
            if word == "!" or word.startswith("!!"):
                terms.append("ignore")
            else:
                bang = "!" if word.startswith("!") else ""
                terms.append(bang + (tag if re.fullmatch(_VALID_TAG, tag) else "ignore"))
        options.append(" && ".join(terms) if len(terms) == 1 else "(" + " && ".join(terms) + ")")
    return "(" + (" || ".join(options) or "ignore") + ")"

"""go.mod, go.work and vendor/modules.txt, and how Go orders versions (the Go Modules Reference).

Only what decides where a package's files are is kept; directives that do not are passed over, also
those of later releases. What is wrong with a file is for the go command to tell, except where we
could not go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from hostbuild.errors import SourceError
from hostbuild.languages.go.literals import unquote

_WORD = r'[ \t\r]*(?:(//.*)|("(?:[^"\\]|\\.)*"|`[^`]*`)|([(),\[\]{}])|((?:(?!//)[^\s(),\[\]{}"`])+)|$)'
_INDIRECT = r"//\s*indirect\s*(;|$)"
_GO_VERSION = r"(0|[1-9][0-9]*)(?:\.(0|[1-9][0-9]*)(?:\.(0|[1-9][0-9]*)|([a-z]+)(0|[1-9][0-9]*)?)?)?"
_SEMVER = (
    r"v(0|[1-9][0-9]*)(?:\.(0|[1-9][0-9]*)(?:\.(0|[1-9][0-9]*)"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?)?"
)


class Require(NamedTuple):
    """One required module version."""

    path: str
    version: str
    indirect: bool = False


class Replace(NamedTuple):
    """One replacement: `old_version` "" means every version, `new_version` "" that `new` is a directory."""

    old: str
    old_version: str
    new: str
    new_version: str


class GoMod(NamedTuple):
    """A go.mod file; `go` and `toolchain` are "" where there is no such line."""

    module: str
    go: str = ""
    toolchain: str = ""
    requires: tuple[Require, ...] = ()
    replaces: tuple[Replace, ...] = ()


class GoWork(NamedTuple):
    """A go.work file; `uses` are directories as written, relative to the file's."""

    go: str = ""
    toolchain: str = ""
    uses: tuple[str, ...] = ()
    replaces: tuple[Replace, ...] = ()


class VendoredModule(NamedTuple):
    """One module of vendor/modules.txt, with the packages taken from it; `replacement` "" for none."""

    path: str
    version: str
    explicit: bool
    replacement: str
    packages: tuple[str, ...]


class Vendored(NamedTuple):
    """vendor/modules.txt; `workspace` tells that `go work vendor` made it."""

    workspace: bool
    modules: tuple[VendoredModule, ...]

    @property
    def packages(self) -> frozenset[str]:
        """The import paths of all vendored packages."""
        return frozenset(package for module in self.modules for package in module.packages)


class _Line(NamedTuple):
    number: int
    verb: str
    args: list[str]
    comment: str


def parse_gomod(text: str, name: str) -> GoMod:
    """Read a go.mod file; `name` is its path, for errors. Raises SourceError with file:line.

    A file without a `module` line is an error, as nothing below it has an import path.
    """
    module = go = toolchain = ""
    requires: list[Require] = []
    replaces: list[Replace] = []
    for line in _lines(text, name):
        if line.verb == "module":
            module = _only_argument(line, name)
        elif line.verb == "go":
            go = _only_argument(line, name)
        elif line.verb == "toolchain":
            toolchain = _only_argument(line, name)
        elif line.verb == "require":
            if len(line.args) != 2:
                raise _error(name, line.number, "usage: require module/path v1.2.3")
            requires.append(Require(line.args[0], line.args[1], bool(re.match(_INDIRECT, line.comment))))
        elif line.verb == "replace":
            replaces.append(_replace(line, name))
    if not module:
        raise SourceError(f"{name}: no module line", fix="add one: module example.com/name")
    return GoMod(module, go, toolchain, tuple(requires), tuple(replaces))


def parse_gowork(text: str, name: str = "go.work") -> GoWork:
    """Read a go.work file; `name` is its path, for errors. Raises SourceError with file:line."""
    go = toolchain = ""
    uses: list[str] = []
    replaces: list[Replace] = []
    for line in _lines(text, name):
        if line.verb == "go":
            go = _only_argument(line, name)
        elif line.verb == "toolchain":
            toolchain = _only_argument(line, name)
        elif line.verb == "use":
            uses.append(_only_argument(line, name))
        elif line.verb == "replace":
            replaces.append(_replace(line, name))
    return GoWork(go, toolchain, tuple(uses), tuple(replaces))


def _error(name: str, line: int, message: str) -> SourceError:
    return SourceError(f"{name}:{line}: {message}", fix="correct the line; `go mod edit` writes valid ones")


def _lines(text: str, name: str) -> Iterator[_Line]:
    """The directives, one an item, those of a block with the block's verb."""
    block = ""
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        words, comment = _words(raw, name, number)
        if not words:
            continue
        if block:
            if words == [")"]:
                block = ""
            else:
                yield _Line(number, block, words, comment)
        elif len(words) == 2 and words[1] == "(":
            block = words[0]
        elif words[1:] != ["(", ")"]:
            yield _Line(number, words[0], words[1:], comment)
    if block:
        raise _error(name, text.count("\n") + 1, f"the block {block} ( is not closed")


def _words(raw: str, name: str, number: int) -> tuple[list[str], str]:
    words: list[str] = []
    pos = 0
    word_at = re.compile(_WORD).match
    while pos < len(raw):
        match = word_at(raw, pos)
        if match is None:
            raise _error(name, number, f"cannot read {raw[pos:].strip()!r}")
        comment, quoted, mark, word = match.groups()
        if comment is not None:
            return words, comment.strip()
        if quoted is not None:
            try:
                words.append(unquote(quoted.encode("utf-8", "surrogateescape")))
            except ValueError as error:
                raise _error(name, number, f"{quoted}: {error}") from error
        elif mark is not None or word is not None:
            words.append(mark or word)
        pos = match.end()
    return words, ""


def _only_argument(line: _Line, name: str) -> str:
    if len(line.args) != 1:
        raise _error(name, line.number, f"{line.verb} takes exactly one argument")
    return line.args[0]


def _replace(line: _Line, name: str) -> Replace:
    args = line.args
    if "=>" not in args[1:3]:
        raise _error(
            name, line.number, "usage: replace module/path [v1.2.3] => other/path v1.4 (or ../directory)"
        )
    arrow = args.index("=>")
    new = args[arrow + 1 :]
    if len(new) not in (1, 2):
        raise _error(name, line.number, "a replacement is a directory, or a module path and a version")
    version = new[1] if len(new) == 2 else ""
    if not version and not is_directory_path(new[0]):
        raise _error(name, line.number, f"{new[0]!r} has no version, so must begin with ./, ../ or /")
    return Replace(args[0], args[1] if arrow == 2 else "", new[0], version)


def is_directory_path(path: str) -> bool:
    """Whether a replacement means a directory rather than a module path."""
    return path in (".", "..") or path.startswith(("./", "../", "/"))


def parse_modules_txt(text: str) -> Vendored:
    """Read vendor/modules.txt. Lines that are not understood are passed over, as the go command does."""
    lines = text.split("\n")
    workspace = lines[0].startswith("## ") and "workspace" in _annotations(lines[0])
    modules: list[VendoredModule] = []
    for line in lines:
        words = line.split()
        if line.startswith("# "):
            replacement = ""
            if "=>" in words:
                replacement = " ".join(words[words.index("=>") + 1 :])
            version = words[2] if len(words) > 2 and words[2] != "=>" else ""
            modules.append(
                VendoredModule(words[1] if len(words) > 1 else "", version, False, replacement, ())
            )
        elif line.startswith("## ") and modules:
            if "explicit" in _annotations(line):
                modules[-1] = modules[-1]._replace(explicit=True)
        elif len(words) == 1 and modules:
            modules[-1] = modules[-1]._replace(packages=(*modules[-1].packages, words[0]))
    return Vendored(workspace, tuple(module for module in modules if module.path))


def _annotations(line: str) -> list[str]:
    return [word.strip() for word in line.removeprefix("## ").split(";")]


def compare_go_versions(x: str, y: str) -> int:
    """-1, 0 or 1 as Go version `x` ("1.21", "1.22rc1", "1.22.3") is before, equal to or after `y`.

    From 1.21 on the order is 1.21 < 1.21rc1 < 1.21.0; before it 1.20 means 1.20.0. What is no version
    is before all that are, and equal to all others that are none.
    """
    left, right = _go_version(x), _go_version(y)
    return (left > right) - (left < right)


def _go_version(text: str) -> tuple[int, int, int, str, int]:
    match = re.fullmatch(_GO_VERSION, text)
    if match is None:
        return (-1, -1, -1, "", -1)
    major, minor, patch, kind, pre = match.groups()
    if minor is None:
        return (int(major), 0, 0, "", -1)
    if patch is None and kind is None and (int(minor) < 21):
        patch = "0"
    return (int(major), int(minor), int(patch or -1), kind or "", int(pre or -1))


def compare_semver(x: str, y: str) -> int:
    """-1, 0 or 1 by the precedence of semantic versions with `v` (semver.org, 11), as modules use it.

    Build metadata does not count, v1 means v1.0.0, pseudo-versions are pre-releases like any other. What is
    no version is before all that are.
    """
    left, right = _semver(x), _semver(y)
    if left is None or right is None:
        return (left is not None) - (right is not None)
    return (left > right) - (left < right)


def _semver(text: str) -> tuple[int, int, int, tuple[tuple[int, int, str], ...]] | None:
    match = re.fullmatch(_SEMVER, text)
    if match is None:
        return None
    major, minor, patch, pre = match.groups()
    if pre is None:
        order: tuple[tuple[int, int, str], ...] = ((3, 0, ""),)
    else:
        words = pre.split(".")
        if any(word.isdigit() and word != "0" and word.startswith("0") for word in words):
            return None
        # A shorter list of equal words is before a longer one: tuples compare so too.
        order = tuple((1, int(word), "") if word.isdigit() else (2, 0, word) for word in words)
    return int(major), int(minor or 0), int(patch or 0), order

"""What a builder must know of one Go file: package, imports, constraint, embeds, top-level declarations.

`parse_header` reads no further than the imports and is made to be called for thousands of files;
`parse_file` reads all declarations, hopping over bodies. Neither judges what the compiler will judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from hostbuild.errors import SourceError
from hostbuild.languages.go.constraints import find_constraint
from hostbuild.languages.go.literals import (
    BLANK,
    TEXT,
    WORD,
    WORD_END,
    decode,
    line_comments,
    start_of,
    syntax_error,
    unquote,
)

if TYPE_CHECKING:
    from hostbuild.languages.go.lexer import Scanner


_Matcher = Callable[[bytes, int], "re.Match[bytes] | None"]


class Import(NamedTuple):
    """One import: the path, and the name it was given ("" for none, `.`, `_`)."""

    path: str
    alias: str


_PACKAGE = BLANK + rb"package" + WORD_END + BLANK + rb"(" + WORD + rb")"
_IMPORT = rb"(?:" + BLANK + rb";)*" + BLANK + rb"import" + WORD_END + BLANK + rb"(\()?"
_SPEC = (
    rb"(?:" + BLANK + rb";)*" + BLANK + rb"(?:(\))|(?:(" + WORD + rb"|\.)" + BLANK + rb")?(" + TEXT + rb"))"
)
_SKIPPED = rb"(?:" + BLANK + rb";)*" + BLANK
_EMBED_ARGUMENT = r'\s*(?:("(?:[^"\\]|\\.)*"|`[^`]*`)(?=\s|$)|([^\s"`]\S*))'


TypeKind = Literal["struct", "interface", "alias", "other"]


class Func(NamedTuple):
    """One top-level function or method.

    `receiver` is the receiver's type name without `*` and type parameters, "" for a function; `params`
    and `results` hold one type text for each parameter, also where names share a type; `generic` tells
    of type parameters of its own. Line and column count from 1.
    """

    name: str
    receiver: str
    params: tuple[str, ...]
    results: tuple[str, ...]
    generic: bool
    line: int
    column: int

    @property
    def exported(self) -> bool:
        """Whether other packages see it."""
        return self.name[:1].isupper()


class TypeDecl(NamedTuple):
    """One top-level type; `embeds` tells whether a struct has embedded fields (and so promoted methods).

    `kind` is "other" for what is neither, and for generic types.
    """

    name: str
    kind: TypeKind
    embeds: bool
    line: int


class GoFile(NamedTuple):
    """One Go file.

    `constraint` is the build expression ("" for none), `embeds` the patterns of its `//go:embed`
    lines, unquoted, in order, `cgo` whether it imports "C". `functions` and `types` are empty where
    only the header was read.
    """

    name: str
    package: str
    imports: tuple[Import, ...]
    constraint: str
    embeds: tuple[str, ...] = ()
    cgo: bool = False
    functions: tuple[Func, ...] = ()
    types: tuple[TypeDecl, ...] = ()


def parse_header(data: bytes, name: str) -> GoFile:
    """Package, imports, constraint and embeds of a Go file; nothing behind the imports is judged.

    Raises SourceError (file:line:column) for a wrong package clause or import, or two constraints.
    """
    header = _read_header(data, name)
    return _make(data, name, header)


def parse_file(data: bytes, name: str) -> GoFile:
    """All of a Go file that `GoFile` holds. Raises SourceError (file:line:column)."""
    from hostbuild.languages.go.declarations import read_function, read_types
    from hostbuild.languages.go.lexer import Scanner

    header = _read_header(data, name)
    functions: list[Func] = []
    types: list[TypeDecl] = []
    scanner = Scanner(data, name, header.end)
    while (token := scanner.next()).kind != "end":
        if token.text == ";":
            continue
        if token.text == "func":
            functions.append(read_function(scanner, token))
        elif token.text == "type":
            types.extend(read_types(scanner))
        elif token.text in ("var", "const"):
            _skip_statement(scanner)
        elif token.text == "import":
            raise scanner.error(token.offset, "imports must appear before other declarations")
        else:
            raise scanner.error(token.offset, "non-declaration statement outside function body")
    return _make(data, name, header, tuple(functions), tuple(types))


class _Header(NamedTuple):
    package: str
    imports: tuple[Import, ...]
    clause: int
    end: int


def _make(
    data: bytes,
    name: str,
    header: _Header,
    functions: tuple[Func, ...] = (),
    types: tuple[TypeDecl, ...] = (),
) -> GoFile:
    paths = [path for path, _ in header.imports]
    embeds = _find_embeds(data) if "embed" in paths and b"//go:embed" in data else ()
    try:
        constraint = find_constraint(data[: header.clause])
    except SourceError as error:
        raise SourceError(f"{name}: {error.what}", fix=error.fix) from error
    return GoFile(name, header.package, header.imports, constraint, embeds, "C" in paths, functions, types)


@cache
def _header_patterns() -> tuple[_Matcher, _Matcher, _Matcher]:
    """Compiled when the first file is read: those of an earlier build need not be."""
    return re.compile(_PACKAGE).match, re.compile(_IMPORT).match, re.compile(_SPEC).match


def _read_header(data: bytes, name: str) -> _Header:
    package_at, import_at, spec_at = _header_patterns()
    clause = package_at(data, start_of(data))
    if clause is None:
        blank = re.compile(_SKIPPED).match(data, start_of(data))
        raise syntax_error(data, name, blank.end() if blank else 0, "expected the package clause")
    pos = clause.end()
    imports: list[Import] = []
    while found := import_at(data, pos):
        pos = found.end()
        grouped = found[1] is not None
        while True:
            spec = spec_at(data, pos)
            if spec is None or (spec[1] is not None and not grouped):
                blank = re.compile(_SKIPPED).match(data, pos)
                raise syntax_error(data, name, blank.end() if blank else pos, "expected an import path")
            pos = spec.end()
            if spec[1] is not None:
                break
            imports.append(_import(data, name, spec))
            if not grouped:
                break
    return _Header(decode(clause[1]), tuple(imports), clause.start(1), pos)


def _import(data: bytes, name: str, spec: re.Match[bytes]) -> Import:
    try:
        path = unquote(spec[3])
    except ValueError as error:
        raise syntax_error(data, name, spec.start(3), f"import path: {error}") from error
    return Import(path, decode(spec[2] or b""))


def _skip_statement(scanner: Scanner) -> None:
    while (token := scanner.next()).kind != "end" and token.text != ";":
        if token.kind == "operator" and token.text in "([{":
            scanner.skip_brackets(token.offset)


def _find_embeds(data: bytes) -> tuple[str, ...]:
    patterns: list[str] = []
    for comment in line_comments(data):
        if comment.startswith(b"//go:embed"):
            patterns += parse_embed(decode(comment[len(b"//go:embed") :]))
    return tuple(patterns)


def parse_embed(text: str) -> tuple[str, ...]:
    """The patterns behind `//go:embed`: bare words and Go strings; none if the line is malformed."""
    if text[:1].strip():
        return ()  # another directive, such as //go:embedded
    text = text.strip()
    patterns: list[str] = []
    pos = 0
    while pos < len(text):
        match = re.compile(_EMBED_ARGUMENT).match(text, pos)
        if match is None:
            return ()  # the compiler reports it
        try:
            literal = match[1]
            patterns.append(
                match[2] if literal is None else unquote(literal.encode("utf-8", "surrogateescape"))
            )
        except ValueError:
            return ()
        pos = match.end()
    return tuple(patterns)

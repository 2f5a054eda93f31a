"""What a Python module binds at its top level, read from its text: nothing is imported or run.

Only what is bound when the module is imported counts: names in functions, classes, comments and texts do
not, nor those below `if TYPE_CHECKING:` and `if __name__ == "__main__":`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from hostbuild.errors import SourceError

if TYPE_CHECKING:
    import ast

LARGEST = 4 * 1024 * 1024
_LONGEST_LINE = 10_000


class Signature(NamedTuple):
    """What a `def` takes and gives. `text` is as it is written, without annotations.

    `least` and `most` count the arguments by position (`most` is -1 for any number); `needs_names` tells
    that some must be given by name; `gives` that there is a `return` with a value, or that it is `async`.
    """

    text: str
    least: int
    most: int
    needs_names: bool
    is_async: bool
    gives: bool

    def takes(self, count: int) -> bool:
        """Whether it can be called with so many arguments by position."""
        return not self.needs_names and self.least <= count and (self.most < 0 or count <= self.most)


class Origin(NamedTuple):
    """Where an imported name comes from: `from <level dots><module> import <name>`."""

    level: int
    module: str
    name: str


class Binding(NamedTuple):
    """One place where a name is bound. `signature` is that of an undecorated `def`, else None.

    `origin` is that of a `from … import …`, else None.
    """

    line: int
    kind: Literal["def", "class", "import", "value"]
    signature: Signature | None = None
    origin: Origin | None = None


class Bindings(NamedTuple):
    """All top-level names of a module, each with the places that bind it, in their order.

    `stars` are the modules of `from … import *`. `problem` is "" where this Python understood the whole text;
    else the text was read line by line, and only what stands in the first column is known.
    """

    names: dict[str, list[Binding]]
    stars: tuple[Origin, ...] = ()
    problem: str = ""


def read_module(path: str, label: str) -> Bindings:
    """The bindings of the file at `path`. Raises SourceError, which calls it `label`."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError as error:
        raise SourceError(f"cannot read {label}", why=error.strerror or str(error)) from None
    if len(data) > LARGEST:
        raise SourceError(f"{label} is larger than {LARGEST} bytes", fix="split it")
    return read_bindings(data)


def find_module(root: str, name: str) -> str:
    """The file of the module `name` ("pkg.sub") below `root`, relative to it, or "" where there is none.

    A package wins over a module of the same name, as when Python imports it.
    """
    base = os.path.join(*name.split("."))
    for path in (os.path.join(base, "__init__.py"), f"{base}.py"):
        if os.path.isfile(os.path.join(root, path)):
            return path
    return ""


def read_bindings(data: bytes) -> Bindings:
    """The bindings of a module's text.

    Text that this Python cannot parse (it may be written for a newer one) is read line by line.
    """
    import ast

    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        return _by_lines(data, f"{where}{text or type(error).__name__}")
    found: dict[str, list[Binding]] = {}
    stars: list[Origin] = []
    for statement in _statements(tree.body):
        for name, binding in _bound(statement):
            if binding.origin is not None and name == "*":
                stars.append(binding.origin)
            else:
                found.setdefault(name, []).append(binding)
    return Bindings(found, tuple(stars))


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that importing runs, those in blocks too."""
    import ast

    for statement in body:
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(statement, ast.If) and _is_left_out(statement.test):
            yield from _statements(statement.orelse)
            continue
        for part in ("body", "handlers", "orelse", "finalbody", "cases"):
            for child in getattr(statement, part, ()):
                inner = [child] if isinstance(child, ast.stmt) else child.body
                yield from _statements(inner)


def _is_left_out(test: ast.expr) -> bool:
    import ast

    if isinstance(test, ast.Compare):
        return any(isinstance(each, ast.Name) and each.id == "__name__" for each in ast.walk(test))
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _bound(statement: ast.stmt) -> Iterator[tuple[str, Binding]]:
    import ast

    line = getattr(statement, "lineno", 0)
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            signature = None if statement.decorator_list else _signature(statement)
            yield statement.name, Binding(line, "def", signature)
        case ast.ClassDef():
            yield statement.name, Binding(line, "class")
        case ast.ImportFrom():
            for alias in statement.names:
                origin = Origin(statement.level, statement.module or "", alias.name)
                yield alias.asname or alias.name, Binding(line, "import", origin=origin)
        case ast.Import():
            for alias in statement.names:
                yield alias.asname or alias.name.partition(".")[0], Binding(line, "import")
        case ast.Assign() | ast.AnnAssign():
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for each in (node for target in targets for node in ast.walk(target)):
                if isinstance(each, ast.Name) and statement.value is not None:
                    yield each.id, Binding(line, "value")


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Signature:
    import ast

    given = node.args
    positional = [*given.posonlyargs, *given.args]
    names = [each.arg for each in positional]
    names += [f"*{given.vararg.arg}"] if given.vararg else ["*"] if given.kwonlyargs else []
    names += [each.arg for each in given.kwonlyargs]
    names += [f"**{given.kwarg.arg}"] if given.kwarg else []
    is_async = isinstance(node, ast.AsyncFunctionDef)
    return Signature(
        f"{'async ' if is_async else ''}def {node.name}({', '.join(names)})",
        len(positional) - len(given.defaults),
        -1 if given.vararg else len(positional),
        any(default is None for default in given.kw_defaults),
        is_async,
        is_async or any(isinstance(each, ast.Return) and each.value is not None for each in ast.walk(node)),
    )


def _by_lines(data: bytes, problem: str) -> Bindings:
    found: dict[str, list[Binding]] = {}
    stars: list[Origin] = []
    for line, texts in _logical_lines(data):
        for name, binding in _bound_by(texts, line):
            if binding.origin is not None and name == "*":
                stars.append(binding.origin)
            else:
                found.setdefault(name, []).append(binding)
    return Bindings(found, tuple(stars), problem)


def _logical_lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The words of each logical line that begins in the first column, with the number of that line.

    It ends where the text can no longer be read.
    """
    import tokenize

    silent = (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)
    # Python 3.12.0 gives each word a copy of its line. So long a line is data, not a definition.
    short = [line if len(line) <= _LONGEST_LINE else b"\n" for line in data.splitlines(keepends=True)]
    words: list[str] = []
    start = 0, 0
    try:
        for word in tokenize.tokenize(iter([*short, b""]).__next__):
            if word.type == tokenize.NEWLINE:
                if words and start[1] == 0:
                    yield start[0], words
                words = []
            elif word.type not in silent:
                start = start if words else word.start
                words.append(word.string)
    except (tokenize.TokenError, SyntaxError, ValueError):
        return  # what follows cannot be told


def _bound_by(words: list[str], line: int) -> Iterator[tuple[str, Binding]]:
    if words[0] == "async":
        words = words[1:]
    match words:
        case ["def" | "class" as kind, name, *_]:
            yield name, Binding(line, "def" if kind == "def" else "class")
        case ["from", *rest] if "import" in rest:
            at = rest.index("import")
            source = "".join(rest[:at])
            module = source.lstrip(".")
            for clause in _clauses(rest[at + 1 :]):
                origin = Origin(len(source) - len(module), module, clause[0])
                yield clause[-1], Binding(line, "import", origin=origin)
        case ["import", *rest]:
            for clause in _clauses(rest):
                yield clause[-1] if "as" in clause else clause[0], Binding(line, "import")
        case [name, "=" | ":", *_] if name.isidentifier() and "=" in words:
            yield name, Binding(line, "value")


def _clauses(words: list[str]) -> Iterator[list[str]]:
    """The parts between commas, without brackets: ["new"], or ["make", "as", "new"]."""
    clause: list[str] = []
    for word in [*words, ","]:
        if word == ",":
            if clause:
                yield clause
            clause = []
        elif word not in "()":
            clause.append(word)

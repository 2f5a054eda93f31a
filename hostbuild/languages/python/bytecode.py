"""What the interpreter that compiles is started with: sources in, bytecode out, the same bytes everywhere.

This file is not imported for that but copied, and run by another Python, from 3.8 on: it may use nothing that
is newer, and nothing but the standard library. `python -s -S -B bytecode.py JOB` reads the JSON object JOB:

    {"python": "3.13.5", "tasks": [
        {"sources": PATH, "files": [[NAME, SIZE], ...], "bytecode": PATH, "rows": PATH}, ...
    ]}

`sources` holds the sources of a task one after another, `bytecode` gets what they give in the same way, and
`rows`, a JSON array, [SIZE, SHA-256] for each of them, or null for one that does not compile.

Sources: PEP 552 (hash-based .pyc files), Python/marshal.c, Lib/importlib/_bootstrap_external.py.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import marshal
import sys
from typing import Any

#: The fields of a code object in a stream: "l" four bytes, "o" an object (`w_complex_object` of marshal.c).
_BEFORE_3_11 = "llllll" + "oooooooo" + "lo"
_SINCE_3_11 = "lllll" + "oooooooo" + "loo"

#: Hash-based, and never held against the source (PEP 552).
_UNCHECKED_HASH = b"\1\0\0\0"

#: All that compiling a source may raise, but for what ends a process.
_FAILURES = (
    ArithmeticError,
    AssertionError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
)

_FLAG = 0x80
#: How many bytes stand behind a kind that has always as many.
_FIXED = {"N": 0, "T": 0, "F": 0, ".": 0, "S": 0, "i": 4, "g": 8, "y": 16}
#: Bytes of the length of what is a text, or bytes.
_LENGTH = {"s": 4, "u": 4, "t": 4, "a": 4, "A": 4, "z": 1, "Z": 1}
#: A reference has so many bytes: what is not longer is written again.
_REFERENCE = 5


class UnknownStreamError(Exception):
    """Bytecode in a form that is not known here: of a newer Python."""


def canonical(data: bytes, version: tuple[int, ...]) -> bytes:
    """The same code as `marshal.dumps` wrote it, in bytes that depend on its value only.

    What marshal writes depends on which objects happened to be one and the same, on who else held them, and
    on the order of sets (bpo-34093, bpo-37596). Here equal texts, numbers and tuples are written once and
    referred to then, whatever they were; those texts are interned that are interned for code anyway; sets are
    sorted. `version` is that of the Python that wrote it. Raises UnknownStreamError.
    """
    reader = _Reader(data, _SINCE_3_11 if version >= (3, 11) else _BEFORE_3_11)
    try:
        tree = reader.read()
    except (IndexError, KeyError) as error:
        raise UnknownStreamError(repr(error)) from error
    if reader.position != len(data):
        raise UnknownStreamError("more than one object")
    writer = _Writer()
    writer.count(tree)
    writer.write(tree)
    return b"".join(writer.written)


class _Reader:
    """Reads a stream to a tree.

    A node is bytes, as they are written; or, where there are parts, the bytes before them and the parts: a
    list for code and what has code in it, which is never taken for another one, else a tuple.
    """

    def __init__(self, data: bytes, layout: str) -> None:
        self.position = 0
        self._data = data
        self._layout = layout
        self._seen: list[Any] = []

    def read(self) -> Any:
        """The next object. Raises IndexError or KeyError for what is no object."""
        first = self._data[self.position]
        self.position += 1
        kind = chr(first & ~_FLAG)
        if kind == "r":
            return self._seen[self._number(4)]
        if not first & _FLAG:
            return self._object(kind)
        # Numbered in the order in which they begin, so before what is in them.
        place = len(self._seen)
        self._seen.append(None)
        node = self._seen[place] = self._object(kind)
        return node

    def _object(self, kind: str) -> Any:
        if kind in _LENGTH:
            return _text(kind, self._take(self._number(_LENGTH[kind])))
        if kind in _FIXED:
            return kind.encode() + self._take(_FIXED[kind])
        if kind == "l":
            count = self._number(4)
            digits = count if count < 1 << 31 else (1 << 32) - count  # below zero for a number below zero
            return b"l" + count.to_bytes(4, "little") + self._take(2 * digits)
        if kind == "c":
            return [b"c", *[self._take(4) if field == "l" else self.read() for field in self._layout]]
        if kind in {"(", ")"}:
            count = self._number(4 if kind == "(" else 1)
            head = b")" + bytes([count]) if count < 256 else b"(" + count.to_bytes(4, "little")
            return _joined(head, [self.read() for _ in range(count)])
        if kind == ">":
            parts = [self.read() for _ in range(self._number(4))]
            return _joined(b">" + len(parts).to_bytes(4, "little"), sorted(parts, key=repr))
        if kind == ":":
            return _joined(b":", [self.read() for _ in range(3)])
        raise KeyError(kind)

    def _number(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def _take(self, size: int) -> bytes:
        start, self.position = self.position, self.position + size
        if self.position > len(self._data):
            raise IndexError(size)
        return self._data[start : self.position]


def _joined(head: bytes, parts: list[Any]) -> Any:
    if not parts:
        return head
    if any(isinstance(part, list) for part in parts):
        return [head, *parts]
    return (head, *parts)


def _text(kind: str, data: bytes) -> bytes:
    """Bytes as they are; a text in the form that its value has, interned where code would intern it."""
    length = len(data).to_bytes(4, "little")
    if kind == "s":
        return b"s" + length + data
    value = data.decode("utf-8" if kind in "ut" else "latin-1", "surrogatepass")
    if not value.isascii():
        return (b"t" if value.isidentifier() else b"u") + length + data
    interned = not value or value.replace("_", "0").isalnum()
    if len(data) < 256:
        return (b"Z" if interned else b"z") + length[:1] + data
    return (b"A" if interned else b"a") + length + data


class _Writer:
    """Writes a tree. `count` goes over it before, in the same order, to see what is there more than once."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self._counts: dict[Any, int] = {}
        self._numbers: dict[Any, int] = {}

    def count(self, node: Any) -> None:
        """Count a node, and its parts where it is new."""
        if isinstance(node, bytes):
            if len(node) > _REFERENCE:
                self._counts[node] = self._counts.get(node, 0) + 1
            return
        if isinstance(node, tuple):
            known = self._counts.get(node, 0)
            self._counts[node] = known + 1
            if known:
                return
        for part in node[1:]:
            self.count(part)

    def write(self, node: Any) -> None:
        """Write a node, or a reference to the equal one that was written before."""
        head = node if isinstance(node, bytes) else node[0]
        if not isinstance(node, list) and self._counts.get(node, 0) > 1:
            number = self._numbers.get(node)
            if number is not None:
                self.written.append(b"r" + number.to_bytes(4, "little"))
                return
            self._numbers[node] = len(self._numbers)
            head = bytes([head[0] | _FLAG]) + head[1:]
        self.written.append(head)
        if not isinstance(node, bytes):
            for part in node[1:]:
                self.write(part)


def bytecode(source: bytes, name: str) -> bytes:
    """What a .pyc file of this source has in it; `name` is the source's path where it will be imported.

    Raises one of `_FAILURES` for a source that does not compile, and UnknownStreamError.
    """
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    head = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(source)
    return head + canonical(marshal.dumps(code), sys.version_info[:2])


def _work(task: dict[str, Any]) -> None:
    rows: list[list[Any] | None] = []
    with open(task["sources"], "rb") as sources, open(task["bytecode"], "wb") as made:
        for name, size in task["files"]:
            source = sources.read(size)
            try:
                data = bytecode(source, name)
            except _FAILURES:
                rows.append(None)
                continue
            made.write(data)
            rows.append([len(data), hashlib.sha256(data).hexdigest()])
    with open(task["rows"], "w", encoding="utf-8") as stream:
        json.dump(rows, stream)


def main(path: str) -> None:
    """Do all tasks of a job. Ends with a message where this is not the Python that was expected."""
    with open(path, encoding="utf-8") as stream:
        job = json.load(stream)
    here = sys.version.split()[0]
    if here != job["python"]:
        sys.exit(f"this is Python {here}, and it was {job['python']} before")
    for task in job["tasks"]:
        try:
            _work(task)
        except UnknownStreamError as error:
            sys.exit(f"Python {here} writes bytecode in a form that is not known: {error}")


if __name__ == "__main__":
    main(sys.argv[1])

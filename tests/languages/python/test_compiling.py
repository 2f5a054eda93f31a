"""Bytecode of wheels: valid, the same whatever lies beside it, recorded, and never a reason to fail."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import json
import marshal
import os
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from hostbuild.errors import ToolError
from hostbuild.languages.base import Tree
from hostbuild.languages.python import bytecode
from hostbuild.languages.python.pythons import tool_environment
from tests.languages.python.trees import Context, handmade

HERE = sys.version.split()[0]
TAG = f"cpython-{sys.version_info[0]}{sys.version_info[1]}"
SITE = "opt/python/site-packages"

#: All kinds of constants and names that code can have.
RICH = '''
"""Docstring that is no identifier, äöü €."""
from __future__ import annotations
import os as first_name
BIG, NEGATIVE, FLOATS = 1 << 200, -(1 << 77), (0.0, -0.0, 1e308 * 10, 2.5, 3j, -0j)
BYTES, ELLIPSIS, TEXT = b"\\0\\xff", ..., "LONG"
NAMES = {"a", "b", None, 1, 2.0, "c d", ("x", frozenset({"y"}))}
def größe(prädikat, *rest, schlüssel=None, **more):
    inner = [lambda: prädikat, lambda: prädikat]
    if prädikat in {"red", "green", None, "blau", 7, (1, "2")}:
        return inner
    return more[1:2], f"{prädikat!r:>10}", größe(schlüssel=rest, prädikat="\\ud800")
class Some:
    __slots__ = ("a", "b")
    def method(self, a: int = 1, /, b: str = "größe") -> list[int]:
        self.x, self.y = a, b
        try:
            return [x for x in (a, b, a, b) if x != 1]
        except* ValueError:
            nonlocal_name = "a"
            def deep():
                return nonlocal_name, self.method
            self.deep = deep
async def later():
    async with first_name as x, x as y:
        yield await x, (y for y in x)
MANY = (NUMBERS)
'''
RICH = RICH.replace("LONG", "x" * 300).replace("NUMBERS", ", ".join(map(str, range(300))))


class Compiler(Context):
    """The context of a build that ships bytecode made by this very Python."""

    def compile(
        self, work: Path, part: str = "files", *, version: str = HERE, env: Mapping[str, str] | None = None
    ) -> Tree:
        """A tree of all wheels, in the scratch directory `work`, started from an environment of the user."""
        environment = tool_environment({**os.environ, **(env or {})})
        return self.make(part, work=work, env=environment, compile={"python": version, "recipe": 1})


def content(tree: Tree) -> dict[str, bytes]:
    found = {}
    for entry in tree.entries:
        if entry.open is not None:
            with entry.open() as stream:
                found[entry.path] = stream.read()
            assert entry.size == len(found[entry.path])
            assert entry.digest in {"", hashlib.sha256(found[entry.path]).hexdigest()}
    return found


def compiled(tree: Tree) -> dict[str, bytes]:
    """The bytecode in a tree, by paths in site-packages."""
    found = content(tree).items()
    return {path.removeprefix(f"{SITE}/"): data for path, data in found if path.endswith(".pyc")}


def all_code(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from all_code(constant)


# The form of the bytes.


def test_canonical_bytes_are_the_same_code() -> None:
    code = compile(RICH, "/opt/x.py", "exec", dont_inherit=True)
    data = bytecode.canonical(marshal.dumps(code), sys.version_info[:2])
    back = marshal.loads(data)
    assert back == code
    assert {each.co_filename for each in all_code(back)} == {"/opt/x.py"}
    assert [each.co_name for each in all_code(back)] == [each.co_name for each in all_code(code)]
    assert [list(each.co_lines()) for each in all_code(back)] == [
        list(each.co_lines()) for each in all_code(code)
    ]
    assert len(data) <= len(marshal.dumps(code))
    assert bytecode.canonical(marshal.dumps(back), sys.version_info[:2]) == data


def test_who_else_holds_an_object_does_not_matter() -> None:
    """bpo-34093: marshal marks what has more than one reference, whoever holds it."""
    source = "import a_name_of_no_module_that_is_loaded_here\n"
    alone = compile(source, "x.py", "exec", dont_inherit=True)
    before = marshal.dumps(alone)
    held = [sys.intern("a_name_of_no_module_that_is_loaded_here"), alone.co_names, alone.co_consts]
    after = marshal.dumps(alone)
    assert held
    assert before != after, "this test could not fail"
    version = sys.version_info[:2]
    assert bytecode.canonical(before, version) == bytecode.canonical(after, version)


def test_what_is_one_object_or_two_does_not_matter() -> None:
    text = "no identifier"
    one = compile("x = y = 1", "x", "exec").replace(co_consts=(text, (text, 1.5), text))
    copy = str(text.encode(), "ascii")
    two = compile("x = y = 1", "x", "exec").replace(co_consts=(text, (copy, 1.5), copy))
    assert marshal.dumps(one) != marshal.dumps(two), "this test could not fail"
    version = sys.version_info[:2]
    assert bytecode.canonical(marshal.dumps(one), version) == bytecode.canonical(marshal.dumps(two), version)


def test_numbers_that_are_equal_and_not_the_same_stay_apart() -> None:
    code = compile("f(1, 1.0, True, 0.0, -0.0, (1,), (1.0,), (True,), 'a', b'a')", "x", "eval")
    back = marshal.loads(bytecode.canonical(marshal.dumps(code), sys.version_info[:2]))
    assert repr(back.co_consts) == repr(code.co_consts)


def test_a_set_is_in_one_order() -> None:
    """Before Python 3.11 the order was that of the hashes; None's was its address."""
    members = [b"Z\1a", b"N", b"Z\1b"]
    streams = [b">\3\0\0\0" + b"".join(each) for each in (members, members[::-1], members[1:] + members[:1])]
    assert len({bytecode.canonical(stream, (3, 10)) for stream in streams}) == 1
    assert marshal.loads(bytecode.canonical(streams[0], (3, 10))) == {"a", "b", None}


@pytest.mark.parametrize(
    "data",
    [b"", b"c\0\0", b"?", b"NN", b")\2N", b"s\xff\xff\xff\x7fabc", b"r\0\0\0\0", b"z\5abc", b"{0"],
)
def test_what_is_not_known_is_refused(data: bytes) -> None:
    with pytest.raises(bytecode.UnknownStreamError):
        bytecode.canonical(data, (3, 13))


# The files.


def test_each_source_has_valid_bytecode_that_is_never_held_against_it(tmp_path: Path) -> None:
    files = {
        "one/__init__.py": "from one.two import VALUE\n",
        "one/two.py": "VALUE = 'compiled'\n",
        "top.py": "",
    }
    context = Compiler(handmade(tmp_path, "one", {**files, "one/data.txt": "x"}))
    tree = context.compile(tmp_path / "work")
    found = compiled(tree)
    assert set(found) == {
        f"one/__pycache__/__init__.{TAG}.pyc",
        f"one/__pycache__/two.{TAG}.pyc",
        f"__pycache__/top.{TAG}.pyc",
    }
    data = found[f"one/__pycache__/two.{TAG}.pyc"]
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert data[4:8] == b"\1\0\0\0"
    assert data[8:16] == importlib.util.source_hash(files["one/two.py"].encode())
    assert marshal.loads(data[16:]).co_filename == f"/{SITE}/one/two.py"
    assert {entry.mode for entry in tree.entries if entry.path.endswith(".pyc")} == {0o644}

    root = tmp_path / "root"
    for path, each in content(tree).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(each.replace(b"'compiled'", b"'read'"))  # only sources have the quotes
    code = "import one; print(one.VALUE, one.__cached__)"
    argv = [sys.executable, "-S", "-B", "-c", code]
    done = subprocess.run(
        argv, env={"PYTHONPATH": str(root / SITE)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["compiled", str(root / SITE / f"one/__pycache__/__init__.{TAG}.pyc")]


def test_the_bytes_are_the_same_whatever_lies_beside_them(tmp_path: Path) -> None:
    """Another process, directory, order, company, environment."""
    one = handmade(
        tmp_path, "one", {"one.py": RICH, "shared_name.py": "def parse(): return {'x', 'y', None}"}
    )
    others = [
        handmade(tmp_path, name, {f"{name}.py": RICH.replace("größe", name), f"x{name}.py": "parse = 'x'"})
        for name in ("another", "two")
    ]
    alone = compiled(Compiler(one).compile(tmp_path / "a"))
    assert len(alone) == 2
    for number, wheels in enumerate([(one, *others), (*others, one)]):
        variables = {"PYTHONHASHSEED": str(number + 7), "PYTHONOPTIMIZE": "2", "LC_ALL": "C", "TZ": "UTC"}
        beside = compiled(Compiler(*wheels).compile(tmp_path / f"longer-name-{number}", env=variables))
        assert len(beside) == 6
        assert {path: beside[path] for path in alone} == alone


BAD: dict[str, bytes | str] = {
    "lib2to3/tests/data/py2.py": "print 'x'\n",
    "lib2to3/tests/data/bom.py": b"\xef\xbb\xbf# coding: latin-1\n",
    "lib2to3/tests/data/crlf\u00e9.py": b"\xff\xfe\0",
    "templates/{{name}}.py": "class {{name}}: ...\n",
    "zero.py": b"x = 1\0",
    "coding.py": b"# coding: no-such-coding\n",
    "deep.py": "x = " + "(" * 5000 + ")" * 5000,
    "minus.py": "x = " + "-" * 100_000 + "1",
    "digits.py": "x = " + "9" * 100_000,
    "tabs.py": "if 1:\n\tx\n        y\n",
}


def test_what_does_not_compile_is_passed_over_and_told(tmp_path: Path) -> None:
    context = Compiler(
        handmade(tmp_path, "one", {**BAD, "good.py": "x = 1\n", "warns.py": "x = 1 is 1\n'\\d'\n"})
    )
    tree = context.compile(tmp_path / "work")
    assert set(compiled(tree)) == {f"__pycache__/good.{TAG}.pyc", f"__pycache__/warns.{TAG}.pyc"}
    assert {f"{SITE}/{path}" for path in BAD} < set(content(tree))
    (event,) = context.events
    assert event.kind == "info"
    assert event.message.startswith(
        f"{len(BAD)} of {len(BAD) + 2} sources do not compile and have no bytecode: "
    )
    assert event.message.endswith(f" and {len(BAD) - 3} more")


def test_wheels_are_never_imported(tmp_path: Path) -> None:
    names = ("site", "json", "hashlib", "usercustomize", "sitecustomize", "one/__init__")
    files = {f"{name}.py": f"open({str(tmp_path / 'imported')!r}, 'w')\n" for name in names}
    tree = Compiler(handmade(tmp_path, "one", {**files, "one.pth": "import one\n"})).compile(
        tmp_path / "work"
    )
    assert len(compiled(tree)) == len(names)
    assert not (tmp_path / "imported").exists()


def test_only_what_can_be_imported_is_compiled(tmp_path: Path) -> None:
    files = {
        "one.py": "",
        "a.b.py": "",
        ".py": "",
        "stub.pyi": "",
        f"{'x' * 240}.py": "",
        "one-1.0.data/scripts/tool.py": "print()",
        "one-1.0.data/data/share/example.py": "",
        "one-1.0.data/purelib/pure.py": "",
        "one-1.0.data/platlib/plat.py": "",
    }
    tree = Compiler(handmade(tmp_path, "one", files)).compile(tmp_path / "work")
    assert set(compiled(tree)) == {f"__pycache__/{name}.{TAG}.pyc" for name in ("one", "a.b", "pure", "plat")}


def test_bytecode_that_a_wheel_brings_is_replaced(tmp_path: Path) -> None:
    """Its header has the time of a file on another machine."""
    brought = {f"__pycache__/one.{TAG}.pyc": "old", "__pycache__/one.cpython-30.pyc": "older"}
    tree = Compiler(handmade(tmp_path, "one", {"one.py": "x = 1", **brought})).compile(tmp_path / "work")
    found = compiled(tree)
    assert found[f"__pycache__/one.{TAG}.pyc"].startswith(importlib.util.MAGIC_NUMBER)
    assert found["__pycache__/one.cpython-30.pyc"] == b"older"
    assert rows(tree, "one") == recorded(content(tree), "one")


def rows(tree: Tree, name: str) -> dict[str, tuple[str, str]]:
    """RECORD's rows but its own."""
    text = content(tree)[f"{SITE}/{name}-1.0.dist-info/RECORD"].decode()
    return {path: (digest, size) for path, digest, size in csv.reader(io.StringIO(text)) if digest}


def recorded(files: Mapping[str, bytes], name: str) -> dict[str, tuple[str, str]]:
    """What RECORD must have of these files."""
    import base64

    own = f"{SITE}/{name}-1.0.dist-info/RECORD"
    return {
        os.path.relpath(path, SITE): (
            "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("="),
            str(len(data)),
        )
        for path, data in files.items()
        if path != own
    }


@pytest.mark.parametrize("is_kept", [True, False])
def test_the_record_has_it_also_where_it_lies_beside_the_commands(tmp_path: Path, is_kept: bool) -> None:
    point = {"entry_points.txt": "[console_scripts]\nserve = one:main\n"}
    one = handmade(tmp_path, "one", {"one.py": "def main(): ...\n", "bad.py": "("}, **point)
    context = Compiler(one, handmade(tmp_path, "two", {"two.py": "x = 1"}))
    files = context.compile(tmp_path / "work")
    commands = context.compile(tmp_path / ("work" if is_kept else "other"), "commands")
    assert compiled(commands) == {}
    both = {**content(files), **content(commands)}
    of_two = {path for path in both if "two" in path}
    assert rows(commands, "one") == recorded({p: d for p, d in both.items() if p not in of_two}, "one")
    assert rows(files, "two") == recorded({path: both[path] for path in of_two}, "two")
    assert len(context.started) == (1 if is_kept else 2)


def test_two_wheels_with_the_same_module_are_told_of_once(tmp_path: Path) -> None:
    context = Compiler(
        handmade(tmp_path, "one", {"tests/a.py": "x = 1"}), handmade(tmp_path, "two", {"tests/a.py": "x = 2"})
    )
    found = compiled(context.compile(tmp_path / "work"))
    assert 2 in marshal.loads(found[f"tests/__pycache__/a.{TAG}.pyc"][16:]).co_consts
    context.compile(tmp_path / "work", "commands")
    (event,) = context.events
    assert "/opt/python/site-packages/tests/a.py is in more than one wheel" in event.message


def test_nothing_to_compile_starts_nothing(tmp_path: Path) -> None:
    context = Compiler(handmade(tmp_path, "one", {"one.txt": ""}))
    assert compiled(context.compile(tmp_path / "work")) == {}
    assert context.started == []


def test_another_python_than_the_recipe_says_is_refused(tmp_path: Path) -> None:
    context = Compiler(handmade(tmp_path, "one", {"one.py": ""}))
    with pytest.raises(ToolError) as caught:
        context.compile(tmp_path / "work", version=f"{HERE}0")
    assert f"this is Python {HERE}, and it was {HERE}0 before" in caught.value.detail
    assert "--compile" in caught.value.fix
    assert os.listdir(tmp_path / "work/bytecode") == []


def test_the_script_does_its_tasks_as_it_says(tmp_path: Path) -> None:
    """Here, where its lines can be seen to run."""
    (tmp_path / "sources").write_bytes(b"x = 1\n(\ny = 2\n")
    task = {
        "sources": str(tmp_path / "sources"),
        "files": [["/x.py", 6], ["/bad.py", 2], ["/y.py", 6]],
        "bytecode": str(tmp_path / "bytecode"),
        "rows": str(tmp_path / "rows"),
    }
    (tmp_path / "job").write_text(json.dumps({"python": HERE, "tasks": [task]}))
    bytecode.main(str(tmp_path / "job"))
    first, bad, last = json.loads((tmp_path / "rows").read_text())
    data = (tmp_path / "bytecode").read_bytes()
    assert bad is None
    assert data == bytecode.bytecode(b"x = 1\n", "/x.py") + bytecode.bytecode(b"y = 2\n", "/y.py")
    assert first == [len(data) - last[0], hashlib.sha256(data[: first[0]]).hexdigest()]


def test_an_unknown_form_ends_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sources").write_bytes(b"")
    places = {name: str(tmp_path / name) for name in ("sources", "bytecode", "rows")}
    (tmp_path / "job").write_text(
        json.dumps({"python": HERE, "tasks": [{**places, "files": [["/x.py", 0]]}]})
    )
    monkeypatch.setattr(bytecode, "_SINCE_3_11", "l")
    with pytest.raises(SystemExit, match=f"Python {HERE} writes bytecode in a form that is not known"):
        bytecode.main(str(tmp_path / "job"))

"""What a module binds at its top level."""

from __future__ import annotations

import builtins
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import SourceError
from hostbuild.languages.python.toplevel import (
    LARGEST,
    Origin,
    Signature,
    find_module,
    read_bindings,
    read_module,
)
from tests.languages.python.made import write

NEWER = "\ndef newer(: this is no Python of today\n"

PLAIN = [
    ("def new(): ...", "def"),
    ("async def new(): ...", "def"),
    ("class new: ...", "class"),
    ("import new", "import"),
    ("import other as new", "import"),
    ("from .func import new", "import"),
    ("from .func import make as new", "import"),
    ("from .func import (a,\n  make as new, # here\n)", "import"),
    ("new = make", "value"),
    ("new: object = make", "value"),
    ("'''text'''\nimport os\n\n\ndef new():\n    return 1", "def"),
]


@pytest.mark.parametrize(("text", "kind"), PLAIN)
@pytest.mark.parametrize("rest", ["", NEWER], ids=["parsed", "line by line"])
def test_what_binds(text: str, kind: str, rest: str) -> None:
    found = read_bindings((text + "\n" + rest).encode())
    assert [each.kind for each in found.names["new"]] == [kind]
    assert bool(found.problem) is bool(rest)


@pytest.mark.parametrize(
    "text",
    [
        "# def new(): ...",
        '"""\ndef new(): ...\n"""',
        "def outer():\n    def new(): ...",
        "class A:\n    def new(self): ...",
        "from .new import other",
        "from .func import new as other",
        "import other.new",
        "new: object",
        "print(new)",
        "a.new = 1",
        "other(\nnew = 1)",
    ],
)
@pytest.mark.parametrize("rest", ["", NEWER], ids=["parsed", "line by line"])
def test_what_does_not_bind(text: str, rest: str) -> None:
    assert "new" not in read_bindings((text + "\n" + rest).encode()).names


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    from .fast import new\nexcept ImportError:\n    other = 1",
        "try:\n    other = 1\nexcept ImportError:\n    from .slow import new",
        "if sys.platform == 'linux':\n    def new(): ...",
        "if a:\n    pass\nelse:\n    new = 1",
        "with a:\n    new = 1",
        "match a:\n    case 1:\n        new = 1",
        "if TYPE_CHECKING:\n    pass\nelse:\n    new = 1",
        "a, new = 1, 2",
        "a = new = 1",
    ],
)
def test_blocks_are_run(text: str) -> None:
    assert "new" in read_bindings(text.encode()).names


@pytest.mark.parametrize("test", ["TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'"])
def test_blocks_that_no_import_runs(test: str) -> None:
    assert "new" not in read_bindings(f"if {test}:\n    from .func import new\n".encode()).names


def test_all_places_are_told() -> None:
    found = read_bindings(b"try:\n    from .a import new\nexcept ImportError:\n    from .b import c as new\n")
    assert [(each.line, each.origin) for each in found.names["new"]] == [
        (2, Origin(1, "a", "new")),
        (4, Origin(1, "b", "c")),
    ]


@pytest.mark.parametrize("rest", ["", NEWER])
def test_stars(rest: str) -> None:
    found = read_bindings(b"from .func import *\nfrom .. import *\n" + rest.encode())
    assert found.stars == (Origin(1, "func", "*"), Origin(2, "", "*"))


@pytest.mark.parametrize(
    ("text", "signature"),
    [
        ("def f(): ...", Signature("def f()", 0, 0, False, False, False)),
        ("def f(a, b=1): return a", Signature("def f(a, b)", 1, 2, False, False, True)),
        ("async def f(a, /, *b): ...", Signature("async def f(a, *b)", 1, -1, False, True, True)),
        ("def f(*, a): return", Signature("def f(*, a)", 0, 0, True, False, False)),
        ("def f(*, a=1, **b): ...", Signature("def f(*, a, **b)", 0, 0, False, False, False)),
    ],
)
def test_signature(text: str, signature: Signature) -> None:
    assert read_bindings(text.encode()).names["f"][0].signature == signature


def test_what_is_decorated_has_another_signature() -> None:
    assert read_bindings(b"@wrap\ndef f(a): ...").names["f"][0].signature is None


def test_takes() -> None:
    assert Signature("", 1, 2, needs_names=False, is_async=False, gives=False).takes(2)
    assert Signature("", 0, -1, needs_names=False, is_async=False, gives=False).takes(9)
    assert not Signature("", 1, 2, needs_names=False, is_async=False, gives=False).takes(3)
    assert not Signature("", 0, 0, needs_names=True, is_async=False, gives=False).takes(0)


def test_the_problem_names_the_line() -> None:
    assert read_bindings(b"a = 1\nb = = 2\n").problem.startswith("line 2: ")


@pytest.mark.parametrize(
    "data",
    [b"\0", b"\xff\xfe", b"# coding: no-such\n", b"(" * 5000, b"-" * 200_000 + b"1", b"'''", b"\t\n a\nb"],
)
def test_what_is_no_python(data: bytes) -> None:
    assert read_bindings(data).names == {}


@given(
    st.binary(max_size=60) | st.text("def new(a):\n\t '\"#*,.import fromclas=", max_size=40).map(str.encode)
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_can_be_read(data: bytes) -> None:
    read_bindings(data)


def test_a_very_long_line_is_passed_over() -> None:
    found = read_bindings(b"a = '" + b"x" * 20_000 + b"'\nb = 1\n" + NEWER.encode())
    assert list(found.names) == ["b"]


def test_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "exec", None)
    assert "a" in read_bindings(b"raise SystemExit\na = 1").names


def test_find_module(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "", "a/__init__.py": "", "a/b.py": "", "space/c.py": ""})
    assert find_module(str(tmp_path), "a") == "a/__init__.py"
    assert find_module(str(tmp_path), "a.b") == "a/b.py"
    assert find_module(str(tmp_path), "space.c") == "space/c.py"
    assert find_module(str(tmp_path), "space") == ""


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read func\.py"):
        read_module(str(tmp_path / "func.py"), "func.py")
    (tmp_path / "large.py").write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(SourceError, match=r"large\.py is larger"):
        read_module(str(tmp_path / "large.py"), "large.py")

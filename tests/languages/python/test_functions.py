"""Where a function is, and how it is called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hostbuild.errors import DependenciesError, DetectionError, HostbuildError, SettingsError
from hostbuild.languages.python.functions import Function, find_function, invocation
from tests.languages.python.made import write

NEW = "def new():\n    return object()\n"
HANDLE = "async def handle(scope, receive, send):\n    pass\n"
INIT = "function/__init__.py"


def find(folder: Path, files: dict[str, str]) -> Function:
    return find_function(str(write(folder, files)))


def refused(folder: Path, files: dict[str, str]) -> HostbuildError:
    with pytest.raises(DetectionError) as caught:
        find(folder, files)
    return caught.value


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (
            {INIT: "from .func import new\n", "function/func.py": NEW},
            Function("function", "new", INIT),
        ),
        ({INIT: NEW}, Function("function", "new", INIT)),
        ({INIT: HANDLE}, Function("function", "handle", INIT)),
        ({INIT: HANDLE + NEW}, Function("function", "new", INIT)),
        ({"func.py": NEW}, Function("func", "new", "func.py")),
        ({"func.py": HANDLE}, Function("func", "handle", "func.py")),
        ({"function.py": NEW}, Function("function", "new", "function.py")),
        ({"function.py": NEW, INIT: HANDLE}, Function("function", "handle", INIT)),
        ({INIT: "", "func.py": HANDLE}, Function("func", "handle", "func.py")),
        ({"func.py": NEW, INIT: HANDLE}, Function("function", "handle", INIT)),
        ({"src/function/__init__.py": NEW}, Function("function", "new", "src/function/__init__.py", "src")),
        ({"src/func.py": NEW}, Function("func", "new", "src/func.py", "src")),
    ],
)
def test_where_it_is(tmp_path: Path, files: dict[str, str], found: Function) -> None:
    assert find(tmp_path, files) == found


@pytest.mark.parametrize(
    ("toml", "path", "module", "folder"),
    [
        ('[project]\nname = "my-Work.er"\n', "my_Work_er/__init__.py", "my_Work_er", ""),
        ('[project]\nname = "my-Work.er"\n', "src/my_work_er.py", "my_work_er", "src"),
        ('[tool.setuptools]\npackages = ["a", "b.c"]\n', "b/c/__init__.py", "b.c", ""),
        ('[tool.setuptools]\npy-modules = ["worker"]\n', "worker.py", "worker", ""),
        ('[tool.uv.build-backend]\nmodule-name = "d"\n', "src/d/__init__.py", "d", "src"),
        ('[tool.poetry]\nname = "e"\n', "e.py", "e", ""),
    ],
)
def test_what_pyproject_names(tmp_path: Path, toml: str, path: str, module: str, folder: str) -> None:
    assert find(tmp_path, {"pyproject.toml": toml, path: NEW}) == Function(module, "new", path, folder)


@pytest.mark.parametrize(
    "files",
    [
        {
            INIT: "from .a import new",
            "function/a.py": "from .b.c import make as new",
            "function/b/c.py": "make = 1",
        },
        {INIT: "from function.func import new", "function/func.py": NEW},
        {INIT: "from .func import *", "function/func.py": NEW},
        {
            INIT: "from .sub import new",
            "function/sub/__init__.py": "from ..func import new",
            "function/func.py": NEW,
        },
        {INIT: "from elsewhere import new"},
        {INIT: "from .func import new", "function/func.py": "from elsewhere import *"},
        {INIT: "from .func import new", "function/func.py": "def __getattr__(name): ..."},
        {INIT: "from .func import new", "function/func.py": NEW + "type X[T] = = list"},
        {INIT: "from . import new", "function/new.py": ""},
        {INIT: "from function import new"},
        {
            INIT: "from .a import new",
            "function/a.py": "from .b import new",
            "function/b.py": "from .a import new",
        },
        {INIT: "from ..... import new"},
    ],
)
def test_reexports(tmp_path: Path, files: dict[str, str]) -> None:
    assert find(tmp_path, files) == Function("function", "new", INIT)


@pytest.mark.parametrize("text", ["def new():\n    x: list[int] = f(\n", "type X = = 1\n" + NEW])
def test_text_for_a_newer_python_is_read_as_far_as_it_goes(tmp_path: Path, text: str) -> None:
    assert find(tmp_path, {"func.py": text}).attribute == "new"


def test_a_reexport_of_what_is_not_there(tmp_path: Path) -> None:
    error = refused(tmp_path, {INIT: "import os\nfrom .func import new\n", "function/func.py": "New = 1\n"})
    assert str(error) == (
        "function/__init__.py:2: imports new from function/func.py: function/func.py has no new"
    )


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("def new(config): ...", "func.py:1: def new(config) cannot", "def new(), which gives an object"),
        ("async def new(): ...", "func.py:1: async def new() cannot", "async def handle(self, scope"),
        ("\ndef new(*, a): ...", "func.py:2: def new(*, a) cannot", "def new()"),
        (
            "def handle(context): return 1",
            "func.py:1: def handle(context)",
            "async def handle(scope, receive",
        ),
        (
            "async def handle(a, b, c, d): ...",
            "func.py:1: async def handle(a, b, c, d)",
            "async def handle(s",
        ),
        ("def handle(scope, receive, send): ...", "func.py:1: def handle(scope, re", "async def handle(s"),
    ],
)
def test_what_func_python_cannot_call(tmp_path: Path, text: str, what: str, fix: str) -> None:
    error = refused(tmp_path, {"func.py": text})
    assert what in error.what
    assert fix in error.fix


def test_the_wrong_form_is_told_where_it_is(tmp_path: Path) -> None:
    files = {INIT: "from .a import build as new", "function/a.py": "def build(config): ..."}
    assert refused(tmp_path, files).what.startswith("function/a.py:1: def build(config) cannot")


@pytest.mark.parametrize(
    "text",
    [
        "def new(config=None): ...",
        "def new(*args, **more): ...",
        "@wrap\ndef new(config): ...",
        "class new: ...",
        "new = Function",
        "if a:\n    def new(b): ...\nelse:\n    def new(): ...",
    ],
)
def test_what_func_python_may_call(tmp_path: Path, text: str) -> None:
    assert find(tmp_path, {"func.py": text}).attribute == "new"


@pytest.mark.parametrize(
    "text",
    [
        "def handle(scope, receive, send): return later(scope)",
        "async def handle(*args): ...",
        "async def handle(a, b, c, d=1): ...",
        "handle = App()",
    ],
)
def test_handlers(tmp_path: Path, text: str) -> None:
    assert find(tmp_path, {"func.py": text}).attribute == "handle"


def test_neither(tmp_path: Path) -> None:
    error = refused(tmp_path, {INIT: "# def new(): ...\n", "func.py": "a = = 1"})
    assert error.what == "there is neither a function new nor a function handle"
    assert error.why.startswith("looked at function/__init__.py, func.py (func.py line 1: ")
    assert error.fix == "write into function/__init__.py: async def handle(scope, receive, send)"


def test_nothing_at_all(tmp_path: Path) -> None:
    error = refused(tmp_path, {"README.md": ""})
    assert "function/__init__.py, function.py and func.py, the same below src/" in error.why


@pytest.mark.parametrize("init", [{}, {INIT: ""}])
def test_what_the_package_does_not_export(tmp_path: Path, init: dict[str, str]) -> None:
    files = {**init, "function/0.py": NEW, "function/func.py": HANDLE}
    assert refused(tmp_path, files).fix == "write into function/__init__.py: from .func import handle"


def test_the_form_that_func_has_left(tmp_path: Path) -> None:
    error = refused(tmp_path, {"func.py": "from parliament import Context\ndef main(context): ..."})
    assert "main(context) is a form that knative func has left" in error.why
    assert "new()" in error.fix


def test_nothing_is_imported(tmp_path: Path) -> None:
    before = set(sys.modules)
    find(tmp_path, {"func.py": "raise SystemExit\n" + NEW})
    assert not {"func", "function"} & (set(sys.modules) - before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["func.py"]


def test_a_pyproject_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DependenciesError):
        find(tmp_path, {"pyproject.toml": "["})


@pytest.mark.parametrize(("hint", "found"), [("", "http"), ("http", "http"), ("cloudevent", "cloudevent")])
def test_invocation(hint: str, found: str) -> None:
    assert invocation(hint) == found


@pytest.mark.parametrize("hint", ["cloudevents", "HTTP", " "])
def test_another_invocation(hint: str) -> None:
    with pytest.raises(SettingsError, match="is not known") as caught:
        invocation(hint)
    assert caught.value.fix == "in func.yaml, set invoke to http or cloudevent, or leave it out"

"""Judge the structure of the package by its syntax trees.

Each check takes one `Module` and gives a list of complaints, so that a test can feed it a bad snippet as
well as the real tree.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Rooms from the bottom up. A room imports rooms of earlier tiers only, never its neighbours in one tier.
#: `hostbuild` is the package's own `__init__`, the library's front door.
TIERS: tuple[tuple[str, ...], ...] = (
    ("patterns",),
    ("crew", "errors", "version", "redact", "descriptors", "reading", "points", "records"),
    ("model", "oci"),
    ("plan",),
    ("http", "process"),
    ("vcs",),
    ("store", "source", "layer", "certificates", "settings"),
    ("registry", "local", "wheels"),
    ("languages", "bases", "splitting"),
    ("shipping", "workshop", "healing"),
    ("subject", "remembering"),
    ("project",),
    ("jobs", "observer", "outputs", "record", "housekeeping"),
    ("images", "explaining", "checking", "pushing", "joining"),
    ("build",),
    ("hostbuild",),
    ("cli",),
    ("__main__",),
)
TIER = {room: number for number, rooms in enumerate(TIERS) for room in rooms}

#: The one room that may import each outside thing.
OWNERS = {
    "requests": "http",
    "urllib3": "http",
    "truststore": "http",
    "filelock": "store",
    "subprocess": "process",
    "multiprocessing": "process",
    "psutil": "process",
    "concurrent_log_handler": "process",
    "tarfile": "layer",
    "zipfile": "wheels",
    "packaging": "wheels",
    "deflate": "layer",
    "backports": "layer",
    "compression": "layer",
    "gzip": "layer",
    "zlib": "layer",
    "bz2": "layer",
    "lzma": "layer",
    "argparse": "cli",
}

#: A wheel's members are deflated, and read where they lie: no layer is in between. What a project asks for is
#: written in packaging's words (requirements, markers, locks), before there is any wheel.
BESIDES = {"zlib": ("wheels",), "packaging": ("languages",)}

#: Rooms that may read the environment and print.
FRONT = ("cli", "__main__")

#: A library's caller who hands in no environment means this process's own.
MAY_READ_ENVIRONMENT = ("hostbuild.settings.load",)

#: Imported when a command needs them, never because a module was loaded: what is up to date ends at once.
HEAVY = (
    "argparse",
    "asyncio",
    "concurrent.futures",
    "concurrent_log_handler",
    "dataclasses",
    "filelock",
    "inspect",
    "logging",
    "packaging",
    "pathspec",
    "psutil",
    "requests",
    "subprocess",
    "yaml",
)

#: Modules that are themselves loaded late, by those who need what they import.
MAY_BE_HEAVY: dict[str, tuple[str, ...]] = {
    "hostbuild.cli.parsing": ("argparse",),
    "hostbuild.http.session": ("logging", "requests"),
}

MAX_LINES = 450


@dataclass(frozen=True)
class Module:
    """One source file under its dotted name."""

    name: str
    text: str
    is_package: bool = False

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        return room_of(self.name)


@dataclass(frozen=True)
class Import:
    """One imported module; `late` inside a function, `typing_only` under TYPE_CHECKING."""

    target: str
    line: int
    late: bool
    typing_only: bool


def room_of(name: str) -> str:
    """The room that a module of the package belongs to."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def load(root: Path, package: str) -> list[Module]:
    """All modules of the package below `root`."""
    modules = []
    for path in sorted((root / package).rglob("*.py")):
        parts = list(path.relative_to(root).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(Module(name, path.read_text(encoding="utf-8"), is_package))
    return modules


def _is_typing_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING"


def _targets(node: ast.Import | ast.ImportFrom, module: Module) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        parts = module.name.split(".")
        parts = parts[: len(parts) - node.level + module.is_package]
        base = ".".join([*parts, *([base] if base else [])])
    # `from package import name` may import the module package.name: both are told.
    return [f"{base}.{alias.name}" for alias in node.names]


def imports(module: Module) -> list[Import]:
    """Every import statement of the module, wherever it stands."""
    found: list[Import] = []

    def visit(node: ast.AST, late: bool, typing_only: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                found.extend(
                    Import(target, child.lineno, late, typing_only) for target in _targets(child, module)
                )
            elif isinstance(child, ast.If) and _is_typing_guard(child):
                for statement in child.body:
                    visit(ast.Module([statement], []), late, True)
                for statement in child.orelse:
                    visit(ast.Module([statement], []), late, typing_only)
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                visit(child, late or inside, typing_only)

    visit(module.tree, False, False)
    return found


def _is(target: str, name: str) -> bool:
    return target == name or target.startswith(name + ".")


def upward_imports(module: Module) -> list[str]:
    """Imports of a room that is not below the importing one; typing-only ones count as well."""
    if module.room not in TIER:
        return [f"{module.name}: the room {module.room!r} has no place in the table"]
    complaints = []
    for item in imports(module):
        if not item.target.startswith("hostbuild."):
            continue  # outside, or the bare package, which loads nothing of its own
        room = room_of(item.target)
        if room not in TIER:
            room = "hostbuild"  # a name of the package itself, not a module below it
        if room != module.room and TIER[room] >= TIER[module.room]:
            complaints.append(f"{module.name}:{item.line}: {module.room} must not import {item.target}")
    return complaints


def foreign_imports(module: Module) -> list[str]:
    """Outside things that belong to another room."""
    return [
        f"{module.name}:{item.line}: only {owner} may import {name}"
        for item in imports(module)
        for name, owner in OWNERS.items()
        if _is(item.target, name)
        and module.room not in (owner, *BESIDES.get(name, ()))
        and not item.typing_only
    ]


def early_heavy_imports(module: Module) -> list[str]:
    """Heavy imports that are paid by whoever loads the module."""
    allowed = MAY_BE_HEAVY.get(module.name, ())
    return [
        f"{module.name}:{item.line}: import {name} inside the function that needs it"
        for item in imports(module)
        for name in HEAVY
        if _is(item.target, name) and not item.late and not item.typing_only and name not in allowed
    ]


def ambient_reads(module: Module) -> list[str]:
    """Reading the environment, and printing, outside the command line."""
    if module.room in FRONT or module.name in MAY_READ_ENVIRONMENT:
        return []
    complaints = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text in ("os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"):
                complaints.append(f"{module.name}:{node.lineno}: {text} outside the command line")
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            names = {alias.name for alias in node.names} & {"environ", "environb", "getenv", "getenvb"}
            complaints += [
                f"{module.name}:{node.lineno}: os.{name} outside the command line" for name in names
            ]
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("print", "input")
        ):
            complaints.append(f"{module.name}:{node.lineno}: {node.func.id}() outside the command line")
    return complaints


def _public(name: str) -> bool:
    return not name.startswith("_")


def _definitions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.AST]]:
    for node in body:
        if isinstance(node, ast.ClassDef) and _public(node.name):
            yield prefix + node.name, node
            yield from _definitions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _public(node.name):
            marks = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
            if not marks & {"overload", "setter", "deleter"}:
                yield prefix + node.name, node
        elif isinstance(node, ast.If | ast.Try):
            for part in ("body", "orelse", "handlers", "finalbody"):
                yield from _definitions(getattr(node, part, []), prefix)


def missing_docstrings(module: Module) -> list[str]:
    """Public modules, classes, functions and methods that do not say what they are."""
    if not all(_public(part) or part.startswith("__") for part in module.name.split(".")):
        return []
    tree = module.tree
    named: list[tuple[str, ast.AST]] = [("the module", tree), *_definitions(tree.body, "")]
    complaints = []
    for name, node in named:
        assert isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if not (ast.get_docstring(node) or "").strip():
            complaints.append(f"{module.name}: {name} has no docstring")
    return complaints


def too_long(module: Module) -> list[str]:
    """Files that hold more than one thing."""
    lines = module.text.count("\n")
    return [f"{module.name}: {lines} lines, at most {MAX_LINES}"] if lines > MAX_LINES else []

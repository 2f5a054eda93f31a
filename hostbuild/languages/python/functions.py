"""Where a function is, and how it is called: `new`, which makes an instance, or else `handle`.

The rules are those of knative func: the package `function` has one of the two. Sources may also be laid out
with one file, below src/, or under the name that pyproject.toml gives. The text is read, never imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, cast

from hostbuild.errors import DetectionError, SettingsError
from hostbuild.languages.python.pyproject import PyProject, read_pyproject
from hostbuild.languages.python.toplevel import Binding, Bindings, find_module, read_module

Invoke = Literal["http", "cloudevent"]
Attribute = Literal["new", "handle"]

#: What is looked for, in this order; the first that has `new` or `handle` is the function.
PLACES = (("", "function"), ("", "func"), ("src", "function"), ("src", "func"))

#: How deep re-exports are followed: `from .a import new`, where `a` imports it again.
_DEEPEST = 8

_HANDLE = "async def handle(scope, receive, send)"


class Function(NamedTuple):
    """A function as it is imported: `from <module> import <attribute>`.

    `path` is the module's file and `folder` the directory that it is imported from ("" for the root itself,
    or "src"), both relative to the root.
    """

    module: str
    attribute: Attribute
    path: str
    folder: str = ""


def invocation(hint: str) -> Invoke:
    """func.yaml's `invoke` as a kind of service; "" is http. Raises SettingsError for any other word."""
    if hint not in ("", "http", "cloudevent"):
        raise SettingsError(
            f"invoke {hint!r} is not known",
            fix="in func.yaml, set invoke to http or cloudevent, or leave it out",
        )
    return cast("Invoke", hint or "http")


def find_function(root: str) -> Function:
    """The function in the directory `root`.

    Looked at are the package or module `function`, func.py, both below src/, then what pyproject.toml names.
    In the first of them that has either, `new` comes before `handle`.

    Raises DetectionError, which says where it looked, SourceError for a file that cannot be read, and
    DependenciesError for a pyproject.toml that cannot be read.
    """
    seen: list[tuple[str, Bindings]] = []
    for folder, name in _places(root):
        base = os.path.join(root, folder)
        path = find_module(base, name)
        if not path:
            continue
        label = os.path.join(folder, path)
        bindings = read_module(os.path.join(base, path), label)
        for attribute in ("new", "handle"):
            if found := _follow(_At(root, folder, path), bindings, attribute, _DEEPEST):
                at, binding = found
                _check(at.label, attribute, binding)
                return Function(name, attribute, label, folder)
        seen.append((label, bindings))
    raise _nothing(root, seen)


def _places(root: str) -> Iterator[tuple[str, str]]:
    yield from PLACES
    project = read_pyproject(root)
    names = dict.fromkeys(_named(project)) if project else {}
    for name in names:
        for folder in ("", "src"):
            if all(part.isidentifier() for part in name.split(".")) and (folder, name) not in PLACES:
                yield folder, name


def _named(project: PyProject) -> Iterator[str]:
    """The modules that a pyproject.toml names: by what builds it, and by the project's own name."""
    builder = project.uv.get("build-backend")
    yield from _texts(builder.get("module-name") if isinstance(builder, dict) else None)
    yield from _texts(project.setuptools.get("packages"))
    yield from _texts(project.setuptools.get("py-modules"))
    name = project.name or str(project.poetry.get("name", ""))
    if name:
        yield re.sub(r"[-.]+", "_", name)
        yield re.sub(r"[-.]+", "_", name).lower()


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


class _At(NamedTuple):
    """A module's file: `path` is relative to `folder`, which is relative to `root`."""

    root: str
    folder: str
    path: str

    @property
    def label(self) -> str:
        return os.path.join(self.folder, self.path)


def _follow(at: _At, bindings: Bindings, name: str, depth: int) -> tuple[_At, Binding] | None:
    """Where `name` is made: in this module, or in one of the source that it is imported from.

    What is imported from elsewhere is taken as it is. Raises DetectionError where it lacks the name.
    """
    places = bindings.names.get(name)
    if places:
        last = places[-1]
        other = _imported(at, last) if depth and len(places) == 1 else None
        if last.origin is None or other is None:
            return at, last if len(places) == 1 else last._replace(signature=None)
        inner = read_module(os.path.join(at.root, other.label), other.label)
        found = _follow(other, inner, last.origin.name, depth - 1)
        if found is None and not inner.stars and "__getattr__" not in inner.names and not inner.problem:
            raise DetectionError(
                f"{at.label}:{last.line}: imports {last.origin.name} from {other.label}",
                why=f"{other.label} has no {last.origin.name}",
                fix=f"write {last.origin.name} there, or correct the import",
            )
        return found or (at, last)
    for star in bindings.stars if depth else ():
        other = _imported(at, Binding(0, "import", origin=star))
        if other is None:
            continue
        inner = read_module(os.path.join(at.root, other.label), other.label)
        if found := _follow(other, inner, name, depth - 1):
            return found
    return None


def _imported(at: _At, binding: Binding) -> _At | None:
    """The file of the source that a `from … import …` names, or None for anything else."""
    origin = binding.origin
    if origin is None:
        return None
    package = at.path.split(os.sep)[:-1]
    if origin.level > len(package) + (origin.level == 0):
        return None
    parents = package[: len(package) - origin.level + 1] if origin.level else []
    name = ".".join([*parents, *filter(None, [origin.module])])
    path = find_module(os.path.join(at.root, at.folder), name) if name else ""
    return _At(at.root, at.folder, path) if path and path != at.path else None


def _check(label: str, attribute: Attribute, binding: Binding) -> None:
    """Refuse what func-python surely cannot call; what is decorated or made otherwise, it judges itself."""
    signature = binding.signature
    if signature is None:
        return
    where = f"{label}:{binding.line}: {signature.text} cannot be served"
    if attribute == "new":
        if signature.is_async or not signature.takes(0):
            raise DetectionError(
                where,
                why="new is called without arguments, and gives the function's instance",
                fix=f"write it as def new(), which gives an object with {_HANDLE.replace('(', '(self, ', 1)}",
            )
    elif not signature.takes(3) or not signature.gives:
        raise DetectionError(
            where,
            why="handle is awaited with an ASGI scope, receive and send",
            fix=f"write it as {_HANDLE}",
        )


def _nothing(root: str, seen: list[tuple[str, Bindings]]) -> DetectionError:
    looked = (
        "function/__init__.py, function.py and func.py, the same below src/, and what pyproject.toml names"
    )
    what = "there is neither a function new nor a function handle"
    if not seen:
        hint = _inside(root)
        return DetectionError(what, why=f"looked for {looked}", fix=hint or _example())
    names = ", ".join(label for label, _ in seen)
    problems = [f"{label} {each.problem}" for label, each in seen if each.problem]
    why = f"looked at {names}" + (f" ({'; '.join(problems)})" if problems else "")
    if any("main" in each.names for _, each in seen):
        return DetectionError(
            what,
            why=f"{why}; main(context) is a form that knative func has left",
            fix=f"write new(), which gives an object with {_HANDLE.replace('(', '(self, ', 1)}, or {_HANDLE}",
        )
    return DetectionError(what, why=why, fix=_inside(root) or _example())


def _inside(root: str) -> str:
    """What to write where a file of the package `function` has what the package itself does not export."""
    for folder in ("", "src"):
        package = os.path.join(root, folder, "function")
        names = sorted(os.listdir(package)) if os.path.isdir(package) else []
        for name in names:
            module, dot, ending = name.rpartition(".")
            if dot and ending == "py" and module.isidentifier() and module != "__init__":
                label = os.path.join(folder, "function", name)
                bindings = read_module(os.path.join(package, name), label)
                for attribute in ("new", "handle"):
                    if attribute in bindings.names:
                        target = os.path.join(folder, "function", "__init__.py")
                        return f"write into {target}: from .{module} import {attribute}"
    return ""


def _example() -> str:
    return f"write into function/__init__.py: {_HANDLE}"

"""pyproject.toml: what a project is called, what it depends on, and how it is built and started.

Sources: packaging.python.org, "pyproject.toml specification" (PEP 621), "Dependency Groups" (PEP 735);
setuptools' documentation for `[tool.setuptools.dynamic]`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.requirement import normalise
from hostbuild.records import field, record

FILE_NAME = "pyproject.toml"

#: What builds a project that does not say it (PEP 517).
DEFAULT_BACKEND = "setuptools.build_meta:__legacy__"

_LARGEST = 4 * 1024 * 1024


@record
class PyProject:
    """One pyproject.toml. `path` is absolute, `digest` the SHA-256 of the file in hex.

    `has_project` tells whether there is a table [project]; `optional` and `groups` have normalised names,
    `groups` with what they include. `dynamic` names what the build backend decides. `backend` is "" where
    there is no table [build-system]. `uv`, `setuptools` and `poetry` are these tools' tables, or empty.
    """

    path: str
    digest: str
    has_project: bool = False
    name: str = ""
    version: str = ""
    requires_python: str = ""
    dependencies: tuple[str, ...] = ()
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    gui_scripts: Mapping[str, str] = field(default_factory=dict)
    dynamic: tuple[str, ...] = ()
    backend: str = ""
    uv: Mapping[str, Any] = field(default_factory=dict)
    setuptools: Mapping[str, Any] = field(default_factory=dict)
    poetry: Mapping[str, Any] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """The project's directory."""
        return os.path.dirname(self.path)

    @property
    def is_package(self) -> bool:
        """Whether the project itself is to be built to a wheel: it says how, or uv is told to."""
        packaged = self.uv.get("package")
        if isinstance(packaged, bool):
            return packaged
        return bool(self.backend)

    @property
    def declares_dependencies(self) -> bool:
        """Whether it says what it depends on, be it nothing, or names a backend that does."""
        return bool(self.dependencies or "dependencies" in self.dynamic or self.poetry.get("dependencies"))

    def dynamic_files(self) -> tuple[str, ...] | None:
        """The requirements files that setuptools takes the dynamic dependencies from, as they are written.

        None where they are not dynamic, or only the build backend can tell them.
        """
        if "dependencies" not in self.dynamic or not self.backend.startswith("setuptools."):
            return None
        table = self.setuptools.get("dynamic")
        entry = table.get("dependencies") if isinstance(table, dict) else None
        files = entry.get("file") if isinstance(entry, dict) else None
        files = [files] if isinstance(files, str) else files
        if not isinstance(files, list) or not all(isinstance(each, str) for each in files):
            return None
        return tuple(files)


def read_pyproject(root: str) -> PyProject | None:
    """The pyproject.toml in the directory `root`, or None where there is none.

    Raises DependenciesError for one that cannot be read or is not as the specification asks.
    """
    path = os.path.join(os.path.abspath(root), FILE_NAME)
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DependenciesError(f"cannot read {FILE_NAME}", why=error.strerror or str(error)) from None
    return parse_pyproject(data, path)


def parse_pyproject(data: bytes, path: str) -> PyProject:
    """A pyproject.toml's bytes; `path` is where they come from. Raises DependenciesError."""
    document = _toml(data)
    tables = _Table(document, "")
    project = tables.table("project")
    tool = tables.table("tool")
    has_project = "project" in document
    if has_project and not project.text("name"):
        raise DependenciesError(f"{FILE_NAME}: [project] has no name", fix='write name = "…"')
    optional = project.table("optional-dependencies")
    dynamic = project.texts("dynamic")
    for key in ("dependencies", "optional-dependencies"):
        if key in dynamic and key in project.values:
            raise DependenciesError(
                f"{FILE_NAME}: project.{key} is written down and dynamic", fix="remove one of the two"
            )
    return PyProject(
        path,
        hashlib.sha256(data).hexdigest(),
        has_project,
        project.text("name"),
        project.text("version"),
        project.text("requires-python"),
        project.texts("dependencies"),
        {normalise(name): optional.texts(name) for name in optional.values},
        _groups(tables.table("dependency-groups")),
        project.table("scripts").pairs(),
        project.table("gui-scripts").pairs(),
        dynamic,
        _backend(document, tables),
        tool.table("uv").values,
        tool.table("setuptools").values,
        tool.table("poetry").values,
    )


def _backend(document: Mapping[str, Any], tables: _Table) -> str:
    if "build-system" not in document:
        return ""
    return tables.table("build-system").text("build-backend") or DEFAULT_BACKEND


def _toml(data: bytes) -> dict[str, Any]:
    import tomllib

    if len(data) > _LARGEST:
        raise DependenciesError(f"{FILE_NAME} is larger than {_LARGEST} bytes")
    try:
        return tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except RecursionError:
        raise DependenciesError(f"{FILE_NAME} is nested too deeply", fix="write it flat") from None
    except ValueError as error:
        raise DependenciesError(f"{FILE_NAME} cannot be read", why=str(error)) from None


def _groups(table: _Table) -> dict[str, tuple[str, ...]]:
    """The groups with what they include, each requirement as it is written."""
    raw: dict[str, tuple[str, list[Any]]] = {}
    for name, value in table.values.items():
        if not isinstance(value, list):
            raise _wrong(f"dependency-groups.{name}", "an array")
        if normalise(name) in raw:
            raise DependenciesError(f"{FILE_NAME}: two dependency groups are called {normalise(name)!r}")
        raw[normalise(name)] = name, value
    return {name: tuple(_flatten(name, raw, ())) for name in raw}


def _flatten(name: str, raw: Mapping[str, tuple[str, list[Any]]], above: tuple[str, ...]) -> list[str]:
    if name in above:
        raise DependenciesError(
            f"{FILE_NAME}: the dependency group {name!r} includes itself", why=" -> ".join((*above, name))
        )
    written, items = raw[name]
    found: list[str] = []
    for item in items:
        if isinstance(item, str):
            found.append(item)
        elif (
            isinstance(item, dict)
            and set(item) == {"include-group"}
            and isinstance(item["include-group"], str)
        ):
            included = normalise(item["include-group"])
            if included not in raw:
                raise DependenciesError(
                    f"{FILE_NAME}: the dependency group {written!r} includes {item['include-group']!r}",
                    why="there is no such group",
                )
            found += _flatten(included, raw, (*above, name))
        else:
            raise _wrong(f"dependency-groups.{written}", 'of strings and {include-group = "NAME"}')
    return found


class _Table:
    """A TOML table whose values must be of a kind."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self._where = where

    def table(self, name: str) -> _Table:
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise _wrong(self._at(name), "a table")
        return _Table(value, self._at(name))

    def text(self, name: str) -> str:
        value = self.values.get(name, "")
        if not isinstance(value, str):
            raise _wrong(self._at(name), "a string")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise _wrong(self._at(name), "an array of strings")
        return tuple(value)

    def pairs(self) -> dict[str, str]:
        return {name: self.text(name) for name in self.values}

    def _at(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name


def _wrong(where: str, wanted: str) -> DependenciesError:
    return DependenciesError(f"{FILE_NAME}: {where} must be {wanted}")

"""uv's workspaces and local sources: which other projects a project's lock depends on.

Source of the rules: uv's documentation, "Using workspaces" and "Dependency sources".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from hostbuild.languages.python.pyproject import PyProject, read_pyproject

_MOST = 1000


class Workspace(NamedTuple):
    """A workspace: its root directory, and the projects in it, the root's own among them."""

    root: str
    projects: tuple[PyProject, ...]


def find_workspace(folder: str) -> Workspace | None:
    """The workspace that the project in `folder` belongs to, or None. Raises DependenciesError."""
    current = os.path.abspath(folder)
    while True:
        project = read_pyproject(current)
        table = project.uv.get("workspace") if project else None
        if project is not None and isinstance(table, dict):
            members = list(_members(current, table))
            inside = current == os.path.abspath(folder) or os.path.abspath(folder) in members
            if not inside:
                return None
            found = (project, *(each for path in members if (each := read_pyproject(path))))
            return Workspace(current, found)
        above = os.path.dirname(current)
        if above == current or os.path.exists(os.path.join(current, ".git")):
            return None
        current = above


def _members(root: str, table: dict[str, Any]) -> Iterator[str]:
    from glob import glob

    left_out = {
        path for pattern in _texts(table.get("exclude")) for path in glob(os.path.join(root, pattern))
    }
    for pattern in _texts(table.get("members")):
        for path in sorted(glob(os.path.join(root, pattern)))[:_MOST]:
            if path not in left_out and os.path.isfile(os.path.join(path, "pyproject.toml")):
                yield os.path.normpath(path)


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def local_projects(project: PyProject) -> tuple[PyProject, ...]:
    """The project, its workspace's, and those that their `[tool.uv.sources]` name by path, each once.

    Raises DependenciesError for a pyproject.toml that cannot be read.
    """
    found: dict[str, PyProject] = {}
    todo = [project]
    if workspace := find_workspace(project.root):
        todo += workspace.projects
    while todo and len(found) < _MOST:
        each = todo.pop(0)
        if each.path in found:
            continue
        found[each.path] = each
        for path in _source_paths(each):
            other = read_pyproject(path)
            if other is not None:
                todo.append(other)
    return tuple(found[path] for path in sorted(found))


def _source_paths(project: PyProject) -> Iterator[str]:
    sources = project.uv.get("sources")
    for value in sources.values() if isinstance(sources, dict) else ():
        for entry in value if isinstance(value, list) else [value]:
            path = entry.get("path") if isinstance(entry, dict) else None
            if isinstance(path, str):
                yield os.path.normpath(os.path.join(project.root, path))

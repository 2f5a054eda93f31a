"""How the user has configured uv, as settings that are told to it: it runs in a directory of its own.

A uv.toml, or a file that UV_CONFIG_FILE names, stands in place of [tool.uv]. Named to uv as a file it would
stand in place of what we tell it, too. Source of the rules: uv's documentation, "Configuration files".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.workspace import find_workspace

if TYPE_CHECKING:
    from hostbuild.languages.python.inputs import Inputs
    from hostbuild.languages.python.pyproject import PyProject

#: [tool.uv]'s keys that speak of the project itself; all others say how to resolve, and are kept.
_OF_THE_PROJECT = frozenset(
    {
        "build-backend",
        "cache-dir",
        "cache-keys",
        "conflicts",
        "default-groups",
        "dependency-groups",
        "dev-dependencies",
        "environments",
        "managed",
        "package",
        "pip",
        "publish-url",
        "python-downloads",
        "python-preference",
        "required-environments",
        "required-version",
        "sources",
        "trusted-publishing",
        "workspace",
    }
)


def settings_for(root: str, project: PyProject | None, environment: Mapping[str, str]) -> dict[str, Any]:
    """What of the configuration says how to resolve, for the project in `root`; its paths are absolute.

    Raises DependenciesError for a file that cannot be read.
    """
    own = os.path.join(root, "uv.toml")
    if path := environment.get("UV_CONFIG_FILE", ""):
        return _kept(_read(path), os.path.dirname(os.path.abspath(path)))
    if environment.get("UV_NO_CONFIG"):
        return {}
    if os.path.isfile(own):
        return _kept(_read(own), root)
    return project_settings(project)


def without_files(complete: Mapping[str, str], work: str) -> dict[str, str]:
    """The environment in which uv reads the settings that it is told, and no file that it shall not read."""
    left = {name: value for name, value in complete.items() if name not in {"UV_CONFIG_FILE", "UV_NO_CONFIG"}}
    if complete.get("UV_CONFIG_FILE") or complete.get("UV_NO_CONFIG"):
        left |= {"XDG_CONFIG_HOME": work, "XDG_CONFIG_DIRS": work}
    return left


def _read(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as stream:
            return tomllib.load(stream)
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        fix = "mend it; where UV_CONFIG_FILE names it, correct that"
        raise DependenciesError(f"cannot read {path!r}", why=why, fix=fix) from None


def project_settings(project: PyProject | None) -> dict[str, Any]:
    """The project's [tool.uv], or its workspace's, as far as it says how to resolve, its paths made absolute.

    Raises DependenciesError for a pyproject.toml of the workspace that cannot be read.
    """
    if project is None:
        return {}
    workspace = find_workspace(project.root)
    table = workspace.projects[0].uv if workspace else project.uv
    root = workspace.root if workspace else project.root
    return _kept(table, root)


def _kept(table: Mapping[str, Any], root: str) -> dict[str, Any]:
    """The keys that say how to resolve, their paths made absolute."""
    kept = {name: value for name, value in table.items() if name not in _OF_THE_PROJECT}
    if isinstance(kept.get("index"), list):
        kept["index"] = [_absolute_index(each, root) for each in kept["index"]]
    if isinstance(kept.get("find-links"), list):
        kept["find-links"] = [_absolute(each, root) for each in kept["find-links"]]
    return kept


def _absolute_index(table: Any, root: str) -> Any:
    return (
        {**table, "url": _absolute(table["url"], root)}
        if isinstance(table, dict) and "url" in table
        else table
    )


def _absolute(text: Any, root: str) -> Any:
    return text if not isinstance(text, str) or "://" in text else os.path.normpath(os.path.join(root, text))


def configuration_files(inputs: Inputs, environment: Mapping[str, str]) -> list[str]:
    """The configuration files that uv reads (its documentation, "Configuration files")."""
    if environment.get("UV_NO_CONFIG"):
        return []
    home = environment.get("HOME", "")
    user = environment.get("XDG_CONFIG_HOME", "") or (os.path.join(home, ".config") if home else "")
    candidates = [
        environment.get("UV_CONFIG_FILE", ""),
        os.path.join(inputs.root, "uv.toml"),
        os.path.join(user, "uv", "uv.toml") if user else "",
        "/etc/uv/uv.toml",
    ]
    return [path for path in candidates if path and os.path.isfile(path)]

"""Whether a uv.lock still says what its project asks for: an old one would leave out what was added since.

Source of the format: uv's documentation, "Project structure" (the lockfile); the table is that of the project
itself, `metadata.requires-dist`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.requirement import normalise

if TYPE_CHECKING:
    from hostbuild.languages.python.pyproject import PyProject

#: A package's name, and its version specifiers; None where it comes from a place that is named.
_Wanted = tuple[str, frozenset[str] | None]


def check_uv_lock(path: str, project: PyProject, label: str) -> None:
    """Raise DependenciesError where the lock at `path` was made for other dependencies of the project.

    A lock that cannot be read is for uv to complain of; what a build backend decides is not known here.
    """
    if {"dependencies", "optional-dependencies"} & set(project.dynamic):
        return
    locked = _locked(path, normalise(project.name))
    if locked is None:
        return
    optional = (each for some in project.optional.values() for each in some)
    asked = _together(_asked((*project.dependencies, *optional)))
    new, gone = sorted(asked.keys() - locked.keys()), sorted(locked.keys() - asked.keys())
    changed = sorted(
        name
        for name in asked.keys() & locked.keys()
        if asked[name] != locked[name] and None not in asked[name] | locked[name]
    )
    if not (new or gone or changed):
        return
    parts = [f"it does not know {', '.join(new)}"] if new else []
    parts += [f"it still has {', '.join(gone)}"] if gone else []
    parts += [f"it has another range of {', '.join(changed)}"] if changed else []
    raise DependenciesError(
        f"{label} is older than pyproject.toml", why="; ".join(parts), fix="run uv lock, and commit the file"
    )


def _together(wanted: Iterable[_Wanted]) -> dict[str, set[frozenset[str] | None]]:
    found: dict[str, set[frozenset[str] | None]] = {}
    for name, specifiers in wanted:
        found.setdefault(name, set()).add(specifiers)
    return found


def _locked(path: str, name: str) -> dict[str, set[frozenset[str] | None]] | None:
    import tomllib

    try:
        with open(path, "rb") as stream:
            packages = tomllib.load(stream)["package"]
        (own,) = [each for each in packages if each["name"] == name and _is_local(each["source"])]
        return _together(_entry(each) for each in own.get("metadata", {}).get("requires-dist", []))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_local(source: Mapping[str, Any]) -> bool:
    return bool({"editable", "virtual", "directory"} & source.keys())


def _entry(entry: Mapping[str, Any]) -> _Wanted:
    comes_from = {"url", "git", "path", "directory", "editable", "virtual", "index"} & entry.keys()
    return normalise(entry["name"]), None if comes_from else _specifiers(entry.get("specifier", ""))


def _specifiers(text: str) -> frozenset[str]:
    from packaging.specifiers import SpecifierSet

    return frozenset(map(str, SpecifierSet("" if text == "*" else text)))


def _asked(texts: Iterable[str]) -> Iterable[_Wanted]:
    from packaging.requirements import Requirement

    for text in texts:
        found = Requirement(text)
        yield normalise(found.name), None if found.url else frozenset(map(str, found.specifier))

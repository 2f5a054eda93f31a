"""The base image of a Python project that names none: the official slim image of a Python that fits."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.pyproject import PyProject

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

VERSION_FILE = ".python-version"

#: The minor versions of Python 3 in the order in which they are taken: the one that most wheels are made for,
#: the newest, then older ones.
PREFERRED = (13, 14, 12, 11, 10, 9, 8, 7, 6)

#: Versions that are not there yet are taken only where nothing else is allowed.
_FUTURE = range(15, 40)

#: An image's tag of a minor version is its newest release: one with a number that no release reaches.
_NEWEST_PATCH = 99

_PLAIN = re.compile(r"\s*>=\s*3(?:\.(\d+)(?:\.\d+)?)?\s*(?:,\s*<\s*4(?:\.0)*\s*)?")
_EXACT = re.compile(r"\s*===?\s*(3\.\d+\.\d+)\s*")
_PINNED = re.compile(r"(?:c?python[-@]?)?3\.(\d+)(?:\.\d+)?(?:rc\d+|[ab]\d+)?", re.IGNORECASE)
_CARET = re.compile(r"\^\s*(\d+)(?:\.\d+)*")
_TILDE = re.compile(r"~\s*(\d+)(?:\.(\d+))?(?:\.\d+)*")


def default_base(root: str, project: PyProject | None) -> str:
    """The base for the project in the directory `root`: as "python:3.13-slim".

    The minor version is that of .python-version where requires-python allows it; else the first of
    `PREFERRED` that it allows; else the smallest that it allows. One exact version is taken as it is.

    Raises DependenciesError where requires-python allows no Python 3, or is no version specifier.
    """
    requires = _requires(project)
    if match := _EXACT.fullmatch(requires):
        return f"python:{match[1]}-slim"
    pinned = _pinned(root)
    if (match := _PLAIN.fullmatch(requires)) or not requires.strip():
        least = int(match[1] or 0) if match else 0
        allowed = [minor for minor in (*pinned, *PREFERRED) if minor >= least] or [least]
    else:
        specifiers = _specifiers(requires)
        allowed = [minor for minor in (*pinned, *PREFERRED, *_FUTURE) if _allows(specifiers, minor)]
    if not allowed:
        raise DependenciesError(
            f"pyproject.toml: requires-python {requires!r} allows no Python 3",
            why="for a minor version its newest release counts, which is what images have",
            fix='write it as requires-python = ">=3.N", or name a base with --base',
        )
    return f"python:3.{allowed[0]}-slim"


def _requires(project: PyProject | None) -> str:
    """What is required; Poetry's own table where [project] does not say it."""
    if project is None:
        return ""
    if project.requires_python:
        return project.requires_python
    table = project.poetry.get("dependencies")
    text = table.get("python") if isinstance(table, dict) else None
    return _from_poetry(text) if isinstance(text, str) else ""


def _from_poetry(text: str) -> str:
    """Poetry's ^3.11 and ~3.11 in the words of version specifiers; anything else as it is."""
    parts = []
    for part in text.split(","):
        body = part.strip()
        if match := _CARET.fullmatch(body):
            parts.append(f">={body[1:].strip()},<{int(match[1]) + 1}")
        elif match := _TILDE.fullmatch(body):
            upper = f"{match[1]}.{int(match[2]) + 1}" if match[2] else f"{int(match[1]) + 1}"
            parts.append(f">={body[1:].strip()},<{upper}")
        elif body and body != "*":
            parts.append(f"=={body}" if body[0].isdigit() else body)
    return ",".join(parts)


def _specifiers(requires: str) -> SpecifierSet:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(requires)
    except InvalidSpecifier:
        raise DependenciesError(
            f"pyproject.toml: requires-python {requires!r} is not a version specifier",
            fix='write it as requires-python = ">=3.N"',
        ) from None


def _allows(specifiers: SpecifierSet, minor: int) -> bool:
    return specifiers.contains(f"3.{minor}.{_NEWEST_PATCH}")


def _pinned(root: str) -> tuple[int, ...]:
    """The minor version that .python-version names first, or nothing where it names no plain CPython 3."""
    try:
        with open(os.path.join(root, VERSION_FILE), encoding="utf-8", errors="replace") as stream:
            text = stream.read(4096)
    except OSError:
        return ()  # it is a hint, and there is none
    for line in text.splitlines():
        body = line.partition("#")[0].strip()
        if body:
            match = _PINNED.fullmatch(body)
            return (int(match[1]),) if match else ()
    return ()

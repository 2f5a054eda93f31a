"""`--compile`: which Python of this machine makes the bytecode for a base's Python."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from hostbuild.errors import HostbuildError, ToolMissingError, UsageError

if TYPE_CHECKING:
    from hostbuild.languages.base import Project
    from hostbuild.oci.platform import Platform
    from hostbuild.wheels.base_python import BasePython

#: Changes whenever the same sources and the same Python would give other bytecode.
RECIPE = 1

#: Its own modules only, and nothing written beside them. Not -I: PYTHONHASHSEED must be heard.
ALONE = ("-s", "-S", "-B", "-W", "ignore")

_QUESTION = (
    "import json, sys; print(json.dumps([sys.implementation.name, sys.implementation.cache_tag, "
    "getattr(sys, 'abiflags', ''), sys.version.split()[0], sys.executable]))"
)
_RELEASE = re.compile(r"\d+\.\d+\.\d+")


class Compiler(NamedTuple):
    """A Python that makes bytecode: its absolute path, its full version, what is to be remembered of it."""

    path: str
    version: str
    memo: Mapping[str, str] = {}

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the bytecode, for the recipes of trees: no path is in it."""
        return {"python": self.version, "recipe": RECIPE}


def find_compiler(project: Project, bases: Sequence[BasePython]) -> Compiler:
    """A CPython of the minor version of `bases`, which are those of the project's platforms.

    This very Python, else one in PATH, else one that uv has installed; nothing is downloaded. A version that
    is not released must be the base's own: its bytecode may still change. Raises UsageError where the bases'
    versions differ or are free-threaded, ToolMissingError where there is none.
    """
    minor = _check_bases(project.platforms, bases)
    finder = _Finder(project, tuple(base.python for base in bases), minor)
    found = finder.find()
    if found is None:
        # The form of bytecode is settled when a version is released.
        exact = next((base.python for base in bases if not _RELEASE.fullmatch(base.python)), "")
        needed = exact or minor
        raise ToolMissingError(
            f"no Python {needed} was found to compile with",
            why=f"--compile makes bytecode for the base's Python {bases[0].python}, and only the same "
            f"{'version' if exact else 'minor version'} can: neither this Python ({_version()}), nor "
            f"python{minor} in PATH, nor uv has it",
            fix=f"install it, as `uv python install {needed}` does, or build without --compile",
        )
    path, version = found
    return Compiler(path, version, finder.learnt)


def tool_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What such a Python is started with: of Python's own variables the one that makes it repeatable."""
    kept = {name: value for name, value in environment.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONHASHSEED": "0"}


def _check_bases(platforms: Sequence[Platform], bases: Sequence[BasePython]) -> str:
    """The minor version of all of them, as "3.13"."""
    minors = {_minor(base.python) for base in bases}
    if len(minors) > 1:
        told = (f"{platform} has {base.python}" for platform, base in zip(platforms, bases, strict=True))
        raise UsageError(
            "--compile needs the same minor version of Python on every platform",
            why=f"of the base images, {', '.join(told)}",
            fix="build without --compile, or build the platforms apart, each with --platform",
        )
    if any(base.is_threaded for base in bases):
        raise UsageError(
            "--compile makes no bytecode for a free-threaded Python",
            why="that of the base image is one",
            fix="build without --compile, or on another base",
        )
    return minors.pop()


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _version() -> str:
    return sys.version.split()[0]


class _Finder:
    """Looks at the Pythons of this machine; `learnt` is what processes said, for the next time."""

    def __init__(self, project: Project, wanted: Sequence[str], minor: str) -> None:
        self.learnt: dict[str, str] = {}
        self._project = project
        self._wanted = wanted
        self._minor = minor
        self._tag = f"cpython-{minor.replace('.', '')}"
        self._name = f"python{minor}"
        self._elsewhere = f"python {minor} elsewhere"
        self._environment = tool_environment(project.environment)

    def find(self) -> tuple[str, str] | None:
        """The path and the full version of the first that fits."""
        own = [
            sys.implementation.name,
            sys.implementation.cache_tag,
            sys.abiflags,
            _version(),
            sys.executable,
        ]
        if found := self._fits(own):
            return found
        folders = self._project.environment.get("PATH", os.defpath).split(os.pathsep)
        places = [folder for folder in dict.fromkeys(folders) if os.path.isabs(folder)]
        plain = [os.path.join(place, self._name) for place in places if not _is_of_shims(place)]
        for path in (*plain, self._project.memo.get(self._elsewhere, "")):
            if found := self._look(path):
                return found
        # These take long to ask. Shims choose a program at every start, and may have none.
        shims = (os.path.join(place, self._name) for place in places if _is_of_shims(place))
        for path in chain(shims, self._of_uv()):
            if found := self._look(path):
                self.learnt[self._elsewhere] = found[0]
                return found
        return None

    def _of_uv(self) -> Iterator[str]:
        """The Python that uv has installed, if it has one."""
        from hostbuild.languages.python.uv import find_uv

        flags = ("--managed-python", "--system", "--no-python-downloads", "--no-project", "--offline")
        # Where there is no uv, or it has none, the caller says what was looked for.
        with suppress(HostbuildError):
            uv = find_uv(self._project.environment)
            yield self._run((uv, "python", "find", *flags, self._minor)).strip()

    def _look(self, path: str) -> tuple[str, str] | None:
        """Ask a program what it is, or remember it; None for what is no such Python."""
        key = _key_of(path)
        if not key:
            return None
        answer = self._project.memo.get(key, "")
        if not answer:
            try:
                answer = self._run((path, *ALONE, "-c", _QUESTION)).strip()
            except HostbuildError:
                return None  # what does not start compiles nothing
        try:
            found = self._fits(json.loads(answer))
        except ValueError:
            return None
        if _is_of_shims(os.path.dirname(path)):
            key = _key_of(found[0]) if found else ""  # a shim itself may start another one next time
        if key:
            self.learnt[key] = answer
        return found

    def _fits(self, said: Any) -> tuple[str, str] | None:
        """The path and the version of a Python that said this of itself, if it can be used."""
        if not isinstance(said, list) or len(said) != 5 or not all(isinstance(each, str) for each in said):
            return None
        kind, tag, flags, version, path = said
        if kind != "cpython" or tag != self._tag or "t" in flags or not os.path.isabs(path):
            return None
        same_form = all(
            version == wanted or (_RELEASE.fullmatch(version) and _RELEASE.fullmatch(wanted))
            for wanted in self._wanted
        )
        return (path, version) if same_form else None

    def _run(self, argv: Sequence[str]) -> str:
        probe = self._project.probe or _probe
        return probe(argv, self._project.root, self._environment)


def _key_of(path: str) -> str:
    """What a program goes by in what is remembered; "" for what is none."""
    if not os.path.isabs(path) or not os.access(path, os.X_OK) or not os.path.isfile(path):
        return ""
    found = os.stat(path)
    return f"python {path}:{found.st_size}:{found.st_mtime_ns}:{found.st_ino}"


def _is_of_shims(folder: str) -> bool:
    return os.path.basename(folder) == "shims"


def _probe(argv: Sequence[str], cwd: str, environment: Mapping[str, str]) -> str:
    from hostbuild.process.command import capture

    return capture(argv, cwd=cwd, env=environment, check=True).stdout.decode("utf-8", "replace")

"""From source to a pure wheel, on this machine: by the project's own build backend, isolated, out of a copy.

A wheel goes to every target, so that it must not hold machine code. There is no compiler in a build: what has
a pure form is built in it on every machine alike, and what has none says so at once. A wheel that is named
for this machine, and holds no machine code, is taken where an optional part of it could not be compiled.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.errors import DependenciesError, ToolError
from hostbuild.languages.python.indexes import (
    resolving_variables,
    secrets,
    strip_user_info,
    uv_environment,
    without_index,
)
from hostbuild.languages.python.missing import PURE_BUILDS
from hostbuild.languages.python.requirement import normalise
from hostbuild.languages.python.sources import copy_source, source_files

if TYPE_CHECKING:
    from hostbuild.languages.python.inputs import Inputs
    from hostbuild.languages.python.pyproject import PyProject
    from hostbuild.languages.python.uv import Run, Uv
    from hostbuild.wheels.wheel import Wheel

__all__ = ["EPOCH", "RECIPE", "build_variables", "build_wheel", "source_files"]

#: Changes when the same source would give another wheel.
RECIPE = 1

#: The time of all files in a wheel: the first that a zip archive can hold, 1980-01-01.
EPOCH = 315532800

#: Variables by which a project is told its version, where it would ask its repository: the copy has none.
_VERSIONS = (
    "HATCH_BUILD_",
    "PBR_VERSION",
    "PDM_BUILD_",
    "POETRY_DYNAMIC_VERSIONING_",
    "SETUPTOOLS_SCM_",
    "VERSIONEER_",
)

#: Variables that would undo the isolation, or show the build another Python.
_LEFT_OUT = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "UV_BUILD_CONSTRAINT",
    "UV_NO_BUILD_ISOLATION",
    "UV_NO_BUILD_ISOLATION_PACKAGE",
    "UV_REQUIRE_HASHES",
)

#: [tool.uv]'s keys that would do so.
_OUT_OF_SETTINGS = frozenset({"no-build", "no-build-isolation", "no-build-isolation-package"})

_OF_THE_BACKEND = "The build backend returned an error"
_ERROR_LINE = re.compile(r"(?:[\w.]*(?:Error|Exception|Exit)\b|error\b|ERROR\b|fatal\b)")
_FAILED = re.compile(
    r"^(?:error|  cause): Failed to (?:build|resolve requirements from|parse entry:) `[^`]*`\n", re.MULTILINE
)
_NO_REPOSITORY = re.compile(r"setuptools[-_]scm was unable to detect|SETUPTOOLS_SCM_PRETEND_VERSION")
_MOST_LINES = 30
_PIECE = 1 << 20


def build_variables(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that decide what a wheel of `name` holds, without users and passwords: fit for a key."""
    said = {
        each: strip_user_info(value)
        for each, value in environment.items()
        if each.startswith(_VERSIONS) and value
    }
    return {**resolving_variables(environment), **said, **PURE_BUILDS.get(normalise(name), {})}


def build_wheel(
    source: str,
    *,
    name: str,
    version: str = "",
    environment: Mapping[str, str],
    work: str,
    run: Run | None = None,
    offline: bool = False,
    epoch: int = EPOCH,
    subdirectory: str = "",
    files: Sequence[tuple[str, str]] | None = None,
    inputs: Inputs | None = None,
) -> str:
    """The path, in the directory `work`, of the wheel that `source` is built to.

    `source` is a source archive or a directory, absolute; of a directory its `subdirectory` is built. A
    directory is copied: nothing is written into it; `files` is what `source_files` said of it, which the copy
    must be. `name` and, where it is given, `version` must be the wheel's. `environment` is what tools are
    started with, complete; with `inputs` the package indexes that the files of a project name are used
    too. `epoch` is the time of all files (seconds since 1970). `run` starts tools; None stands for the
    ordinary way. Nothing else is left in `work`.

    Raises DependenciesError where it cannot be built or holds machine code, OfflineError, UnreachableError,
    ToolMissingError, SourceChangedError, and WheelError for a wheel that is not in order.
    """
    from shutil import rmtree
    from tempfile import mkdtemp

    folder = mkdtemp(prefix="build-", dir=os.path.realpath(work))
    try:
        build = _Build(name, version, folder, environment, inputs, offline)
        project: PyProject | None = None
        if os.path.isdir(source):
            from hostbuild.languages.python.pyproject import read_pyproject

            project = read_pyproject(os.path.join(source, subdirectory))
            copy = copy_source(source, build.made("copy"), files=files)
            source = os.path.normpath(os.path.join(copy, subdirectory))
        built = build.run(source, project, run, epoch)
        final = os.path.join(work, os.path.basename(built))
        os.replace(built, final)
    finally:
        rmtree(folder)
    return final


class _Build(NamedTuple):
    """One build, in the scratch directory `folder` of its own."""

    name: str
    version: str
    folder: str
    environment: Mapping[str, str]
    inputs: Inputs | None
    offline: bool

    def run(self, source: str, project: PyProject | None, runner: Run | None, epoch: int) -> str:
        """Build the archive or copy; the path of the wheel in the scratch directory. `project` is what the
        copied directory's pyproject.toml says.
        """
        from hostbuild.languages.python.compilers import NoCompilers
        from hostbuild.languages.python.configuration import without_files
        from hostbuild.languages.python.session import index_urls
        from hostbuild.languages.python.uv import Uv, find_uv

        inputs = self.inputs
        asked = inputs.asked if inputs else None
        compilers = NoCompilers(self.made("compilers"))
        told = without_files(uv_environment(self.environment, asked.sources if asked else None), self.folder)
        complete = {
            **{each: value for each, value in told.items() if each not in _LEFT_OUT},
            **PURE_BUILDS.get(normalise(self.name), {}),
            **compilers.environment(self.environment),
            "GIT_CEILING_DIRECTORIES": self.folder,
            "LC_ALL": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "PYTHONUNBUFFERED": "1",  # else what it prints comes behind its last error
            "SOURCE_DATE_EPOCH": str(epoch),
            "TMPDIR": self.made("tmp"),
            "TZ": "UTC",
        }
        urls = index_urls(asked, (inputs.project if inputs else None) or project)
        tool = Uv(find_uv(self.environment), complete, secrets(complete, urls), runner)
        arguments = self._settings(project)
        try:
            self._start(tool, source, arguments, project.requires_python if project else "")
        except ToolError as error:
            raise self._failed(error, compilers.asked()) from None
        return self._accepted(compilers.asked(), epoch)

    @property
    def _title(self) -> str:
        return f"{self.name} {self.version}".strip()

    def made(self, name: str) -> str:
        """A new directory in the scratch directory."""
        path = os.path.join(self.folder, name)
        os.mkdir(path)
        return path

    def _settings(self, project: PyProject | None) -> list[str]:
        """Put [tool.uv] of the project at hand where uv looks for it; further arguments for uv."""
        from hostbuild.languages.python.configuration import settings_for
        from hostbuild.languages.python.tomltext import dump_toml

        inputs = self.inputs
        own = (inputs.project if inputs else None) or project
        root = inputs.root if inputs else self.folder
        found = settings_for(root, own, self.environment)
        kept = {name: value for name, value in found.items() if name not in _OUT_OF_SETTINGS}
        with open(os.path.join(self.folder, "pyproject.toml"), "w", encoding="utf-8") as stream:
            stream.write(dump_toml({"tool": {"uv": kept}}))
        arguments = ["--offline"] if self.offline else []
        if without_index(self.environment, inputs.asked.sources if inputs and inputs.asked else None):
            arguments.append("--no-index")
        return arguments

    def _start(self, tool: Uv, source: str, arguments: Sequence[str], requires_python: str) -> None:
        command = (
            *("build", "--wheel", "--no-python-downloads", "--no-create-gitignore"),
            *("--out-dir", os.path.join(self.folder, "out"), *arguments),
        )
        wanted = _python(requires_python)
        try:
            tool.run((*command, "--python", wanted, source), cwd=self.folder)
        except ToolError as error:
            if wanted == sys.executable or "No interpreter found for Python" not in error.detail:
                raise
            # What builds a wheel is seldom what runs it: most backends do not care.
            tool.run((*command, "--python", sys.executable, source), cwd=self.folder)

    def _failed(self, error: ToolError, compiled: Sequence[str]) -> Exception:
        from hostbuild.languages.python.uv import explain

        what = f"{self._title} cannot be built to a wheel"
        output, told = _split_output(
            error.detail.replace(f"{self.folder}/copy/", "").replace(f"{self.folder}/", "")
        )
        if compiled:
            return _machine_code(what, compiled, _last_lines(output))
        if _OF_THE_BACKEND in told or not told:
            return DependenciesError(
                what,
                why=_reason(output) or error.why or error.what,
                fix=_advice(output),
                detail=_last_lines(output) or told,
            )
        # What could not be done is said in our words: why, is in the lines below.
        cause = _FAILED.sub("", told).strip("\n") or told
        return explain(ToolError(error.what, why=error.why, detail=cause), what, offline=self.offline)

    def _accepted(self, compiled: Sequence[str], epoch: int) -> str:
        """The wheel that was built, written anew, if it is one for every machine."""
        from hostbuild.wheels.machinecode import find_machine_code
        from hostbuild.wheels.rewrite import rewrite_wheel
        from hostbuild.wheels.wheel import read_wheel

        what = f"the wheel that {self._title} is built to cannot be used"
        out = os.path.join(self.folder, "out")
        names = sorted(each for each in os.listdir(out) if each.endswith(".whl"))
        if len(names) != 1:
            raise DependenciesError(what, why=f"the build left {len(names)} wheels")
        wheel = read_wheel(os.path.join(out, names[0]), names[0])
        self._check_identity(wheel, what)
        # Programs for Windows are data here: launchers, that nothing in an image starts.
        code = [each.path for each in find_machine_code(wheel) if each.system != "Windows"]
        if code:
            raise _machine_code(what, code)
        is_pure = wheel.is_pure and _runs_everywhere(wheel)
        # It is named for this machine because of what it can do without, and was built without.
        if not is_pure and not compiled:
            raise _not_for_all(what, names[0])
        place = _host_path(wheel, (self.folder.encode(), b"/builds-v0/.tmp"))
        if place:
            raise DependenciesError(
                what,
                why=f"its build wrote the path that it was built in into {place}",
                fix="have the build write no paths: the same source must give the same image anywhere",
            )
        return rewrite_wheel(wheel, self.made("final"), epoch=epoch, as_pure=not is_pure)

    def _check_identity(self, wheel: Wheel, what: str) -> None:
        from packaging.version import InvalidVersion, Version

        if wheel.name != normalise(self.name):
            raise DependenciesError(what, why=f"it is one of {wheel.name} {wheel.version}")
        try:
            same = not self.version or Version(self.version) == Version(wheel.version)
        except InvalidVersion:
            same = False
        if not same:
            raise DependenciesError(what, why=f"it has the version {wheel.version}")


def _python(requires_python: str) -> str:
    """The Python to build with, in uv's words: this one, if the project is for it."""
    if not requires_python:
        return sys.executable
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        fits = SpecifierSet(requires_python).contains(
            ".".join(map(str, sys.version_info[:3])), prereleases=True
        )
    except InvalidSpecifier:
        fits = True
    return sys.executable if fits else requires_python


def _split_output(text: str) -> tuple[str, str]:
    """What the build backend printed, and what uv says of its failure."""
    found = [match.start() for match in re.finditer(r"^error: ", text, re.MULTILINE)]
    place = next(
        (each for each in reversed(found) if "\n  cause: " in text[each:]), found[-1] if found else 0
    )
    return text[:place], text[place:]


def _last_lines(output: str) -> str:
    return "\n".join(output.rstrip().splitlines()[-_MOST_LINES:])


def _reason(output: str) -> str:
    """The line that says best why a build backend failed, or ""."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR_LINE.match(line)]
    return (errors or lines or [""])[-1]


def _advice(output: str) -> str:
    if _NO_REPOSITORY.search(output):
        return "say the version: SETUPTOOLS_SCM_PRETEND_VERSION=1.2.3 (the history is no part of a build)"
    return "see what its build backend printed, or take a version that has wheels"


def _machine_code(what: str, places: Sequence[str], detail: str = "") -> DependenciesError:
    shown = ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
    return DependenciesError(
        what,
        why=f"it builds machine code: {shown}",
        fix="take a version that has wheels, or build them elsewhere and name them with --find-links",
        detail=detail,
    )


def _not_for_all(what: str, filename: str) -> DependenciesError:
    return DependenciesError(
        what,
        why=f"it is not for every machine and Python: by its name it is {filename}",
        fix="have its build make a pure wheel (py3-none-any), or take a version that has wheels",
    )


def _runs_everywhere(wheel: Wheel) -> bool:
    """Whether its tags say no more of the Python than that it is Python 3."""
    return any(tag.interpreter.startswith("py3") and tag.abi == "none" for tag in wheel.tags)


def _host_path(wheel: Wheel, marks: Sequence[bytes]) -> str:
    """The first file in the wheel that holds one of these texts, or ""."""
    longest = max(map(len, marks))
    for file in wheel.files:
        rest = b""
        with wheel.open(file) as stream:
            while piece := stream.read(_PIECE):
                window = rest + piece
                if any(mark in window for mark in marks):
                    return file.path
                rest = window[-longest:]
    return ""

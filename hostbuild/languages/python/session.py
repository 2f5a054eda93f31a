"""One project in uv's hands: a scratch directory, and all that uv's calls for it share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.configuration import project_settings, settings_for, without_files
from hostbuild.languages.python.indexes import credential_pairs, secrets, uv_environment, without_index
from hostbuild.languages.python.inputs import Inputs
from hostbuild.languages.python.lockfile import read_lock
from hostbuild.languages.python.tomltext import dump_toml
from hostbuild.languages.python.uv import ADVICE, Run, Uv, find_uv
from hostbuild.records import record

if TYPE_CHECKING:
    from hostbuild.languages.python.pyproject import PyProject
    from hostbuild.languages.python.requirements import RequirementsFile
    from hostbuild.model import Pairs
    from hostbuild.wheels.target import Target


@record
class Resolving:
    """How to resolve. `exclude_newer` leaves out what was uploaded later (RFC 3339 or a date); `offline` uses
    uv's cache only; `allow_builds` lets uv build a source archive to learn its metadata.
    """

    exclude_newer: str = ""
    offline: bool = False
    allow_builds: bool = True


def target_environment(target: Target) -> str:
    """The marker that a target satisfies and no other target does."""
    markers = target.markers()
    names = ["sys_platform", "platform_machine", "platform_python_implementation"]
    # To uv, whose Pythons begin at a release, a pre-release is none of them.
    names.append("python_full_version" if target.python.replace(".", "").isdigit() else "python_version")
    return " and ".join(f"{name} == '{markers[name]}'" for name in names)


class Session:
    """uv in a scratch directory of its own, with what all its calls for one project share."""

    def __init__(
        self,
        inputs: Inputs,
        uv: Uv,
        how: Resolving,
        *,
        environments: tuple[str, ...],
        python: str,
        settings: Mapping[str, Any],
        arguments: tuple[str, ...],
        work: str,
    ) -> None:
        self.inputs = inputs
        self.uv = uv
        self.how = how
        self.environments = environments
        self.python = python
        self.settings = settings
        self.arguments = arguments
        self.work = work
        self.folder = ""

    def __enter__(self) -> Self:
        from tempfile import mkdtemp

        self.folder = mkdtemp(prefix="lock-", dir=self.work)
        return self

    def __exit__(self, *_: object) -> None:
        from shutil import rmtree

        rmtree(self.folder)

    def write(self, name: str, lines: Iterable[str]) -> str:
        """A file of lines in the scratch directory, by its name there."""
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in lines)
        return name

    def compile(
        self,
        arguments: Sequence[str],
        *,
        settings: Mapping[str, Any] | None = None,
        python: str = "",
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """One universal resolution: the lock's document, cleaned, and what was left out of it.

        `settings` go into [tool.uv] beside the project's own. Raises ToolError, DependenciesError.
        """
        self.write("pyproject.toml", [dump_toml({"tool": {"uv": {**self.settings, **(settings or {})}}})])
        output = os.path.join(self.folder, "pylock.toml")
        if os.path.exists(output):
            os.remove(output)  # uv would keep to the versions in it
        self.uv.run(
            (
                *("pip", "compile", "--quiet", "--no-python-downloads", "--universal", "--no-header"),
                *("--python", sys.executable, "--python-version", python or self.python),
                *("--format", "pylock.toml", "--output-file", "pylock.toml"),
                *self.arguments,
                *arguments,
            ),
            cwd=self.folder,
        )
        return self.read(output)

    def read(self, path: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        """A lock that uv made, cleaned, and what was left out of it. Raises DependenciesError."""
        try:
            return read_lock(path, self.label, root=self.inputs.root, may_lack_files=True)
        except DependenciesError as error:
            what = f"the lock that {self.uv.path} made of {self.label} cannot be used"
            raise DependenciesError(what, why=error.why, fix=f"use a newer uv: {ADVICE}") from None

    def one_environment(self) -> dict[str, list[str]]:
        """The setting that resolves for the targets and nothing else, with one version for all of them.

        As a list of its own environments, each target could get older versions of what has no wheel for it.
        """
        return {"environments": [" or ".join(f"({each})" for each in self.environments)]}

    @property
    def label(self) -> str:
        """What people know the lock by."""
        return (
            self.inputs.label(self.inputs.path) if self.inputs.path else "what is needed beside the project"
        )


def open_session(
    inputs: Inputs,
    targets: Sequence[Target],
    *,
    environment: Mapping[str, str],
    work: str,
    how: Resolving | None = None,
    run: Run | None = None,
) -> Session:
    """Start to use uv for one project and its targets. Raises ToolMissingError."""
    from packaging.version import Version

    how = how or Resolving()
    sources = inputs.asked.sources if inputs.asked else None
    complete = without_files(uv_environment(environment, sources), work)
    return Session(
        inputs,
        Uv(find_uv(environment), complete, secrets(complete, index_urls(inputs.asked, inputs.project)), run),
        how,
        environments=tuple(dict.fromkeys(target_environment(target) for target in targets)),
        python=min((target.python for target in targets), key=Version),
        settings=settings_for(inputs.root, inputs.project, environment),
        arguments=_arguments(inputs, environment, how),
        work=work,
    )


def index_urls(asked: RequirementsFile | None, project: PyProject | None) -> list[str]:
    """The URLs that requirements files and a pyproject.toml name, some with a user and a password."""
    found = []
    if asked is not None:
        found += [asked.sources.index, *asked.sources.extra_indexes, *asked.sources.find_links]
        found += [each.url for each in asked.requirements]
    if project is not None:
        found += [text.partition("@")[2].strip() for text in project.dependencies if "://" in text]
    return [*found, *_named_indexes(project).values()]


def _named_indexes(project: PyProject | None) -> dict[str, str]:
    """The indexes of [tool.uv], by name; those without one by their URL."""
    indexes = project_settings(project).get("index")
    tables = [each for each in indexes if isinstance(each, dict)] if isinstance(indexes, list) else []
    return {str(each.get("name", each.get("url"))): str(each.get("url", "")) for each in tables}


def credentials_for(inputs: Inputs, environment: Mapping[str, str]) -> Pairs:
    """Who we are to which package index, for `wheels.credentials.Credentials`: the lock holds none of it.

    What a ~/.netrc says is not among it.
    """
    return credential_pairs(
        environment, index_urls(inputs.asked, inputs.project), _named_indexes(inputs.project)
    )


def _arguments(inputs: Inputs, environment: Mapping[str, str], how: Resolving) -> tuple[str, ...]:
    sources = inputs.asked.sources if inputs.asked else None
    found: list[str] = []
    if how.offline:
        found.append("--offline")
    if how.exclude_newer:
        found += ["--exclude-newer", how.exclude_newer]
    if not how.allow_builds:
        found += ["--only-binary", ":all:"]
    if without_index(environment, sources):
        found.append("--no-index")
    if sources is not None:
        found += ["--prerelease=allow"] if sources.pre else []
        found += [word for name in sources.no_binary for word in ("--no-binary", name)]
        found += [word for name in sources.only_binary for word in ("--only-binary", name)]
    return tuple(found)

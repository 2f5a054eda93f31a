"""From what a project asks for to a lock: one resolution for all targets, by uv.

The newest version of each package is taken, as pip does in the image, whether or not it has a wheel for
every target: a resolver that is told to avoid gaps goes back years through versions without a word. What is
missing is named later, all at once (`selection`, `missing`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hostbuild.errors import DependenciesError, ToolError
from hostbuild.languages.python.indexes import resolving_variables, strip_user_info, unused_variables
from hostbuild.languages.python.inputs import Inputs, read_digest
from hostbuild.languages.python.lockfile import FORMAT, Lock, read_lock
from hostbuild.languages.python.session import (
    Resolving,
    Session,
    configuration_files,
    open_session,
    target_environment,
)
from hostbuild.languages.python.uv import Run, explain

if TYPE_CHECKING:
    from hostbuild.wheels.target import Target

#: Changes when the same inputs would give another lock.
RECIPE = 1

#: How many packages may fail to tell their metadata before the resolution is given up.
_MOST_UNBUILDABLE = 16

_FAILED_BUILD = re.compile(r"Failed to (?:build|download and build) `([A-Za-z0-9][\w.-]*)==([^`\s]+)`")


def lock_key(
    inputs: Inputs,
    targets: Sequence[Target],
    environment: Mapping[str, str],
    how: Resolving | None = None,
) -> dict[str, Any]:
    """All that a lock depends on, but for what the indexes hold: JSON values, to be hashed.

    There is no absolute path in it below the project, and no password.
    """
    how = how or Resolving()
    asked = inputs.asked
    lines = [each.text for each in (*asked.requirements, *asked.constraints)] if asked else []
    sources = asked.sources if asked else None
    urls = [sources.index, *sources.extra_indexes, *sources.find_links] if sources else []
    return {
        "recipe": RECIPE,
        "format": FORMAT,
        "kind": inputs.kind,
        "files": sorted([inputs.label(each.path), each.digest] for each in inputs.files),
        "requirements": [strip_user_info(each) for each in lines],
        "sources": [strip_user_info(each) for each in urls],
        "extras": list(inputs.extras),
        "groups": list(inputs.groups),
        "package": inputs.package,
        "targets": sorted({target_environment(target) for target in targets}),
        "variables": resolving_variables(environment),
        "configuration": [
            read_digest(path, inputs.root).digest for path in configuration_files(inputs, environment)
        ],
        "exclude_newer": how.exclude_newer,
        "allow_builds": how.allow_builds,
    }


def lock(
    inputs: Inputs,
    targets: Sequence[Target],
    *,
    environment: Mapping[str, str],
    work: str,
    how: Resolving | None = None,
    run: Run | None = None,
) -> Lock:
    """The lock of what `inputs` ask for, made for all `targets` at once, or the one that was found.

    `environment` is what uv is started with, complete; `work` a scratch directory, in which nothing is
    left; `run` starts tools, None stands for the ordinary way. uv is looked for only when it is needed.

    Raises DependenciesError, OfflineError, UnreachableError, ToolMissingError.
    """
    how = how or Resolving()
    check_python(inputs, targets)
    warnings = inputs.warnings + tuple(f"{name} is not used" for name in unused_variables(environment))
    if inputs.kind == "nothing" or _is_empty(inputs):
        return Lock(_NO_PACKAGES, "nothing", warnings=warnings)
    if inputs.kind == "pylock":
        label = inputs.label(inputs.path)
        document, left_out = read_lock(inputs.path, label, root=inputs.root)
        found = Lock(document, label, extras=inputs.extras, groups=inputs.groups)
        return replace(found, warnings=warnings + left_out)
    session = open_session(inputs, targets, environment=environment, work=work, how=how, run=run)
    with session:
        made = _export(session) if inputs.kind == "uv" else compile_lock(session)
    return replace(made, warnings=warnings + made.warnings)


_NO_PACKAGES: dict[str, Any] = {"lock-version": "1.0", "created-by": "hostbuild", "packages": []}


def _is_empty(inputs: Inputs) -> bool:
    return inputs.asked is not None and not inputs.asked.requirements and not inputs.asked.local


def check_python(inputs: Inputs, targets: Iterable[Target]) -> None:
    """Raise DependenciesError where the project is not for a target's Python."""
    wanted = inputs.project.requires_python if inputs.project else ""
    if not wanted:
        return
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        versions = SpecifierSet(wanted)
    except InvalidSpecifier:
        raise DependenciesError(
            f"pyproject.toml: requires-python {wanted!r} is not a version specifier", fix='write ">=3.11"'
        ) from None
    for target in targets:
        if not versions.contains(target.python, prereleases=True):
            raise DependenciesError(
                f"the project is for Python {wanted}, and the base image has {target.python}",
                fix="use a base image with such a Python, or change requires-python",
                platform=str(target.platform),
            )


def compile_lock(session: Session, *, arguments: Sequence[str] = ()) -> Lock:
    """Resolve what the session's inputs ask for, with further `arguments` for uv.

    A package whose metadata cannot be built is taken to depend on nothing, so that all that is missing can
    be named at once: it cannot be used anyway. Raises DependenciesError, OfflineError, UnreachableError.
    """
    inputs = session.inputs
    arguments = (*_what(session), *arguments)
    unbuildable: dict[str, str] = {}
    known = list(session.settings.get("dependency-metadata", ()))
    while True:
        metadata = {"dependency-metadata": known} if known else {}
        try:
            document, left_out = session.compile(
                arguments, settings={**session.one_environment(), **metadata}
            )
            break
        except ToolError as error:
            failed = _FAILED_BUILD.search(error.detail)
            if failed is None or failed[1] in unbuildable or len(unbuildable) >= _MOST_UNBUILDABLE:
                what = f"the dependencies in {session.label} cannot be resolved"
                raise explain(error, what, offline=session.how.offline) from None
            unbuildable[failed[1]] = error.detail
            known.append({"name": failed[1], "version": failed[2], "requires-dist": []})
    # It is the targets' own, but for what uv leaves off a pre-release of Python.
    document.pop("requires-python", None)
    return Lock(
        document,
        session.label,
        session.environments,
        _hashes(inputs),
        unbuildable,
        warnings=left_out,
    )


def _what(session: Session) -> tuple[str, ...]:
    """The arguments that say what is asked for."""
    inputs = session.inputs
    if inputs.asked is None:
        found = [inputs.path]
        found += [word for name in inputs.extras for word in ("--extra", name)]
        found += [word for name in inputs.groups for word in ("--group", f"{inputs.path}:{name}")]
        return tuple(found)
    asked = inputs.asked
    lines = [*(each.text for each in asked.requirements), *(each.text for each in asked.local)]
    found = [session.write("requirements.txt", lines)]
    if asked.constraints:
        found += [
            "--constraints",
            session.write("constraints.txt", [each.text for each in asked.constraints]),
        ]
    return tuple(found)


def _hashes(inputs: Inputs) -> dict[str, tuple[str, ...]]:
    if inputs.asked is None or not inputs.asked.require_hashes:
        return {}
    found: dict[str, set[str]] = {}
    for each in (*inputs.asked.requirements, *inputs.asked.constraints):
        found.setdefault(each.name, set()).update(value.removeprefix("sha256:") for value in each.hashes)
    return {name: tuple(sorted(values)) for name, values in sorted(found.items())}


def _export(session: Session) -> Lock:
    """uv.lock as a pylock.toml, as it stands: nothing is resolved."""
    inputs = session.inputs
    output = os.path.join(session.folder, "pylock.toml")
    arguments = [
        *("export", "--quiet", "--frozen", "--no-python-downloads", "--no-header", "--no-default-groups"),
        *("--format", "pylock.toml", "--output-file", output),
        *(("--package", inputs.package) if inputs.package else ()),
        *(word for name in inputs.extras for word in ("--extra", name)),
        *(word for name in inputs.groups for word in ("--group", name)),
    ]
    try:
        session.uv.run(arguments, cwd=inputs.root)
    except ToolError as error:
        raise explain(error, f"{session.label} cannot be used", offline=True) from None
    document, left_out = session.read(output)
    return Lock(document, session.label, warnings=left_out)

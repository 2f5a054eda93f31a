"""From what a project asks for to a lock: one resolution for all targets, by uv.

The newest version of each package is taken, as pip does in the image, whether or not it has a wheel for
every target: a resolver that is told to avoid gaps goes back years through versions without a word. What is
missing is named later, all at once (`selection`, `missing`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hostbuild.errors import DependenciesError, ToolError
from hostbuild.languages.python.configuration import configuration_files
from hostbuild.languages.python.further import (
    constraints,
    installed_names,
    lacking,
    merged,
    without_directory,
)
from hostbuild.languages.python.indexes import resolving_variables, strip_user_info, unused_variables
from hostbuild.languages.python.inputs import Inputs, read_digest
from hostbuild.languages.python.lockfile import FORMAT, Lock, read_lock
from hostbuild.languages.python.session import (
    Resolving,
    Session,
    open_session,
    target_environment,
)
from hostbuild.languages.python.staleness import check_uv_lock
from hostbuild.languages.python.uv import Run, explain
from hostbuild.records import replace

if TYPE_CHECKING:
    from hostbuild.wheels.target import Target

#: Changes when the same inputs would give another lock.
RECIPE = 3

#: How many packages may fail to tell their metadata before the resolution is given up.
_MOST_UNBUILDABLE = 16

_NO_FITTING_WHEEL = re.compile(r"has no wheels with a matching|-compatible wheels")
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
        "decides": inputs.kind,
        "files": sorted([inputs.label(each.path), each.digest] for each in inputs.files),
        "requirements": [strip_user_info(each) for each in lines],
        "sources": [strip_user_info(each) for each in urls],
        "extras": list(inputs.extras),
        "groups": list(inputs.groups),
        "package": inputs.package,
        "further": list(inputs.further),
        "alone": inputs.alone,
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

    def session() -> Session:
        return open_session(inputs, targets, environment=environment, work=work, how=how, run=run)

    if _is_empty(inputs) and not inputs.further:
        return Lock(_NO_PACKAGES, "nothing", warnings=warnings)
    if inputs.kind == "pylock":
        label = inputs.label(inputs.path)
        document, left_out = read_lock(inputs.path, label, root=inputs.root)
        found = Lock(document, label, extras=inputs.extras, groups=inputs.groups, warnings=left_out)
    else:
        with session() as opened:
            found = _export(opened) if inputs.kind == "uv" else compile_lock(opened)
    if inputs.alone:
        own = [inputs.root, *([inputs.project.root] if inputs.project else [])]
        found = without_directory(found, own, root=inputs.root)
    if inputs.further and not _compiles_further(inputs):
        found = _with_further(found, inputs, targets, session)
    return replace(found, warnings=warnings + found.warnings)


def _compiles_further(inputs: Inputs) -> bool:
    """Whether what is needed beside the project is resolved together with it.

    A lock that was found is not ours to solve again, and where every package has its hashes, they are known
    of the project's own only.
    """
    hashed = inputs.asked is not None and inputs.asked.require_hashes
    return inputs.kind not in {"uv", "pylock"} and not hashed


def _with_further(
    found: Lock, inputs: Inputs, targets: Sequence[Target], session: Callable[[], Session]
) -> Lock:
    """The lock with what it lacks of `Inputs.further`, and what that depends on: in the locked versions."""
    names = installed_names(found, targets, root=inputs.root)
    wanted = lacking(inputs.further, names)
    if not wanted:
        return found
    with session() as opened:
        arguments = [
            opened.write("further.txt", wanted),
            *("--constraints", opened.write("locked.txt", constraints(found.document, inputs.root))),
        ]
        what = f"{', '.join(wanted)} cannot be had with the versions that {found.label} holds"
        try:
            more = _compile(opened, arguments, what)
        except DependenciesError as error:
            fix = "let the project depend on it, or on other versions, and lock it again"
            raise DependenciesError(what, why=error.why, fix=fix, detail=error.detail) from None
    return merged(found, more, targets, names)


_NO_PACKAGES: dict[str, Any] = {"lock-version": "1.0", "created-by": "hostbuild", "packages": []}


def _is_empty(inputs: Inputs) -> bool:
    if inputs.asked is None:
        return inputs.kind == "nothing"
    return not inputs.asked.requirements and not inputs.asked.local


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
            f"pyproject.toml: requires-python {wanted!r} is not a version specifier",
            fix=f'write ">={wanted}"' if wanted.replace(".", "").isdigit() else 'write ">=3.11"',
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
    what = f"the dependencies in {session.label} cannot be resolved"
    made = _compile(session, (*_what(session), *arguments), what)
    return replace(made, hashes=_hashes(session.inputs))


def _compile(session: Session, arguments: Sequence[str], what: str) -> Lock:
    """The lock that uv makes with these arguments; `what` says that it could not."""
    unbuildable: dict[str, str] = {}
    known = list(session.settings.get("dependency-metadata", ()))
    unfit: ToolError | None = None
    while True:
        settings: dict[str, Any] = {} if unfit else session.one_environment()
        if known:
            settings["dependency-metadata"] = known
        try:
            document, left_out = session.compile(arguments, settings=settings)
            break
        except DependenciesError:
            if unfit is None:
                raise
            raise explain(unfit, what, offline=session.how.offline) from None
        except ToolError as error:
            if _NO_FITTING_WHEEL.search(error.detail) and unfit is None:
                unfit = error  # what has no wheel is named later, with all others
                continue
            failed = _FAILED_BUILD.search(error.detail)
            if failed is None or failed[1] in unbuildable or len(unbuildable) >= _MOST_UNBUILDABLE:
                raise explain(error, what, offline=session.how.offline) from None
            unbuildable[failed[1]] = error.detail
            known.append({"name": failed[1], "version": failed[2], "requires-dist": []})
    # It is the targets' own, but for what uv leaves off a pre-release of Python.
    document.pop("requires-python", None)
    return Lock(document, session.label, session.environments, unbuildable=unbuildable, warnings=left_out)


def _what(session: Session) -> tuple[str, ...]:
    """The arguments that say what is asked for."""
    inputs = session.inputs
    further = list(inputs.further) if _compiles_further(inputs) else []
    if inputs.kind == "nothing":
        return (session.write("further.txt", further),)
    if inputs.asked is None:
        found = [inputs.path, *([session.write("further.txt", further)] if further else [])]
        found += [word for name in inputs.extras for word in ("--extra", name)]
        found += [word for name in inputs.groups for word in ("--group", f"{inputs.path}:{name}")]
        return tuple(found)
    asked = inputs.asked
    lines = [*(each.text for each in asked.requirements), *(each.text for each in asked.local), *further]
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
    if inputs.project is not None:
        check_uv_lock(inputs.path, inputs.project, session.label)
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

"""What else there is of packages that have no wheel: all their wheels, and another version that would do.

A lock names only the wheels that could fit its targets. For the report uv is asked again, by name; what it
cannot say is left out of the report, never an error of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hostbuild.errors import DependenciesError, OfflineError, ToolError, UnreachableError
from hostbuild.languages.python.inputs import Inputs
from hostbuild.languages.python.lockfile import Lock
from hostbuild.languages.python.locking import compile_lock
from hostbuild.languages.python.selection import select
from hostbuild.languages.python.session import Resolving, Session, open_session
from hostbuild.languages.python.tagnames import explain_gap
from hostbuild.languages.python.uv import Run
from hostbuild.languages.python.values import Missing
from hostbuild.records import replace

if TYPE_CHECKING:
    from hostbuild.wheels.target import Target

#: The oldest Python whose wheels are worth a word.
_OLDEST_PYTHON = "3.9"
_MOST_STEPS = 4

#: How many packages are looked up for another version.
_MOST = 12

_NEEDS_PYTHON = re.compile(r"Python>=(\d+\.\d+)")


def look_up(
    missing: Sequence[Missing],
    inputs: Inputs,
    targets: Sequence[Target],
    *,
    environment: Mapping[str, str],
    work: str,
    how: Resolving | None = None,
    run: Run | None = None,
) -> tuple[Missing, ...]:
    """The same packages with all their wheels, and with `pin` where another version would do.

    The arguments are those of `locking.lock`. Raises ToolMissingError where there is no uv.
    """
    how = how or Resolving()
    asked = [each for each in missing if each.version and (each.wheels or each.sdist)]
    if not asked:
        return tuple(missing)
    session = open_session(inputs, targets, environment=environment, work=work, how=how, run=run)
    with session:
        wheels = _all_wheels(session, asked)
        pins = _other_versions(session, asked[:_MOST], targets)
    return tuple(
        _with_wheels(
            replace(each, pin=pins.get(each.name, each.pin)),
            wheels.get((each.name, each.version)),
            targets,
        )
        for each in missing
    )


def _with_wheels(missing: Missing, wheels: Sequence[str] | None, targets: Sequence[Target]) -> Missing:
    """The package with all its wheels, and what each gap is then; None: they are not known."""
    if wheels is None:
        return missing
    known = tuple(sorted({*missing.wheels, *wheels}))
    by_platform = {str(target.platform): target for target in targets}
    gaps = []
    for gap in missing.gaps:
        reason, another_base = explain_gap(known, by_platform[gap.platform], all_known=True)
        gaps.append(gap._replace(reason=reason, another_base=another_base))
    return replace(missing, wheels=known, gaps=tuple(gaps))


def _all_wheels(session: Session, missing: Sequence[Missing]) -> dict[tuple[str, str], tuple[str, ...]]:
    """The names of all wheels of these versions, from the oldest Python that all of them are for."""
    from packaging.version import Version

    lines = [f"{each.name}=={each.version}" for each in missing]
    python = _OLDEST_PYTHON
    for _ in range(_MOST_STEPS):
        document = _try(session, lines, missing, python=python)
        if isinstance(document, dict):
            return {
                (each["name"], str(each.get("version", ""))): tuple(
                    wheel.get("name") or _file_name(wheel) for wheel in each.get("wheels", ())
                )
                for each in document["packages"]
            }
        needed = [Version(each) for each in _NEEDS_PYTHON.findall(document)]
        if not needed or max(needed) <= Version(python):
            break
        python = str(max(needed))
    return {}


def _file_name(wheel: Mapping[str, Any]) -> str:
    from hostbuild.wheels.names import file_name

    return file_name(wheel.get("url") or wheel["path"])


def _try(
    session: Session,
    lines: Sequence[str],
    missing: Sequence[Missing],
    *,
    arguments: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    python: str = "",
) -> dict[str, Any] | str:
    """The document of a resolution of these packages alone, or what uv said of its failure."""
    # Given metadata keeps uv from building what is missing anyway.
    metadata = [{"name": each.name, "version": each.version, "requires-dist": []} for each in missing]
    try:
        document, _ = session.compile(
            ("--no-deps", *arguments, session.write("names.txt", lines)),
            settings={"dependency-metadata": metadata, **(settings or {})},
            python=python,
        )
    except ToolError as error:
        return error.detail
    return document


def _other_versions(
    session: Session, missing: Sequence[Missing], targets: Sequence[Target]
) -> dict[str, str]:
    """For each package the line that pins a version with wheels, where nothing else would change for it."""
    if session.inputs.kind not in {"pyproject", "requirements"}:
        return {}  # a lock that was found is not ours to solve again
    settings = {**session.one_environment(), "required-environments": list(session.environments)}
    found: dict[str, str] = {}
    for each in missing:
        arguments = ("--only-binary", each.name)
        document = _try(session, [each.name], (), arguments=arguments, settings=settings)
        if isinstance(document, dict) and (pin := _pin(document, each, session, targets)):
            found[each.name] = pin
    before = _resolve(session, {}) if found else None
    if before is None:
        return {}
    if _agrees(session, found, targets, before):
        return found
    return {name: pin for name, pin in found.items() if _agrees(session, {name: pin}, targets, before)}


def _pin(document: dict[str, Any], missing: Missing, session: Session, targets: Sequence[Target]) -> str:
    """`NAME==VERSION`, for the targets that lack it where the others cannot have it too; "" for none."""
    lock = Lock(document, missing.name, session.environments)
    try:
        selection = select(lock, targets, root=session.inputs.root)
    except DependenciesError:
        return ""
    lacking = {each.platform for each in missing.gaps}
    chosen = {str(one.target.platform): [each.version for each in one.wheels] for one in selection.targets}
    wanted = {version for place in lacking for version in chosen.get(place, ())}
    if selection.missing or len(wanted) != 1:
        return ""
    pin = f"{missing.name}=={wanted.pop()}"
    if len({version for versions in chosen.values() for version in versions}) == 1:
        return pin
    machines = sorted({each.machine for each in targets if str(each.platform) in lacking})
    return f"{pin} ; {' or '.join(f'platform_machine == {machine!r}' for machine in machines)}"


def _resolve(session: Session, pins: Mapping[str, str]) -> Lock | None:
    """The lock of the project with these pins, or None where there is none."""
    try:
        return compile_lock(session, arguments=("--constraints", session.write("pins.txt", pins.values())))
    except (DependenciesError, OfflineError, UnreachableError):
        return None


def _agrees(session: Session, pins: Mapping[str, str], targets: Sequence[Target], before: Lock) -> bool:
    """Whether with these pins none of the packages is missing, and all others stay as they are."""
    after = _resolve(session, pins)
    if after is None:
        return False
    try:
        selection = select(after, targets, root=session.inputs.root)
    except DependenciesError:
        return False
    old, new = _versions(before), _versions(after)
    same = all(new[name] == old[name] for name in new.keys() & old.keys() - pins.keys())
    return same and not any(each.name in pins for each in selection.missing)


def _versions(lock: Lock) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in lock.document["packages"]:
        found.setdefault(each["name"], set()).add(str(each.get("version", "")))
    return found

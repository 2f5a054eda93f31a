"""What is needed beside a project, into a lock that says nothing of it: no locked version is changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hostbuild.languages.python.lockfile import Lock
from hostbuild.languages.python.requirement import normalise
from hostbuild.languages.python.session import target_environment
from hostbuild.records import replace

if TYPE_CHECKING:
    from hostbuild.wheels.target import Target

#: Words of a lock's markers (PEP 751) that no resolver knows.
_OF_LOCKS = ("extras", "dependency_groups")


def installed_names(lock: Lock, targets: Sequence[Target], *, root: str) -> tuple[frozenset[str], ...]:
    """For each target the names of the packages that it gets out of the lock, be they there as wheels or not.

    Raises what `selection.select` raises.
    """
    from hostbuild.languages.python.selection import select

    selection = select(lock, targets, root=root)
    found = []
    for one in selection.targets:
        names = {wheel.name for wheel in one.wheels} | {project.name for project in one.local}
        platform = str(one.target.platform)
        names |= {each.name for each in selection.missing if platform in {gap.platform for gap in each.gaps}}
        found.append(frozenset(normalise(name) for name in names))
    return tuple(found)


def lacking(further: Iterable[str], names: Sequence[frozenset[str]]) -> tuple[str, ...]:
    """The requirements among `further` whose package not every target gets."""
    from packaging.requirements import Requirement

    return tuple(
        each
        for each in further
        if not all(normalise(Requirement(each).name) in of_target for of_target in names)
    )


def constraints(document: Mapping[str, Any], root: str) -> list[str]:
    """The versions of a lock, one a line, as a resolver is told to keep to them."""
    packages: list[Mapping[str, Any]] = list(document["packages"])
    versions: dict[str, set[str]] = {}
    for each in packages:
        versions.setdefault(each["name"], set()).add(_pin(each, root))
    lines = []
    for each in packages:
        pin, marker = _pin(each, root), str(each.get("marker", ""))
        if not pin:
            continue
        if len(versions[each["name"]]) == 1:
            lines.append(pin)  # whatever the marker says: there is no other version of it
        elif not any(word in marker for word in _OF_LOCKS):
            lines.append(f"{pin} ; {marker}" if marker else pin)
    return list(dict.fromkeys(lines))


def _pin(package: Mapping[str, Any], root: str) -> str:
    from urllib.parse import quote

    name = package["name"]
    if "directory" in package:
        path = os.path.normpath(os.path.join(root, package["directory"]["path"]))
        return f"{name} @ file://{quote(path)}"
    if "archive" in package:
        archive = package["archive"]
        path = os.path.normpath(os.path.join(root, archive.get("path", "")))
        return f"{name} @ {archive.get('url') or f'file://{quote(path)}'}"
    return f"{name}=={package['version']}" if package.get("version") else ""


def merged(lock: Lock, more: Lock, targets: Sequence[Target], names: Sequence[frozenset[str]]) -> Lock:
    """`lock` with those packages of `more` that a target does not get out of it; `names` is what they get.

    Where packages have to have certain hashes, those that are added have to have theirs.
    """
    added = []
    for package in more.document["packages"]:
        name = normalise(package["name"])
        lack = [target for target, had in zip(targets, names, strict=True) if name not in had]
        if len(lack) == len(targets):
            added.append(package)
        elif lack:
            places = " or ".join(f"({each})" for each in dict.fromkeys(map(target_environment, lack)))
            marker = package.get("marker")
            both = f"({marker}) and ({places})" if marker else places
            added.append({**package, "marker": both})
    packages = sorted(
        (*lock.document["packages"], *added), key=lambda each: (each["name"], str(each.get("version", "")))
    )
    hashes = {**_hashes(added), **lock.hashes} if lock.hashes else {}
    return replace(
        lock,
        document={**lock.document, "packages": packages},
        hashes=hashes,
        unbuildable={**more.unbuildable, **lock.unbuildable},
        warnings=lock.warnings + more.warnings,
    )


def _hashes(packages: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for package in packages:
        files = [
            *package.get("wheels", ()),
            *(package[key] for key in ("sdist", "archive") if key in package),
        ]
        values = {each["hashes"]["sha256"] for each in files if "sha256" in each.get("hashes", {})}
        found.setdefault(package["name"], set()).update(values)
    return {name: tuple(sorted(values)) for name, values in sorted(found.items())}


def without_directory(lock: Lock, directories: Iterable[str], *, root: str) -> Lock:
    """The lock without the packages that are built of these directories (absolute); relative paths in it
    begin at `root`.
    """
    left_out = {os.path.normpath(each) for each in directories}

    def is_kept(package: Mapping[str, Any]) -> bool:
        table = package.get("directory")
        if table is None:
            return True
        path = os.path.join(root, table["path"], table.get("subdirectory", ""))
        return os.path.normpath(path) not in left_out

    packages = [each for each in lock.document["packages"] if is_kept(each)]
    return replace(lock, document={**lock.document, "packages": packages})

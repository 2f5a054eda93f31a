"""A lock: which packages, from where, with which hashes, for every target (PEP 751), as a JSON value.

What is kept of a pylock.toml holds no user, no password and no time, and its relative paths begin at the
project's root: the same inputs give the same bytes wherever they lie.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.indexes import strip_user_info
from hostbuild.records import field, record

FORMAT = 1

#: The URL of a source archive that is not there; see `with_stand_in`.
STAND_IN = "hostbuild:no-source-archive"

_FILES = frozenset({"archive", "directory", "sdist", "vcs", "wheels"})

_LONGEST_NAME = 255
_LARGEST = 64 * 1024 * 1024


@record
class Lock:
    """A lock for some targets.

    `document` is that of a pylock.toml. `label` is how people know it ("uv.lock"). `environments` are the
    markers that it was made for by hostbuild; empty for a lock that was found. `hashes` are the only SHA-256
    (hex) that each package may have, where requirements say them; empty where they do not. `unbuildable` maps
    packages whose metadata could not be built to what the build printed. `extras` and `groups` are those to
    choose.
    """

    document: Mapping[str, Any] = field(repr=False)
    label: str
    environments: tuple[str, ...] = ()
    hashes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    unbuildable: Mapping[str, str] = field(default_factory=dict)
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values, to be kept under the lock's key."""
        return {
            "format": FORMAT,
            "document": dict(self.document),
            "label": self.label,
            "environments": list(self.environments),
            "hashes": {name: list(values) for name, values in self.hashes.items()},
            "unbuildable": dict(self.unbuildable),
            "extras": list(self.extras),
            "groups": list(self.groups),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Lock | None:
        """The lock that `to_json` gave, or None for one of another format."""
        if value.get("format") != FORMAT:
            return None
        return cls(
            value["document"],
            value["label"],
            tuple(value["environments"]),
            {name: tuple(values) for name, values in value["hashes"].items()},
            value["unbuildable"],
            tuple(value["extras"]),
            tuple(value["groups"]),
            tuple(value["warnings"]),
        )


def with_stand_in(package: Mapping[str, Any]) -> dict[str, Any]:
    """The package with a source archive that is not there, for one that has no file to be selected."""
    name = f"{package['name'].replace('-', '_')}-{package.get('version', '0')}.tar.gz"
    return {**package, "sdist": {"name": name, "url": STAND_IN, "hashes": {"none": ""}}}


def read_lock(
    path: str, label: str, *, root: str, may_lack_files: bool = False
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The document of the pylock.toml at `path`, and what was left out of it, in words.

    uv leaves out wheels that fit no target, with `may_lack_files` even all of them.

    Raises DependenciesError for a file that is no lock.
    """
    import tomllib

    try:
        with open(path, "rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise DependenciesError(f"cannot read {label}", why=error.strerror or str(error)) from None
    if len(data) > _LARGEST:
        raise DependenciesError(f"{label} is larger than {_LARGEST} bytes")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DependenciesError(f"{label} cannot be read", why=str(error)) from None
    packages = document.get("packages")
    if may_lack_files and isinstance(packages, list):
        document["packages"] = [each if _FILES & each.keys() else with_stand_in(each) for each in packages]
    return clean(document, label, folder=os.path.dirname(path), root=root)


def clean(
    document: Mapping[str, Any], label: str, *, folder: str, root: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A lock without users, passwords and times, its paths relative to `root` where they were to `folder`.

    Gives the names of what was taken out as sentences. Raises DependenciesError for what is no lock.
    """
    _check(document, label)
    warnings: list[str] = []
    packages = []
    for package in document["packages"]:
        kept = {
            name: value for name, value in package.items() if name not in {"tool", "attestation-identities"}
        }
        copy = _copy(kept)
        changed = False
        for table in _tables(copy):
            changed |= _clean_table(table, folder, root)
        if changed:
            warnings.append(f"{label}: the user and password in a URL of {package.get('name')} were left out")
        packages.append(copy)
    packages.sort(key=lambda each: (str(each["name"]), str(each.get("version", ""))))
    kept = {name: value for name, value in document.items() if name not in {"tool", "packages"}}
    return {**_copy(kept), "packages": packages}, tuple(warnings)


def _check(document: Mapping[str, Any], label: str) -> None:
    from packaging.pylock import Pylock, PylockValidationError

    _check_names(document, label)
    try:
        Pylock.from_dict(document)
    except (PylockValidationError, RecursionError) as error:
        raise DependenciesError(
            f"{label} is not a valid lock (PEP 751)",
            why=strip_user_info(str(error)),
            fix="let the tool that wrote it write it anew",
        ) from None


def _check_names(document: Mapping[str, Any], label: str) -> None:
    """No file name may be longer than a file system takes: what its tags stand for would fill the memory."""
    packages = document.get("packages")
    for package in packages if isinstance(packages, list) else ():
        wheels = package.get("wheels") if isinstance(package, dict) else None
        for wheel in wheels if isinstance(wheels, list) else ():
            texts = wheel.values() if isinstance(wheel, dict) else ()
            names = (text.rpartition("/")[2] for text in texts if isinstance(text, str))
            if any(len(name) > _LONGEST_NAME and ".whl" in name for name in names):
                whose = str(package.get("name"))[:80]
                raise DependenciesError(
                    f"{label}: a wheel of {whose} has a name of more than {_LONGEST_NAME} bytes",
                    fix="let the tool that wrote it write it anew",
                )


def _copy(value: Any) -> Any:
    """A deep copy of what JSON can hold; times are left out: nothing depends on them."""
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items() if _is_json(item)}
    if isinstance(value, list):
        return [_copy(item) for item in value if _is_json(item)]
    return value


def _is_json(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | dict | list)


def _tables(package: MutableMapping[str, Any]) -> Iterator[MutableMapping[str, Any]]:
    yield package
    for name in ("sdist", "archive", "directory", "vcs"):
        if name in package:
            yield package[name]
    yield from package.get("wheels", ())


def _clean_table(table: MutableMapping[str, Any], folder: str, root: str) -> bool:
    changed = False
    for name in ("url", "index"):
        if isinstance(table.get(name), str):
            stripped = strip_user_info(table[name])
            changed |= stripped != table[name]
            table[name] = stripped
    path = table.get("path")
    if isinstance(path, str):
        absolute = os.path.normpath(os.path.join(folder, path))
        table["path"] = os.path.relpath(absolute, root).replace(os.sep, "/")
    return changed

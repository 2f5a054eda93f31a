"""Which modules of a build lie in directories, and in which: main, workspace, replaced, vendored.

As the go command decides it (Go Modules Reference: "Workspaces", "replace directive", "Vendoring"),
from go.mod, go.work and vendor/modules.txt alone.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from hostbuild.errors import DetectionError, SourceError, remedy
from hostbuild.languages.go.gomod import (
    GoMod,
    GoWork,
    Replace,
    Require,
    Vendored,
    compare_go_versions,
    compare_semver,
    is_directory_path,
    parse_gomod,
    parse_gowork,
    parse_modules_txt,
)
from hostbuild.languages.go.remembered import Remembered


class Modules(NamedTuple):
    """The local modules of one build.

    `main` maps the path of each main module (several in a workspace) to its directory, `replaced` that
    of each module that a directory replaces; `vendor` is the vendor directory in use, or "", with the
    `vendored` packages; `files` are the files that told all this; `problems` what the go command will
    refuse.
    """

    root: str
    gomod: GoMod
    workspace: str
    gowork: GoWork | None
    main: dict[str, str]
    replaced: dict[str, str]
    vendor: str
    vendored: frozenset[str]
    files: tuple[str, ...]
    problems: tuple[str, ...]


class _Found:
    def __init__(self) -> None:
        self.files: list[str] = []
        self.problems: list[str] = []

    def add(self, *paths: str) -> None:
        self.files += [path for path in paths if os.path.isfile(path)]


def find(directory: str, *, gowork: str, mod_flag: str, memory: Remembered | None = None) -> Modules:
    """The modules of a build in `directory` (absolute, links resolved).

    `gowork` and `mod_flag` are the values of GOWORK and of the flag -mod, "" where not set. Raises
    DetectionError where no go.mod is found upward, SourceError where a file cannot be read.
    """
    root = find_upward(directory, "go.mod")
    if not root:
        raise DetectionError(
            f"no go.mod in {directory} or above",
            why="a Go program is built as part of a module",
            fix="run: go mod init example.com/name",
        )
    memory = memory or Remembered()
    found = _Found()
    gomod = _read_gomod(root, memory)
    main = {gomod.module: root}
    mods = [(root, gomod)]
    workspace = _workspace(directory, gowork, found)
    work: GoWork | None = None
    if workspace:
        work = parse_gowork(read_text(workspace), workspace)
        mods += _used_modules(workspace, work, root, main, found=found, memory=memory)
        found.add(workspace, workspace + ".sum")
    for module_root, _ in mods:
        found.add(f"{module_root}/go.mod", f"{module_root}/go.sum")
    vendor, vendored = _vendor(root, gomod, workspace, work, mod_flag)
    if workspace and mod_flag == "mod":
        found.problems.append("-mod=mod cannot be used in a workspace; set GOWORK=off")
    replaced: dict[str, str] = {}
    if vendor:
        found.add(f"{vendor}/modules.txt")
    else:
        replaced = _replaced(mods, workspace, work, main, found)
    return Modules(
        root,
        gomod,
        workspace,
        work,
        main,
        replaced,
        vendor,
        vendored.packages,
        tuple(found.files),
        tuple(found.problems),
    )


def find_upward(directory: str, name: str) -> str:
    """The nearest directory, from `directory` upward, with a file `name`; "" if there is none."""
    while True:
        if os.path.isfile(f"{directory}/{name}"):
            return directory
        parent = os.path.dirname(directory)
        if parent == directory:
            return ""
        directory = parent


def read_bytes(path: str) -> bytes:
    """A file's bytes. Raises SourceError that names it."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        raise SourceError(
            f"cannot read {path}", why=str(error.strerror), fix=remedy(error, "make it readable")
        ) from error


def read_text(path: str) -> str:
    """A file's text. Raises SourceError that names it."""
    return _decode(read_bytes(path))


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _read_gomod(root: str, memory: Remembered) -> GoMod:
    path = f"{root}/go.mod"
    gomod = memory.gomod(path)
    if gomod is None:
        data = read_bytes(path)
        gomod = parse_gomod(_decode(data), path)
        memory.learn("gomod", path, data, gomod)
    return gomod


def _workspace(directory: str, gowork: str, found: _Found) -> str:
    if gowork == "off":
        return ""
    if gowork in ("", "auto"):
        above = find_upward(directory, "go.work")
        return f"{above.rstrip('/')}/go.work" if above else ""
    if not os.path.isabs(gowork):
        found.problems.append(f"GOWORK={gowork} is not an absolute path")
        return ""
    if not os.path.isfile(gowork):
        found.problems.append(f"GOWORK={gowork} does not exist")
        return ""
    return gowork


def _used_modules(
    workspace: str, work: GoWork, root: str, main: dict[str, str], *, found: _Found, memory: Remembered
) -> list[tuple[str, GoMod]]:
    """The other modules of the workspace; `main` is filled with them."""
    mods: list[tuple[str, GoMod]] = []
    used = False
    for use in work.uses:
        directory = _join(os.path.dirname(workspace), use)
        if os.path.realpath(directory) == root:
            used = True
            continue
        if not os.path.isfile(f"{directory}/go.mod"):
            found.problems.append(f"{workspace}: use {use}: it has no go.mod")
            continue
        gomod = _read_gomod(directory, memory)
        mods.append((directory, gomod))
        main.setdefault(gomod.module, directory)
    if not used:
        found.problems.append(
            f"{workspace} does not use the module in {root}: `go work use {root}` adds it, "
            "GOWORK=off ignores the file"
        )
    return mods


def _vendor(
    root: str, gomod: GoMod, workspace: str, work: GoWork | None, mod_flag: str
) -> tuple[str, Vendored]:
    """The vendor directory, if the go command will use it, and what is in it."""
    none = Vendored(workspace=False, modules=())
    directory = f"{os.path.dirname(workspace) if workspace else root}/vendor"
    if mod_flag not in ("", "vendor") or not os.path.isdir(directory):
        return "", none
    listing = f"{directory}/modules.txt"
    vendored = parse_modules_txt(read_text(listing)) if os.path.isfile(listing) else none
    if mod_flag == "vendor":
        return directory, vendored
    version = work.go if work is not None else gomod.go
    if compare_go_versions(version, "1.14") < 0 or vendored.workspace != bool(workspace):
        return "", none
    return directory, vendored


def _replaced(
    mods: list[tuple[str, GoMod]], workspace: str, work: GoWork | None, main: dict[str, str], found: _Found
) -> dict[str, str]:
    """Module path to directory, for the replacements that apply; go.work's come before go.mod's."""
    rules = [(os.path.dirname(workspace), rule) for rule in (work.replaces if work is not None else ())]
    rules += [(root, rule) for root, gomod in mods for rule in gomod.replaces]
    selected: dict[str, str] = {}
    for require in (require for _, gomod in mods for require in gomod.requires):
        _select(selected, require)
    replaced: dict[str, str] = {}
    decided: set[str] = set()
    for base, rule in sorted(rules, key=lambda item: not item[1].old_version):  # a version's rule comes first
        if rule.old in main or rule.old in decided or not _applies(rule, selected):
            continue
        decided.add(rule.old)
        if rule.new_version or not is_directory_path(rule.new):
            continue
        directory = _join(base, rule.new)
        replaced[rule.old] = directory
        if os.path.isfile(f"{directory}/go.mod"):
            found.add(f"{directory}/go.mod")
        else:
            found.problems.append(f"replace {rule.old} => {rule.new}: no go.mod in {directory}")
    return replaced


def _select(selected: dict[str, str], require: Require) -> None:
    before = selected.get(require.path)
    if before is None or compare_semver(before, require.version) < 0:
        selected[require.path] = require.version


def _applies(rule: Replace, selected: dict[str, str]) -> bool:
    """A rule for one version counts if that version is required, or nothing is known of the module."""
    return rule.old_version in ("", selected.get(rule.old, rule.old_version))


def _join(base: str, path: str) -> str:
    return os.path.normpath(os.path.join(base, path))

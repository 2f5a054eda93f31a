"""What says which packages a project needs: the file that decides, and every file that was read for it.

In this order: what the user names; pylock.toml; uv.lock; pyproject.toml's dependencies; requirements.txt.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from hostbuild.errors import DependenciesError, UsageError
from hostbuild.languages.python.pyproject import PyProject, read_pyproject
from hostbuild.languages.python.requirement import LocalProject, normalise, parse_requirement
from hostbuild.languages.python.requirements import FileRead, RequirementsFile, read_requirements
from hostbuild.languages.python.workspace import find_workspace, local_projects
from hostbuild.records import field, record

Kind = Literal["pylock", "uv", "pyproject", "requirements", "nothing"]

PYLOCK = "pylock.toml"
UV_LOCK = "uv.lock"
REQUIREMENTS = "requirements.txt"


_WRITE_PYPROJECT = "write a pyproject.toml with [project], or name what it needs in requirements.txt"

#: What other tools keep dependencies in, and how they get into a file that is read.
_UNREAD = {
    "Pipfile.lock": "run pipenv requirements > requirements.txt",
    "Pipfile": "run pipenv lock, and pipenv requirements > requirements.txt",
    "poetry.lock": "run poetry export -o requirements.txt, or write [project] in pyproject.toml",
    "setup.py": _WRITE_PYPROJECT,
    "setup.cfg": _WRITE_PYPROJECT,
    "environment.yml": "name what it needs from the package index in requirements.txt",
}


@record
class Inputs:
    """What a project asks for.

    `path` is the file that decides, absolute, or "" where nothing is asked for; `where` the directory that
    uv is to be started in for it (a uv workspace's member, or the root). `asked` is what requirements files
    hold (kind "requirements"). `files` are all files that decide, whose change makes a lock stale. `further`
    are requirements beside the project's own, by name and version; `alone` takes what the project depends on,
    and not the project.
    """

    kind: Kind
    root: str
    path: str = ""
    project: PyProject | None = None
    asked: RequirementsFile | None = field(default=None, repr=False)
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    package: str = ""
    files: tuple[FileRead, ...] = ()
    warnings: tuple[str, ...] = ()
    further: tuple[str, ...] = ()
    alone: bool = False

    @property
    def builds_project(self) -> bool:
        """Whether the project itself is to be built to a wheel, beside what it depends on."""
        if self.alone:
            return False
        return self.project is not None and self.project.has_project and self.project.is_package

    @property
    def local(self) -> tuple[LocalProject, ...]:
        """Local projects that requirements files name."""
        return tuple(self.asked.local) if self.asked else ()

    def label(self, path: str) -> str:
        """A path relative to the root, as people are shown it."""
        return os.path.relpath(path, self.root)


def find_inputs(
    root: str,
    *,
    environment: Mapping[str, str],
    files: Sequence[str] = (),
    extras: Iterable[str] = (),
    groups: Iterable[str] = (),
    package: str = "",
) -> Inputs:
    """What the project in the directory `root` asks for.

    `files` are requirements files, or one lock (pylock.toml, pylock.NAME.toml), that the user names, relative
    to the root; `extras` and `groups` are to be installed too; `package` is a member of a uv workspace.

    Raises DependenciesError, and UsageError for an extra, a group or a package that is not there.
    """
    root = os.path.abspath(root)
    project = read_pyproject(root)
    wanted = _Wanted(
        root,
        environment,
        project,
        tuple(sorted({normalise(each) for each in extras})),
        tuple(sorted({normalise(each) for each in groups})),
        package,
    )
    if files:
        return _named(wanted, [os.path.normpath(os.path.join(root, each)) for each in files])
    if os.path.isfile(path := os.path.join(root, PYLOCK)):
        return _pylock(wanted, path)
    if project is not None and (lock := _uv_lock(root)):
        return _uv(wanted, lock)
    requirements = os.path.join(root, REQUIREMENTS)
    has_requirements = os.path.isfile(requirements)
    if project is not None and (project.has_project or project.poetry):
        if project.declares_dependencies or not has_requirements or wanted.extras or wanted.groups:
            return _pyproject(wanted, requirements if has_requirements else "")
        note = "pyproject.toml names no dependencies: requirements.txt says them"
        return _requirements(wanted, [requirements], (note,))
    if has_requirements:
        return _requirements(wanted, [requirements], ())
    _refuse_choices(wanted, "nothing here")
    _refuse_unread(root)
    return Inputs("nothing", root, project=project, files=_project_files(project, ()))


@record
class _Wanted:
    root: str
    environment: Mapping[str, str]
    project: PyProject | None
    extras: tuple[str, ...]
    groups: tuple[str, ...]
    package: str


def _named(wanted: _Wanted, paths: list[str]) -> Inputs:
    locks = [path for path in paths if is_pylock_name(os.path.basename(path))]
    if locks and len(paths) > 1:
        raise UsageError(
            f"{os.path.basename(locks[0])} is a lock, and one of several files",
            why="a lock says everything",
            fix="name the lock alone",
        )
    return _pylock(wanted, locks[0]) if locks else _requirements(wanted, paths, ())


def _refuse_unread(root: str) -> None:
    """What says dependencies in a form that is not read must not end in an image without them."""
    for name, fix in _UNREAD.items():
        path = os.path.join(root, name)
        if os.path.isfile(path) and (name != "setup.cfg" or _mentions(path, b"install_requires")):
            raise DependenciesError(
                f"{name} says what the project needs, and is not read",
                why=f"read are {PYLOCK}, {UV_LOCK}, pyproject.toml and {REQUIREMENTS}: none of them is there",
                fix=fix,
            )


def _mentions(path: str, word: bytes) -> bool:
    try:
        with open(path, "rb") as stream:
            return word in stream.read(1 << 20)
    except OSError:
        return False


def is_pylock_name(name: str) -> bool:
    """Whether a file of this name is a lock: pylock.toml, or pylock.NAME.toml (PEP 751, "File Name")."""
    middle = name.removeprefix("pylock.").removesuffix(".toml")
    return name == PYLOCK or (name == f"pylock.{middle}.toml" and middle != "" and "." not in middle)


def _pylock(wanted: _Wanted, path: str) -> Inputs:
    _refuse_package(wanted)
    return Inputs(
        "pylock",
        wanted.root,
        path,
        wanted.project,
        extras=wanted.extras,
        groups=wanted.groups,
        files=_project_files(wanted.project, (read_digest(path, wanted.root),)),
    )


def _uv_lock(root: str) -> str:
    """The uv.lock of the project in `root`: its own, or that of the workspace that it belongs to."""
    own = os.path.join(root, UV_LOCK)
    if os.path.isfile(own):
        return own
    workspace = find_workspace(root)
    above = os.path.join(workspace.root, UV_LOCK) if workspace else ""
    return above if above and os.path.isfile(above) else ""


def _uv(wanted: _Wanted, lock: str) -> Inputs:
    project = wanted.project
    workspace = find_workspace(wanted.root)
    member = project
    if wanted.package:
        found = {normalise(each.name): each for each in workspace.projects} if workspace else {}
        member = found.get(normalise(wanted.package))
        if member is None:
            raise UsageError(
                f"there is no package {wanted.package!r} in the uv workspace",
                fix=f"it has {', '.join(sorted(found))}" if found else "leave out the package",
            )
    if member is not None:
        _check_choices(member, wanted)
    read = [read_digest(lock, wanted.root)]
    read += [FileRead(each.path, each.digest) for each in (member, project) if each is not None]
    return Inputs(
        "uv",
        wanted.root,
        lock,
        member,
        extras=wanted.extras,
        groups=wanted.groups,
        package=wanted.package,
        files=tuple(dict.fromkeys(read)),
    )


def _pyproject(wanted: _Wanted, ignored: str) -> Inputs:
    project = wanted.project
    if project is None:
        raise DependenciesError("there is no pyproject.toml")
    _refuse_package(wanted)
    if not project.has_project and project.poetry.get("package-mode") is False:
        raise DependenciesError(
            "pyproject.toml has no [project], and Poetry's table is of no package",
            why="only Poetry understands what it depends on then",
            fix="run poetry export -o requirements.txt, and build with --requirements requirements.txt",
        )
    dynamic = project.dynamic_files()
    if dynamic is not None and not wanted.extras and not wanted.groups:
        return _requirements(wanted, [os.path.join(wanted.root, each) for each in dynamic], ())
    _check_choices(project, wanted)
    for where, texts in _asked_for(project, wanted):
        for number, text in enumerate(texts, 1):
            parse_requirement(text, folder=wanted.root, where=f"pyproject.toml: {where}, entry {number}")
    read = [FileRead(each.path, each.digest) for each in local_projects(project)]
    read += [read_digest(path, wanted.root) for path in setup_files(wanted.root)]
    warnings = (
        [f"{os.path.basename(ignored)} is not read: pyproject.toml says the dependencies"] if ignored else []
    )
    return Inputs(
        "pyproject",
        wanted.root,
        project.path,
        project,
        extras=wanted.extras,
        groups=wanted.groups,
        files=tuple(dict.fromkeys(read)),
        warnings=tuple(warnings),
    )


def _asked_for(project: PyProject, wanted: _Wanted) -> list[tuple[str, tuple[str, ...]]]:
    return [
        ("project.dependencies", project.dependencies),
        *(
            (f"project.optional-dependencies.{name}", project.optional.get(name, ()))
            for name in wanted.extras
        ),
        *((f"dependency-groups.{name}", project.groups.get(name, ())) for name in wanted.groups),
    ]


def _requirements(wanted: _Wanted, paths: list[str], warnings: tuple[str, ...]) -> Inputs:
    _refuse_choices(wanted, "a requirements file")
    asked = RequirementsFile()
    for path in paths:
        asked = _merged(asked, read_requirements(path, root=wanted.root, environment=wanted.environment))
    read = [*asked.files]
    for local in asked.local:
        found = read_pyproject(local.path)
        read += [FileRead(each.path, each.digest) for each in (local_projects(found) if found else ())]
        read += [read_digest(path, wanted.root) for path in setup_files(local.path)]
    return Inputs(
        "requirements",
        wanted.root,
        paths[0],
        wanted.project,
        asked,
        files=_project_files(wanted.project, tuple(dict.fromkeys(read))),
        warnings=(*warnings, *asked.warnings),
    )


def _merged(one: RequirementsFile, other: RequirementsFile) -> RequirementsFile:
    if not one.files:
        return other
    first, second = one.sources, other.sources
    first.index = second.index or first.index
    first.no_index = first.no_index or second.no_index
    first.pre = first.pre or second.pre
    for name in ("extra_indexes", "find_links", "no_binary", "only_binary", "trusted_hosts"):
        getattr(first, name).extend(
            each for each in getattr(second, name) if each not in getattr(first, name)
        )
    for name in ("requirements", "constraints", "local", "files", "warnings"):
        getattr(one, name).extend(each for each in getattr(other, name) if each not in getattr(one, name))
    if one.require_hashes != other.require_hashes:
        raise DependenciesError(
            "one of the requirements files has hashes and another one has none",
            why="with a hash in one place each package must have one",
            fix="put the hashes into all files, or into none",
        )
    return one


def _check_choices(project: PyProject, wanted: _Wanted) -> None:
    optional_is_dynamic = "optional-dependencies" in project.dynamic or bool(project.poetry)
    for name in wanted.extras:
        if name not in project.optional and not optional_is_dynamic:
            raise _no_such("extra", name, project.optional)
    for name in wanted.groups:
        if name not in project.groups and not (name == "dev" and project.uv.get("dev-dependencies")):
            raise _no_such("dependency group", name, project.groups)


def _no_such(kind: str, name: str, there: Iterable[str]) -> UsageError:
    names = ", ".join(sorted(there))
    return UsageError(
        f"pyproject.toml has no {kind} {name!r}",
        fix=f"it has {names}" if names else f"it has no {kind} at all",
    )


def _refuse_package(wanted: _Wanted) -> None:
    if wanted.package:
        raise UsageError(
            f"the package {wanted.package!r} cannot be chosen",
            why="only a uv workspace with a uv.lock has several",
        )


def _refuse_choices(wanted: _Wanted, where: str) -> None:
    _refuse_package(wanted)
    for kind, names in (("extra", wanted.extras), ("dependency group", wanted.groups)):
        if names:
            raise UsageError(f"there is no {kind} {names[0]!r}", why=f"{where} has neither extras nor groups")


def setup_files(folder: str) -> list[str]:
    """The files besides pyproject.toml that may say a setuptools project's dependencies."""
    return [path for name in ("setup.py", "setup.cfg") if os.path.isfile(path := os.path.join(folder, name))]


def _project_files(project: PyProject | None, others: tuple[FileRead, ...]) -> tuple[FileRead, ...]:
    own = (FileRead(project.path, project.digest),) if project else ()
    return tuple(dict.fromkeys((*others, *own)))


def read_digest(path: str, root: str) -> FileRead:
    """A file with its digest. Raises DependenciesError where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return FileRead(path, hashlib.file_digest(stream, "sha256").hexdigest())
    except OSError as error:
        label = os.path.relpath(path, root)
        raise DependenciesError(f"cannot read {label}", why=error.strerror or str(error)) from None

"""How an application is started.

In this order: the package that the user names; the `web` line of a Procfile, which is written for nothing
else; a command of [project.scripts]; the one package that `python -m` can run.
"""

from __future__ import annotations

import os
import posixpath
import re
import shlex
from collections.abc import Mapping
from typing import NamedTuple

from hostbuild.errors import DetectionError
from hostbuild.languages.python import procfile
from hostbuild.languages.python.pyproject import PyProject
from hostbuild.languages.python.requirement import normalise
from hostbuild.languages.python.toplevel import find_module
from hostbuild.patterns import late

#: Where the commands of installed wheels lie in an image.
BIN_DIR = "/opt/python/bin"

#: The directories that modules are looked for in, relative to the root. Images have both in PYTHONPATH.
FOLDERS = ("", "src")

#: Files that only Python projects have.
SIGNS = frozenset(("pyproject.toml", "requirements.txt", "uv.lock", "setup.py", "setup.cfg"))

_NO_PROGRAMS = frozenset(
    ("build", "dist", "doc", "docs", "env", "example", "examples", "node_modules", "test", "tests", "venv")
)
_ENTRY = late(r"\s*([\w.]+)\s*:\s*([\w.]+)\s*(?:\[[^\]]*\])?\s*")
_COMMAND = late(r"[\w.-]+")
_GUARD = late(rb"^if[ \t(]+__name__\s*==\s*['\"]__main__['\"]", re.MULTILINE)
_LARGEST = 1024 * 1024


class Start(NamedTuple):
    """The words that start an application, and where they come from, in words."""

    argv: tuple[str, ...]
    how: str


def claims(root: str) -> bool:
    """Whether a directory looks like a Python project: a few names, nothing is read."""
    directories = []
    has_procfile = False
    try:
        with os.scandir(root) as scan:
            for entry in scan:
                if entry.name.endswith(".py") or entry.name in SIGNS or _is_lock(entry.name):
                    return True
                has_procfile = has_procfile or entry.name == procfile.FILE_NAME
                if entry.is_dir() and entry.name[0] not in "._" and entry.name not in _NO_PROGRAMS:
                    directories.append(entry.path)
    except OSError:
        return False  # whoever reads it says why
    return has_procfile and any(_has_python(path) for path in directories)


def _is_lock(name: str) -> bool:
    return name.startswith("pylock.") and name.endswith(".toml")


def _has_python(path: str) -> bool:
    try:
        return any(name.endswith(".py") for name in os.listdir(path))
    except OSError:
        return False


def find_start(
    root: str,
    project: PyProject | None,
    *,
    package: str,
    interpreter: str,
    bin_dir: str = BIN_DIR,
    shell: str = "/bin/sh",
) -> Start:
    """How the application in the directory `root` is started in an image.

    `package` is what the user names ("app", "app.web", "./services/web"), or "". `interpreter` is the base's
    Python: a path, or a name to be found in PATH. `shell` is an absolute path, or "" where the base has none.
    `bin_dir` is where the image has the commands of wheels.

    A project that is not built to a wheel has no commands: the function behind one is called instead.

    Raises DetectionError where nothing or more than one thing could be started; it lists what to write.
    """
    if package:
        return _named(root, package, interpreter)
    if line := _web(root):
        return Start(procfile.command(line, interpreter=interpreter, shell=shell), "Procfile, web")
    scripts = _scripts(root, project, interpreter, bin_dir)
    if len(scripts) == 1:
        return scripts[0].start()
    own = normalise(_name(project))
    for each in scripts:
        if normalise(each.name) == own:
            return each.start()
    packages = _packages(root)
    if len(packages) == 1 and not scripts:
        return _module(packages[0], interpreter)
    choices = [f"--entrypoint {_quoted(each.start().argv)}" for each in scripts]
    choices += [f"--package {name}" for name in packages]
    if choices:
        raise DetectionError(
            f"{len(choices)} commands could start the application",
            why="none of them is marked as the one",
            fix=f"choose one: {', or '.join(choices)}; or write it into a Procfile, as web: COMMAND",
        )
    raise _nothing(root)


def _named(root: str, package: str, interpreter: str) -> Start:
    name = package
    if "/" in package or package.endswith(".py"):
        name = os.path.normpath(package).removeprefix("src/").removesuffix(".py").replace("/", ".")
    folders = FOLDERS if all(part.isidentifier() for part in name.split(".")) else ()
    for base in (os.path.join(root, folder) for folder in folders):
        if os.path.isfile(os.path.join(base, *name.split("."), "__main__.py")):
            return _module(name, interpreter)
        found = find_module(base, name)
        if found.endswith("__init__.py"):
            raise DetectionError(
                f"--package {package}: {name} cannot be started",
                why="the package has no __main__.py",
                fix="add one, or name its command with --entrypoint",
            )
        if found:
            return _module(name, interpreter)
    there = ", ".join([*_packages(root), *_programs(root)])
    path = name.replace(".", "/")
    raise DetectionError(
        f"--package {package}: there is no such package or module",
        why=f"looked for {path}/__main__.py and {path}.py, here and below src/",
        fix=f"there are {there}" if there else "name the command with --entrypoint",
    )


def _module(name: str, interpreter: str) -> Start:
    return Start((interpreter, "-m", name), f"python -m {name}")


def _web(root: str) -> str:
    path = os.path.join(root, procfile.FILE_NAME)
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LARGEST + 1)
    except (FileNotFoundError, IsADirectoryError):
        return ""
    except OSError as error:
        raise DetectionError(f"cannot read {procfile.FILE_NAME}", why=error.strerror or str(error)) from None
    if len(data) > _LARGEST:
        raise DetectionError(f"{procfile.FILE_NAME} is larger than {_LARGEST} bytes")
    return procfile.parse_procfile(data).get("web", "")


class _Script(NamedTuple):
    """A command that pyproject.toml names. `installed` tells that the project's wheel brings it."""

    name: str
    entry: str
    table: str
    installed: bool
    root: str
    interpreter: str
    bin_dir: str

    def start(self) -> Start:
        """Raises DetectionError for what is no entry point, and for a module that is not there."""
        match = _ENTRY.fullmatch(self.entry)
        if match is None or _COMMAND.fullmatch(self.name) is None:
            raise DetectionError(
                f"pyproject.toml: the script {self.name} = {self.entry!r} names no function",
                fix='write it as NAME = "MODULE:FUNCTION"',
            )
        how = f"[{self.table}] {self.name}"
        if self.installed:
            return Start((posixpath.join(self.bin_dir, self.name),), how)
        module, attribute = match.groups()
        if not any(find_module(os.path.join(self.root, folder), module) for folder in FOLDERS):
            raise DetectionError(
                f"pyproject.toml: the script {self.name} is in the module {module}, which is not there",
                why="it is neither here nor below src/, and without [build-system] the project is not built",
                fix="add a [build-system], or name the command with --entrypoint",
            )
        code = (
            f"import sys; sys.argv[0] = {self.name!r}; "
            f"from {module} import {attribute.partition('.')[0]}; sys.exit({attribute}())"
        )
        return Start((self.interpreter, "-c", code), how)


def _scripts(root: str, project: PyProject | None, interpreter: str, bin_dir: str) -> list[_Script]:
    """The commands of the project, sorted; those of Poetry's own table where there is no other."""
    if project is None:
        return []
    name = "project.scripts" if project.scripts else "tool.poetry.scripts"
    table = project.scripts or project.poetry.get("scripts")
    installed = project.has_project and project.is_package
    return [
        _Script(each, value, name, installed, root, interpreter, bin_dir)
        for each, value in (sorted(table.items()) if isinstance(table, Mapping) else ())
        if isinstance(value, str)
    ]


def _name(project: PyProject | None) -> str:
    return (project.name or str(project.poetry.get("name", ""))) if project else ""


def _quoted(argv: tuple[str, ...]) -> str:
    """Words as --entrypoint takes them."""
    return argv[0] if len(argv) == 1 else shlex.quote(shlex.join(argv))


def _packages(root: str) -> list[str]:
    """The packages that `python -m` can run."""
    found = []
    for base in (os.path.join(root, folder) for folder in FOLDERS):
        for name in sorted(os.listdir(base)) if os.path.isdir(base) else ():
            path = os.path.join(base, name)
            if not name.isidentifier() or name in _NO_PROGRAMS or name.startswith("_") or name in found:
                continue
            is_environment = os.path.isfile(os.path.join(path, "pyvenv.cfg"))
            if os.path.isfile(os.path.join(path, "__main__.py")) and not is_environment:
                found.append(name)
    return found


def _programs(root: str) -> list[str]:
    """The modules of the root that do something when they are run."""
    found = []
    for name in sorted(os.listdir(root)):
        module, dot, ending = name.rpartition(".")
        if dot and ending == "py" and module.isidentifier() and module != "setup":
            try:
                with open(os.path.join(root, name), "rb") as stream:
                    data = stream.read(_LARGEST)
            except OSError:
                continue  # only an example is looked for
            if _GUARD.search(data):
                found.append(module)
    return found


def _nothing(root: str) -> DetectionError:
    programs = [f"--package {name}" for name in _programs(root)]
    return DetectionError(
        "nothing says how the application is started",
        why="there is no Procfile with a line web:, no [project.scripts], and no package with a __main__.py",
        fix=", or ".join([*programs, "--entrypoint 'COMMAND …'", "--cmd 'COMMAND …'"])
        + "; or write it into a Procfile, as web: COMMAND",
    )

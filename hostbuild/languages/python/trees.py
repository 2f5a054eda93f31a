"""What is in the layers of a Python project: the files of wheels, their commands, a function's service."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hostbuild.languages.base import Tree
from hostbuild.model import Entry, Event
from hostbuild.wheels.install import Installed, conflicts, install_entries, with_directories
from hostbuild.wheels.prefix import DEFAULT_PREFIX

if TYPE_CHECKING:
    from hostbuild.languages.base import Context, TreeJob
    from hostbuild.wheels.wheel import Wheel

PTH = "hostbuild.pth"

#: Commands that everything else relies on.
_NOBODY_ELSES = frozenset({"env", "python", "python3", "sh"})


def make_tree(job: TreeJob, context: Context) -> Tree:
    """The tree of a plan of `layers.plan_layers`. Raises WheelError for a wheel that is not in order."""
    recipe = job.recipe
    wheels = _read(recipe["wheels"], context)
    if recipe["part"] == "files":
        # Which interpreter it will be does not matter to these entries.
        installed = _install(wheels, "/usr/bin/python3", job, context)
        entries = with_directories(_last_wins(each.files for each in installed))
        return Tree(job.tree, entries, f"hostbuild: {_words(wheels)}")
    installed = _install(wheels, recipe["interpreter"], job, context)
    _tell_conflicts(installed, context)
    is_project = recipe["part"] == "project"
    _tell_shadows(installed, context)
    entries = with_directories(
        _last_wins((*each.files, *each.scripts) if is_project else each.scripts for each in installed)
    )
    if any(_has_pth(wheel) for wheel in wheels):
        entries = tuple(sorted((*entries, _pth(recipe["site"])), key=lambda entry: entry.path.encode()))
    what = _words(wheels) if is_project else "commands of Python packages"
    return Tree(job.tree, entries, f"hostbuild: {what}")


def _read(listed: Iterable[Sequence[str]], context: Context) -> list[Wheel]:
    from hostbuild.wheels.wheel import read_wheel

    return [read_wheel(context.path(digest), filename) for filename, digest in listed]


def _install(wheels: Sequence[Wheel], python: str, job: TreeJob, context: Context) -> list[Installed]:
    """What is made of the wheels, and with `--compile` their bytecode."""
    installed = [install_entries(wheel, python=python) for wheel in wheels]
    if "compile" not in job.recipe:
        return installed
    from hostbuild.languages.python.compiling import compile_files, tell_passed_over

    is_whole = job.recipe["part"] != "commands"
    # Of the commands only those RECORDs are made that lie beside them; they have the bytecode's digests.
    parts = {each.wheel: each.files for each in installed if is_whole or each.scripts}
    digests = dict(job.recipe["wheels"])
    compiled = compile_files({digests[name]: files for name, files in parts.items()}, job, context)
    if is_whole:
        tell_passed_over(parts.values(), compiled.values(), context)
    return [
        install_entries(wheel, python=python, bytecode=compiled[digests[wheel.filename]])
        if wheel.filename in parts
        else each
        for wheel, each in zip(wheels, installed, strict=True)
    ]


def _words(wheels: Sequence[Wheel]) -> str:
    names = [f"{wheel.name} {wheel.version}" for wheel in wheels]
    more = len(names) - 4
    return ", ".join(names[:4]) + (f" and {more} more" if more > 0 else "")


def _last_wins(parts: Iterable[tuple[Entry, ...]]) -> list[Entry]:
    """What two wheels bring is the later one's, as where one is installed over the other."""
    return list({entry.path: entry for entries in parts for entry in entries}.values())


def _tell_conflicts(installed: Iterable[Installed], context: Context) -> None:
    # Bytecode is another one where its source is: that is told.
    found = [each for each in conflicts(installed) if not each.is_same and not each.path.endswith(".pyc")]
    for each in found[:3]:
        context.emit(Event("warning", f"/{each.path} is in more than one wheel: {', '.join(each.wheels)}"))
    if len(found) > 3:
        context.emit(Event("warning", f"{len(found) - 3} more files are in more than one wheel"))


def _tell_shadows(installed: Iterable[Installed], context: Context) -> None:
    """A command of a wheel stands in PATH before the base's own of this name."""
    for each in installed:
        for entry in each.scripts:
            folder, _, name = entry.path.rpartition("/")
            if folder == DEFAULT_PREFIX.bin and name in _NOBODY_ELSES:
                message = f"the command {name} of {each.wheel} comes before the base image's own in PATH"
                context.emit(Event("warning", message))


def _has_pth(wheel: Wheel) -> bool:
    top = {"", f"{wheel.data_dir}/purelib", f"{wheel.data_dir}/platlib"}
    return any(file.path.endswith(".pth") and file.path.rpartition("/")[0] in top for file in wheel.files)


def _pth(site: str) -> Entry:
    """Has the .pth files of our directory read: Python looks for them in its own directories only."""
    data = f'import site; site.addsitedir("/{DEFAULT_PREFIX.site}")\n'.encode()
    path = f"{site.strip('/')}/{PTH}"
    return Entry(path, "file", 0o644, size=len(data), open=lambda: io.BytesIO(data), origin=PTH)


def service_tree(job: TreeJob) -> Tree:
    """The program that serves a function."""
    data: bytes = str(job.recipe["main"]).encode()
    path = str(job.recipe["path"])
    above = [path[:at] for at in range(len(path)) if path[at] == "/"]
    entries = [Entry(each, "dir", 0o755) for each in above]
    entries.append(
        Entry(path, "file", 0o644, size=len(data), open=lambda: io.BytesIO(data), origin="main.py")
    )
    return Tree(job.tree, tuple(entries), "hostbuild: service for the function")

"""What safety costs: the same builds as they are, and with syncs, locks, claims, second looks taken out.

    python scripts/bench/all.py --only safety

Two copies of the package take turns. Both have a prelude that every process of hostbuild runs when it imports
the package, workers too. In one it changes nothing; in the other os.fsync, the claims and the lock against
prunes do nothing, and a file on its way into a layer is not compared with its digest. Such a hostbuild must
not be used. The locks that tell who lives stay: without them it takes its own directories for a dead one's.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from bed import Results, Run, in_turns, measured
from build import PLATFORMS
from builds import Size
from projects import Project, Tools

import hostbuild

SAFE, BARE = "as it is", "without safety"
WORK = "price of safety"

PRELUDE = """

def _changed(safe):
    import os
    import sys
    from importlib.machinery import PathFinder

    def nothing(*_args, **_kwargs):
        return None

    if not safe:
        os.fsync = os.fdatasync = nothing

    def claims(module):
        module.lock_sweep = lambda path, *, shared: os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        module.Claims.begin = lambda self: False
        module.Claims.claim = lambda self, path, fits: os.path.lexists(path) and fits(os.lstat(path))
        module.Claims.touch = nothing

    def pieces(module):
        module.Piece.verify = nothing

    after = {
        "hostbuild.store.claims": claims,
        "hostbuild.layer.pieces": pieces,
    }

    class Patching:
        def find_spec(self, name, path=None, target=None):
            change = after.get(name)
            if change is None or safe:
                return None
            spec = PathFinder.find_spec(name, path, target)
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                change(module)

            spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Patching())


_changed(SAFE)
"""


def price(results: Results, tools: Tools, size: Size) -> None:
    """Pairs of builds; `report` gives the difference in percent."""
    works = tools.home / "safety"
    projects: dict[str, Project] = {}
    for name, prelude in ((SAFE, PRELUDE.replace("SAFE", "True")), (BARE, PRELUDE.replace("SAFE", "False"))):
        root = works / name.replace(" ", "-")
        package = root / "lib" / "hostbuild"
        shutil.copytree(
            Path(hostbuild.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
        )
        with (package / "__init__.py").open("a") as stream:
            stream.write(prelude)
        projects[name] = Project(tools, root / "project")
        _build(projects[name], package.parent)

    def build(name: str, before: Callable[[Project], object]) -> Callable[[], Run]:
        def run() -> Run:
            before(projects[name])
            return _build(projects[name], projects[name].root.parent / "lib")

        return run

    def both(what: str, turns: int, before: Callable[[Project], object]) -> None:
        each = {name: build(name, before) for name in (SAFE, BARE)}
        in_turns(results, f"{WORK}: {what}", turns, each)

    both("nothing changed", 2 * size.turns, lambda _: None)
    both("one line edited", size.turns, lambda project: project.edit())
    for number in range(min(size.turns, 3)):
        projects[SAFE].set_data(size.files, size.megabytes, number)
        projects[BARE].take_data(projects[SAFE])
        both(f"{size.files} files, {size.megabytes:.0f} MB of new data", 1, lambda _: None)
    both("one line edited beside the data", size.turns, lambda project: project.edit())
    shutil.rmtree(works)


def _build(project: Project, library: Path) -> Run:
    command = [sys.executable, "-m", "hostbuild", "build", project.function, "--progress", "quiet"]
    command += ["--platform", ",".join(PLATFORMS)]
    return measured(command, cwd=project.root, env={**project.env, "PYTHONPATH": str(library)})

"""What a Python project is: its wheels for each platform, its start, and the layers that this becomes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.errors import DependenciesError
from hostbuild.languages.base import Input, Inspection, Kind, TreePlan
from hostbuild.languages.python.layers import Dependencies, plan_layers
from hostbuild.languages.python.pyproject import read_pyproject
from hostbuild.languages.python.resolution import Asked, Resolver
from hostbuild.languages.python.targets import read_bases
from hostbuild.records import replace
from hostbuild.wheels.prefix import DEFAULT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostbuild.languages.base import Project, Workshop
    from hostbuild.languages.python.functions import Function
    from hostbuild.languages.python.pythons import Compiler
    from hostbuild.model import Pairs
    from hostbuild.wheels.base_python import BasePython

HOME = "/func"
#: Where the program that serves a function lies, in its recipe and in the image.
SERVICE = "opt/python/service/main.py"
_PORT = "8080"

#: Wheels of less than so many bytes in all are put into layers sooner than worker processes start.
LIGHT = 32 << 20

#: What tools leave in a project: of this host's Python, and for it.
LEAVINGS = (
    "__pycache__",
    "*.pyc",
    "*.pyo",
    "*.egg-info",
    "*/pyvenv.cfg",
    ".venv",
    "venv",
    ".tox",
    ".nox",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
)


def inspect(project: Project) -> Inspection:
    """See `Language.inspect`.

    Raises BaseImageError, DependenciesError, MissingWheelsError, DetectionError, UsageError, and the errors
    of registries and indexes.
    """
    bases = read_bases(project)
    compiler = _compiler(project, bases)
    function = _function(project)
    _, resolver = open_resolver(project, bases, function)
    resolution = resolver.resolve()
    dependencies = [
        Dependencies(wheels, base.interpreter, base.site, resolution.built)
        for wheels, base in zip(resolution.wheels, bases, strict=True)
    ]
    shared, own = plan_layers(dependencies, further={"compile": compiler.recipe} if compiler else None)
    if function is not None:
        served = _served(function, project.invoke, _interpreter(bases))
    else:
        served = find_application(project, bases)
    versions = ", ".join(sorted({base.python for base in bases}))
    wheels = {wheel for each in resolution.all_wheels for wheel in each}
    count = "1 wheel" if len(wheels) == 1 else f"{len(wheels)} wheels"
    inspection = Inspection(
        kind=served.kind,
        name=served.name,
        language="python",
        summary=f"{served.what} for Python {versions}, of {count}{served.how}",
        inputs=tuple(Input(_shown(label), digest) for label, digest in sorted(resolution.files.items())),
        recipe={
            "python version": versions,
            "dependencies": sorted({f"{wheel.name} {wheel.version}" for wheel in wheels}),
        },
        own=own,
        shared=(*shared, *served.trees),
        credentials=resolver.credentials,
        entrypoint=served.entrypoint,
        cmd=served.cmd,
        env=(*served.env, ("PYTHONUNBUFFERED", "1")),
        search_paths=(
            ("PATH", f"/{DEFAULT_PREFIX.bin}"),
            ("PYTHONPATH", f"/{DEFAULT_PREFIX.site}:{_source_path(project.root)}"),
        ),
        labels=served.labels,
        needs_certificates=False,
        needs_home=True,
        is_light=compiler is None and sum(wheel.size or 0 for wheel in wheels) < LIGHT,
        ships_source=True,
        leavings=LEAVINGS,
        source_on_top=True,
        warnings=resolution.warnings,
    )
    if compiler is None:
        return inspection
    from hostbuild.languages.python.pythons import tool_environment

    return replace(
        inspection,
        recipe={**inspection.recipe, "bytecode": f"by Python {compiler.version}"},
        tools={"python": compiler.path},
        environment=tool_environment(project.environment),
        memo=compiler.memo,
    )


class _Start(NamedTuple):
    """How the image is started, and what is put into it for that; `what` it is and `how` that was found, for
    people.
    """

    kind: Kind
    name: str
    what: str
    how: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: Pairs
    labels: Pairs = ()
    trees: tuple[TreePlan, ...] = ()


def _served(function: Function, invoke: str, interpreter: str) -> _Start:
    """A function is served by func-python, as knative func starts it: by Cmd."""
    from hostbuild.languages.python.functions import invocation
    from hostbuild.languages.python.scaffold import FUNC_PYTHON, main_source

    text = main_source(function, invoke).decode()
    return _Start(
        "function",
        function.module,
        "a function",
        f", served over {'HTTP' if invocation(invoke) == 'http' else 'CloudEvents'}: "
        f"{function.attribute} of {function.path}",
        (),
        (interpreter, f"/{SERVICE}"),
        (("LISTEN_ADDRESS", f"[::]:{_PORT}"),),
        (("middleware-version", FUNC_PYTHON.partition("==")[2]),),
        (TreePlan("service", {"part": "service", "path": SERVICE, "main": text}),),
    )


def find_application(project: Project, bases: Sequence[BasePython]) -> _Start:
    """How an application is started: by what the user says or the project does. Raises DetectionError."""
    interpreter = _interpreter(bases)
    found = read_pyproject(project.root)
    name = (found.name if found else "") or os.path.basename(project.root)
    argv: tuple[str, ...] = ()
    how = ""
    if not project.has_start:
        import shlex

        from hostbuild.languages.python.start import find_start

        found_start = find_start(
            project.root,
            found,
            package=project.package,
            interpreter=interpreter,
            bin_dir=f"/{DEFAULT_PREFIX.bin}",
            shell="/bin/sh" if all(base.shell for base in bases) else "",
        )
        argv, how = found_start.argv, f", started by {shlex.join(found_start.argv)} ({found_start.how})"
    return _Start("program", name, "an application", how, argv, (), (("PORT", _PORT),))


def _compiler(project: Project, bases: Sequence[BasePython]) -> Compiler | None:
    """What makes bytecode, where it was asked for."""
    if not project.options.get("compile"):
        return None
    from hostbuild.languages.python.pythons import find_compiler

    return find_compiler(project, bases)


def _function(project: Project) -> Function | None:
    """The function, where func.yaml says that it is one."""
    if not project.runtime:
        return None
    from hostbuild.languages.python.functions import find_function

    return find_function(project.root)


def open_resolver(
    project: Project, bases: Sequence[BasePython], function: Function | None = None
) -> tuple[Workshop, Resolver]:
    """What finds out the project's wheels, and where it works; `function` is looked for where it is None.

    Raises DetectionError.
    """
    workshop = project.workshop
    if workshop is None:
        raise DependenciesError("nothing can be resolved here", why="there is nowhere to keep what is found")
    function = function or _function(project)
    options = project.options
    further: tuple[str, ...] = ()
    if function is not None:
        from hostbuild.languages.python.scaffold import FUNC_PYTHON

        further = (FUNC_PYTHON,)
    asked = Asked(
        project.root,
        project.environment,
        files=_words(options.get("requirements", "")),
        extras=_words(options.get("extras", "")),
        groups=_words(options.get("groups", "")),
        further=further,
        alone=function is not None,
    )
    targets = [base.target(platform) for base, platform in zip(bases, project.platforms, strict=True)]
    return workshop, Resolver(asked, targets, workshop, project.digest_file)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split("\n")) if text else ()


def _interpreter(bases: Sequence[BasePython]) -> str:
    """What is started: the base's interpreter, by its name where it lies elsewhere on other platforms."""
    found = {base.interpreter for base in bases}
    return found.pop() if len(found) == 1 else "python3"


def _source_path(root: str) -> str:
    """Where Python finds the source: /func, and /func/src where modules lie there."""
    return f"{HOME}:{HOME}/src" if os.path.isdir(os.path.join(root, "src")) else HOME


def _shown(label: str) -> str:
    """A file outside of the project goes by its name: its path is another on every machine."""
    return os.path.basename(label) if os.path.isabs(label) else label

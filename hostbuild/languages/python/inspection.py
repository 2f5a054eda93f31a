"""What a Python project is: its wheels for each platform, its start, and the layers that this becomes."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from hostbuild.errors import DependenciesError
from hostbuild.languages.base import Input, Inspection, TreePlan
from hostbuild.languages.python.layers import Dependencies, plan_layers
from hostbuild.languages.python.pyproject import read_pyproject
from hostbuild.languages.python.resolution import Asked, Resolver
from hostbuild.languages.python.targets import read_bases
from hostbuild.wheels.prefix import DEFAULT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostbuild.languages.base import Project, Workshop
    from hostbuild.languages.python.functions import Function
    from hostbuild.languages.python.pythons import Compiler
    from hostbuild.wheels.base_python import BasePython

HOME = "/func"
#: Where the program that serves a function lies, in its recipe and in the image.
SERVICE = "opt/python/service/main.py"
_PORT = "8080"

#: What tools leave in a project: of this host's Python, and for it.
LEAVINGS = (
    "__pycache__",
    "*.pyc",
    "*.pyo",
    "*.egg-info",
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
    found = read_pyproject(project.root)
    bases = read_bases(project)
    compiler = _compiler(project, bases)
    function = _function(project)
    _, resolver = open_resolver(project, bases, function)
    resolution = resolver.resolve()
    dependencies = [
        Dependencies(wheels, base.interpreter, base.site)
        for wheels, base in zip(resolution.wheels, bases, strict=True)
    ]
    shared, own = plan_layers(dependencies, further={"compile": compiler.recipe} if compiler else None)
    interpreter = _interpreter(bases)
    labels: tuple[tuple[str, str], ...] = ()
    if function is not None:
        from hostbuild.languages.python.scaffold import FUNC_PYTHON

        shared = (*shared, _service(function, project.invoke))
        entrypoint: tuple[str, ...] = ()
        cmd: tuple[str, ...] = (interpreter, f"/{SERVICE}")
        name, env, how = function.module, (("LISTEN_ADDRESS", f"[::]:{_PORT}"),), "a function"
        labels = (("middleware-version", FUNC_PYTHON.partition("==")[2]),)
    else:
        cmd, env, how = (), (("PORT", _PORT),), "an application"
        entrypoint = () if project.has_start else _start(project, bases, interpreter)
        name = (found.name if found else "") or os.path.basename(project.root)
    versions = sorted({base.python for base in bases})
    count = len({wheel.sha256 for wheels in resolution.wheels for wheel in wheels})
    inspection = Inspection(
        kind="program" if function is None else "function",
        name=name,
        language="python",
        summary=f"{how} for Python {', '.join(versions)}, of {count} wheel{'' if count == 1 else 's'}",
        inputs=tuple(Input(_shown(label), digest) for label, digest in sorted(resolution.files.items())),
        recipe={
            "python version": ", ".join(versions),
            "dependencies": sorted(
                {f"{wheel.name} {wheel.version}" for wheels in resolution.wheels for wheel in wheels}
            ),
        },
        own=own,
        shared=shared,
        credentials=resolver.credentials,
        entrypoint=entrypoint,
        cmd=cmd,
        env=(*env, ("PYTHONUNBUFFERED", "1")),
        search_paths=(
            ("PATH", f"/{DEFAULT_PREFIX.bin}"),
            ("PYTHONPATH", f"/{DEFAULT_PREFIX.site}:{_source_path(project.root)}"),
        ),
        labels=labels,
        needs_certificates=False,
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


def _interpreter(bases: tuple[BasePython, ...]) -> str:
    """What is started: the base's interpreter, by its name where it lies elsewhere on other platforms."""
    found = {base.interpreter for base in bases}
    return found.pop() if len(found) == 1 else "python3"


def _start(project: Project, bases: tuple[BasePython, ...], interpreter: str) -> tuple[str, ...]:
    from hostbuild.languages.python.start import find_start

    shell = "/bin/sh" if all(base.shell for base in bases) else ""
    return find_start(
        project.root,
        read_pyproject(project.root),
        package=project.package,
        interpreter=interpreter,
        bin_dir=f"/{DEFAULT_PREFIX.bin}",
        shell=shell,
    ).argv


def _source_path(root: str) -> str:
    """Where Python finds the source: /func, and /func/src where modules lie there."""
    return f"{HOME}:{HOME}/src" if os.path.isdir(os.path.join(root, "src")) else HOME


def _shown(label: str) -> str:
    """A file outside of the project goes by its name: its path is another on every machine."""
    return os.path.basename(label) if os.path.isabs(label) else label


def _service(function: Function, invoke: str) -> TreePlan:
    from hostbuild.languages.python.scaffold import main_source

    text = main_source(function, invoke).decode()
    return TreePlan("service", {"part": "service", "path": SERVICE, "main": text})

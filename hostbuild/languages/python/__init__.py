"""Python: the wheels that a project needs for each target, its start, and its scaffold.

`inspection`, `targets`, `resolution`, `layers`, `trees`            the story: what a project becomes
`inputs`, `requirements`, `requirement`, `pyproject`, `workspace`   what a project asks for
`indexes`, `configuration`, `uv`, `session`, `tomltext`                              the tool that resolves
`locking`, `lockfile`, `further`, `staleness`                       one lock for all targets
`selection`, `values`                                               one wheel a package and target
`source_wheels`, `building`, `sources`, `compilers`                 source to a pure wheel
`pythons`, `compiling`, `bytecode`                                  --compile: bytecode of what is installed
`missing`, `tagnames`, `availability`                               what has no wheel, and what can be done
`checking`                                                          what an image would lack
`functions`, `scaffold`, `start`, `bases`                           how it is served and started, and on what
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostbuild.languages.base import Context, Inspection, PlatformJob, Project, Report, Tree, TreeJob


class Python:
    """The language protocol of `hostbuild.languages.base` for Python; see there."""

    name = "python"
    runtimes = ("python",)

    def claims(self, root: str) -> bool:
        """Whether there is a Python project's file, or a *.py file."""
        from hostbuild.languages.python.start import claims

        return claims(root)

    def claims_from_above(self, root: str) -> bool:
        """Never: what lies above says nothing of this directory."""
        del root
        return False

    def default_base(self, project: Project) -> str:
        """The official image of the Python that the project asks for. Raises DependenciesError."""
        from hostbuild.languages.python.bases import default_base
        from hostbuild.languages.python.pyproject import read_pyproject

        return default_base(project.root, read_pyproject(project.root))

    def inspect(self, project: Project) -> Inspection:
        """What the project is: see `inspection.inspect`, whose errors it raises."""
        from hostbuild.languages.python.inspection import inspect

        return inspect(project)

    def check(self, project: Project) -> Report:
        """The wheels, and what they need of the base: see `checking.check`, whose errors it raises."""
        from hostbuild.languages.python.checking import check

        return check(project)

    def shared_tree(self, job: TreeJob, context: Context) -> Tree:
        """Wheels for any machine, or a function's service. Raises WheelError."""
        from hostbuild.languages.python.trees import make_tree, service_tree

        return service_tree(job) if job.recipe["part"] == "service" else make_tree(job, context)

    def platform_tree(self, job: PlatformJob, context: Context) -> Tree:
        """Wheels for one platform, or the commands of all. Raises WheelError."""
        from hostbuild.languages.python.trees import make_tree

        return make_tree(job, context)


LANGUAGE = Python()

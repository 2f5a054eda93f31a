"""Go: programs are built as they are, functions are wrapped for knative's func-go."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostbuild.languages.base import Context, Inspection, PlatformJob, Project, Report, Tree, TreeJob


class Go:
    """The language protocol of `hostbuild.languages.base` for Go; see there."""

    name = "go"
    runtimes = ("go",)

    def claims(self, root: str) -> bool:
        """Whether there is a go.mod or *.go files in `root`."""
        return any(name == "go.mod" or name.endswith(".go") for name in os.listdir(root))

    def claims_from_above(self, root: str) -> bool:
        """Whether there is a go.mod above."""
        while not os.path.isfile(os.path.join(root, "go.mod")):
            parent = os.path.dirname(root)
            if parent == root:
                return False
            root = parent
        return True

    def default_base(self, project: Project) -> str:
        """None: the executable is static."""
        del project
        return "scratch"

    def inspect(self, project: Project) -> Inspection:
        """What the project is. Raises DetectionError, UsageError, SourceError and ToolError."""
        from hostbuild.languages.go.inspection import inspect

        return inspect(project)

    def check(self, project: Project) -> Report:
        """Nothing that an image could lack: the executable is static. Raises as `inspect` does."""
        from hostbuild.languages.base import Report

        return Report(
            self.inspect(project).summary, ("the executable is static: it needs nothing of a base",)
        )

    def shared_tree(self, job: TreeJob, context: Context) -> Tree:
        """Never asked for: nothing of a Go build is the same for two platforms."""
        del context
        raise ValueError(f"no shared tree {job.tree!r}")

    def platform_tree(self, job: PlatformJob, context: Context) -> Tree:
        """The one executable. Raises ToolError with the platform and go's output."""
        from hostbuild.languages.go.compile import platform_tree

        return platform_tree(job, context)


LANGUAGE = Go()

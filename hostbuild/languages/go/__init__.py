"""Go: programs are built as they are, functions are wrapped for knative's func-go."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostbuild.languages.base import Context, Inspection, PlatformJob, Project, SharedJob, Tree


class Go:
    """The language protocol of `hostbuild.languages.base` for Go; see there."""

    name = "go"
    runtimes = ("go",)

    def claims(self, root: str) -> bool:
        """Whether there are *.go files in `root`, or a go.mod there or above."""
        if any(name.endswith(".go") for name in os.listdir(root)):
            return True
        while not os.path.isfile(os.path.join(root, "go.mod")):
            parent = os.path.dirname(root)
            if parent == root:
                return False
            root = parent
        return True

    def inspect(self, project: Project) -> Inspection:
        """What the project is. Raises DetectionError, UsageError, SourceError and ToolError."""
        from hostbuild.languages.go.inspection import inspect

        return inspect(project)

    def shared_trees(self, job: SharedJob, context: Context) -> tuple[Tree, ...]:
        """None: nothing of a Go build is the same for two platforms."""
        del job, context
        return ()

    def platform_trees(self, job: PlatformJob, context: Context) -> tuple[Tree, ...]:
        """The one executable. Raises ToolError with the platform and go's output."""
        from hostbuild.languages.go.compile import platform_trees

        return platform_trees(job, context)


LANGUAGE = Go()

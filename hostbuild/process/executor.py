"""Tasks, and who executes them.

A task is a value: a label, the name of a function, and an argument that pickles. It says nothing of where it
runs, so that the same tasks can run in this process, in worker processes on this machine (`supervisor`), or
on a cluster. The function gets its argument and a `WorkerContext`; its result pickles.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from hostbuild.errors import BuildTimeoutError, HostbuildError
from hostbuild.model import Event, EventCallback
from hostbuild.process import command
from hostbuild.process.groups import TOOL_GRACE, Group, ToolGroups, uninterrupted
from hostbuild.process.liveness import builder_mark
from hostbuild.process.marks import Marks
from hostbuild.records import record, replace


@record
class Task:
    """`label` names it in events and errors (a platform); `function` is `package.module:callable`; `argument`
    is a small frozen value that pickles.

    Raises ValueError where `function` is not of that form, or names the script itself, which no other process
    can import.
    """

    label: str
    function: str
    argument: Any

    def __post_init__(self) -> None:
        module, colon, name = self.function.partition(":")
        if not (module and colon and name) or module == "__main__":
            raise ValueError(f"{self.function!r} is not the name of a function as package.module:callable")

    def resolve(self) -> Callable[[Any, WorkerContext], Any]:
        """Import the function. Raises ImportError or AttributeError where there is none of this name."""
        module, _, name = self.function.partition(":")
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        function: Callable[[Any, WorkerContext], Any] = found
        return function


class Executor(Protocol):
    """Runs tasks and gives their results."""

    def run(
        self, tasks: Sequence[Task], on_event: EventCallback, *, timeout: float | None = None
    ) -> list[Any]:
        """Run all tasks; the results in the tasks' order.

        `on_event` gets the events in the calling thread. The first failure stops the others and is raised, a
        HostbuildError with its `platform` set to the task's label. Raises BuildTimeoutError after `timeout`
        seconds.
        """


class WorkerContext:
    """What a task may do besides computing: tell what happens, and run tools."""

    def __init__(
        self,
        label: str,
        on_event: EventCallback,
        *,
        groups: ToolGroups,
        marks: Marks,
        deadline: float | None = None,
    ) -> None:
        self.label = label
        self._on_event = on_event
        self._groups = groups
        self._marks = marks
        self._deadline = deadline

    def emit(self, event: Event) -> None:
        """Tell that something happened; an event without a platform gets the task's label."""
        self._on_event(event if event.platform else replace(event, platform=self.label))

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str | os.PathLike[str],
        env: Mapping[str, str],
        on_line: command.LineCallback | None = None,
        check: bool = True,
        limit: int = command.OUTPUT_LIMIT,
        name: str = "",
    ) -> command.Completed:
        """Run a tool as `command.run` does, marked as belonging to this build, and ended with it.

        Without `on_line` each line of its output becomes an `output` event.
        """
        return command.run(
            argv,
            cwd=cwd,
            env=env,
            on_line=on_line or self._emit_line,
            groups=self._groups,
            marks=self._marks,
            check=check,
            limit=limit,
            deadline=self._deadline,
            name=name,
        )

    def _emit_line(self, line: str) -> None:
        self.emit(Event("output", line))


def tool_event(group: Group, argv: Sequence[str] | None) -> Event:
    """The `tool` event of a tool that was started, or with None for argv the `tool-end` event."""
    if argv is None:
        return Event("tool-end", data={"pgid": group.number})
    data = {"pgid": group.number, "start_ticks": group.start_ticks, "argv": list(argv)}
    return Event("tool", command.tool_name(argv), data=data)


def failed_in(label: str, error: Exception) -> Exception:
    """`error`, told to belong to the task `label`."""
    if isinstance(error, HostbuildError):
        error.platform = label
    else:
        error.add_note(f"in the task of {label}")
    return error


class InlineExecutor:
    """Runs tasks in this process, one after another: for what needs no worker, and for tests.

    `marks` are set in the environment of each tool.
    """

    def __init__(self, marks: Marks | None = None) -> None:
        self._marks = replace(marks or Marks(), builder=builder_mark())

    def run(
        self, tasks: Sequence[Task], on_event: EventCallback, *, timeout: float | None = None
    ) -> list[Any]:
        """Run all tasks: see `Executor.run`. The timeout is looked at between tasks and while a tool runs."""
        deadline = None if timeout is None else time.monotonic() + timeout
        return [self._run_one(task, on_event, deadline) for task in tasks]

    def _run_one(self, task: Task, on_event: EventCallback, deadline: float | None) -> Any:
        if deadline is not None and time.monotonic() > deadline:
            raise BuildTimeoutError(
                "the build took too long and was stopped",
                why=f"{task.label} was not begun",
                fix="allow more time with --timeout",
                platform=task.label,
            )

        def on_change(group: Group, argv: Sequence[str] | None) -> None:
            on_event(replace(tool_event(group, argv), platform=task.label))

        groups = ToolGroups(on_change)
        context = WorkerContext(task.label, on_event, groups=groups, marks=self._marks, deadline=deadline)
        try:
            return task.resolve()(task.argument, context)
        except BaseException as error:
            kill_at = time.monotonic() + TOOL_GRACE
            uninterrupted(lambda: groups.stop(kill_at=kill_at))
            if isinstance(error, Exception):
                failed_in(task.label, error)
            raise

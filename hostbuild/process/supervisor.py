"""The executor with worker processes on this machine.

Not ProcessPoolExecutor, and not multiprocessing: those leave workers and tools alive when the parent is
killed, lose all results when one worker is killed, go on after Ctrl-C, and import the calling script.

One process a worker, three pipes each, one loop. Nothing outlives a run that fails, whatever fails:

- the parent raises (an error, Ctrl-C, a timeout): each worker gets TERM, ends its tools' process groups
  (TERM, and KILL after two seconds) and itself; a worker that has not ended by then gets KILL, and so do
  the groups it told of;
- a worker dies: its tools are ended by the parent, which knows their groups, and by the mark in their
  environment;
- the parent dies: each worker sees it and does as on TERM;
- all die at once (SIGKILL to the group): the tools keep their mark, see `liveness.find_orphans`.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from hostbuild.errors import BuildTimeoutError, HostbuildError, WorkerDiedError
from hostbuild.model import Event, EventCallback
from hostbuild.points import reach
from hostbuild.process import frames
from hostbuild.process.executor import Task, failed_in
from hostbuild.process.groups import TOOL_GRACE, Group, end_groups, uninterrupted
from hostbuild.process.liveness import builder_mark, end_marked
from hostbuild.process.marks import Marks
from hostbuild.process.subreaper import reap
from hostbuild.process.workers import WorkerProcess, make_setup
from hostbuild.records import replace

#: Seconds between TERM and KILL for a worker: a little more than it gives its tools.
_WORKER_GRACE = TOOL_GRACE + 0.3
#: Seconds to wait for what must end at once: after KILL, or a worker without a task.
_END_WAIT = 1.0
#: Seconds between TERM and KILL for what only its mark identifies; all else of the tool has had its time.
_STRAY_GRACE = 0.2
_STOP_POLL = 0.01
#: How often a dead worker's standard error is read at most, 256 KiB each time.
_LAST_READS = 64

_Read = TypeVar("_Read")


class LocalExecutor:
    """Runs tasks in up to `jobs` worker processes. A context manager: leaving it ends the workers.

    `environment` is the workers' complete environment; `marks` are set in it and in that of each tool;
    modules named in `preload` are imported by the workers while they wait. `start` may be called early: the
    workers are started while the caller still does something else. Not for use by several threads.
    """

    def __init__(
        self,
        *,
        jobs: int,
        environment: Mapping[str, str],
        marks: Marks | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        if jobs < 1:
            raise ValueError(f"jobs must be at least 1, not {jobs}")
        self._jobs = jobs
        self._marks = replace(marks or Marks(), run=os.urandom(8).hex(), builder=builder_mark())
        self._environment = {**environment, **self._marks.environment()}
        self._preload = tuple(preload)
        self._workers: list[WorkerProcess] = []
        self._selector = selectors.DefaultSelector()
        self._closed = False
        self._begun = False
        self._orphaned: dict[int, Group] = {}
        self._tasks: Sequence[Task] = ()
        self._pending: deque[int] = deque()
        self._results: dict[int, Any] = {}
        self._on_event: EventCallback | None = None

    def start(self, count: int) -> None:
        """Start workers until there are `count`, or `jobs` where that is less. Does not wait for them.

        Raises WorkerDiedError where the system starts no more processes.
        """
        if self._closed:
            raise RuntimeError("the executor is closed")
        while len(self._workers) < min(count, self._jobs):
            worker = WorkerProcess(self._environment, make_setup(self._marks, self._preload))
            self._workers.append(worker)
            self._selector.register(worker.answers, selectors.EVENT_READ, (worker, "answers"))
            self._selector.register(worker.stderr, selectors.EVENT_READ, (worker, "stderr"))
            if worker.pidfd is not None:
                self._selector.register(worker.pidfd, selectors.EVENT_READ, (worker, "end"))
            reach("worker-started")

    def run(
        self, tasks: Sequence[Task], on_event: EventCallback, *, timeout: float | None = None
    ) -> list[Any]:
        """Run all tasks; the results in the tasks' order. See `Executor.run`.

        A HostbuildError has the labels of the tasks that were stopped in `extra["cancelled"]`. Raises
        WorkerDiedError where a worker ends without an answer. After an error the executor is closed, and
        every worker and tool has ended; this takes up to three seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self._tasks, self._on_event = tasks, on_event
        self._pending, self._results = deque(range(len(tasks))), {}
        try:
            while len(self._results) < len(tasks):
                self._dispatch()
                self._turn(deadline)
        except BaseException as error:
            running = [worker.label for worker in self._workers if worker.task is not None]
            self._stop()
            if isinstance(error, HostbuildError):
                error.extra["cancelled"] = running
            raise
        finally:
            self._on_event = None
        return [self._results[number] for number in range(len(tasks))]

    def close(self) -> None:
        """End the workers, which wait for tasks and so end at once. May be called again."""
        until = time.monotonic() + _END_WAIT
        uninterrupted(lambda: self._close(until))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    # The loop.

    def _dispatch(self) -> None:
        """Give tasks to workers that have none; start workers where there are too few."""
        if not self._pending:
            return
        for worker in list(self._workers):
            if worker.task is None and worker.reap():
                self._bury(worker)
        wanted = len(self._pending) + sum(worker.task is not None for worker in self._workers)
        self.start(wanted)
        for worker in self._workers:
            if worker.task is None and self._pending:
                number = self._pending.popleft()
                task = self._tasks[number]
                worker.task, worker.label = number, task.label
                self._begun = True
                worker.send(frames.TASK, frames.encode_object(task))
                if worker.has_unsent and worker.requests not in self._selector.get_map():
                    self._selector.register(worker.requests, selectors.EVENT_WRITE, (worker, "requests"))

    def _turn(self, deadline: float | None) -> None:
        """Wait until something happens, and see to it."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise self._timed_out()
        for key, _ in self._selector.select(left):
            worker, channel = key.data
            if worker in self._workers:
                self._serve(worker, channel)

    def _serve(self, worker: WorkerProcess, channel: str) -> None:
        if channel == "answers":
            arrived, more = _checked(worker, worker.read_frames)
            for frame in arrived:
                self._take(worker, frame)
            if not more:
                self._bury(worker)
        elif channel == "stderr":
            if not self._tell_lines(worker):
                self._selector.unregister(worker.stderr)
        elif channel == "requests":
            worker.flush()
            if not worker.has_unsent:
                self._selector.unregister(worker.requests)
        else:
            self._bury(worker)

    def _take(self, worker: WorkerProcess, frame: frames.Frame) -> None:
        if frame.kind == frames.READY:
            worker.ready = True
        elif frame.kind == frames.EVENT:
            event = frames.decode_event(frame.payload)
            worker.note(event)
            self._tell(event)
        else:
            # What it printed before its answer is told before it.
            self._tell_lines(worker)
            self._finish(worker, frame)

    def _finish(self, worker: WorkerProcess, frame: frames.Frame) -> None:
        number, worker.task = worker.task, None
        if number is None:
            raise WorkerDiedError(f"the worker for {worker.label} answered without a question")
        decode = frames.decode_error if frame.kind == frames.ERROR else frames.decode_object
        try:
            value = decode(frame.payload)
        except Exception as error:
            # Any class may fail to come back, by an error of its own choice.
            raise HostbuildError(
                f"the answer of the worker for {worker.label} cannot be read",
                why=f"{type(error).__name__}: {error}",
                platform=worker.label,
            ) from error
        if frame.kind == frames.ERROR:
            raise failed_in(worker.label, value)
        self._results[number] = value

    def _tell_lines(self, worker: WorkerProcess, *, reads: int = 1) -> bool:
        lines, more = worker.read_lines(reads=reads)
        for line in lines:
            self._tell(Event("output", line, worker.label, {"stream": "stderr"}))
        return more

    def _tell(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)

    def _timed_out(self) -> BuildTimeoutError:
        doing = [
            f"{worker.label} ({', '.join(name for _, name in worker.groups.values()) or 'writing'})"
            for worker in self._workers
            if worker.task is not None
        ]
        waiting = [f"{self._tasks[number].label} (not begun)" for number in self._pending]
        return BuildTimeoutError(
            "the build took longer than --timeout allows and was stopped",
            why="still to do: " + ", ".join(doing + waiting),
            fix="allow more time with --timeout",
        )

    # The ends.

    def _bury(self, worker: WorkerProcess) -> None:
        """A worker ended, or closed its pipe and so must. Raises WorkerDiedError unless it was idle."""
        if not worker.wait(time.monotonic() + _END_WAIT):
            worker.signal(signal.SIGKILL)
            worker.wait(time.monotonic() + _END_WAIT)
        for frame in _checked(worker, worker.drain_frames):
            self._take(worker, frame)
        self._tell_lines(worker, reads=_LAST_READS)
        self._forget(worker)
        if worker.task is not None or not worker.ready:
            raise worker.death()

    def _forget(self, worker: WorkerProcess) -> None:
        """Close what belongs to a worker that ended, and keep in mind which tools it left."""
        worker.note_rest()
        self._orphaned.update({number: group for number, (group, _) in worker.groups.items()})
        for descriptor in worker.descriptors:
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        worker.close()
        if worker in self._workers:
            self._workers.remove(worker)

    def _stop(self) -> None:
        """End every worker and every tool. After an interruption it goes on, by the same clock."""
        kill_at = time.monotonic() + _WORKER_GRACE
        uninterrupted(lambda: self._stop_until(kill_at))

    def _stop_until(self, kill_at: float) -> None:
        self._closed = True
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
        seen: set[int] = set()
        told: set[Group] = set()
        while time.monotonic() < kill_at:
            for worker in list(self._workers):
                worker.note_rest()
                if worker.reap():
                    self._forget(worker)
            # A worker ends its own tools before itself; what is left here lost its worker.
            orphaned = set(self._orphaned.values())
            for group in orphaned - told:
                seen.update(group.signal(signal.SIGTERM))
                group.signal(signal.SIGCONT)
            told = orphaned
            if not self._workers and not any(group.members() for group in orphaned):
                break
            time.sleep(_STOP_POLL)
        self._kill(seen)

    def _kill(self, seen: set[int]) -> None:
        """End at once what is left, also what left its process group; reap what this process adopted."""
        for worker in self._workers:
            worker.signal(signal.SIGKILL)
        until = time.monotonic() + _END_WAIT
        for worker in list(self._workers):
            worker.wait(until)
            self._forget(worker)
        seen |= end_groups(self._orphaned.values(), kill_at=time.monotonic())
        if self._begun:
            strays = end_marked(Marks(run=self._marks.run), grace=_STRAY_GRACE)
            seen |= {stray.identity.pid for stray in strays}
        reap(seen)
        self._selector.close()

    def _close(self, until: float) -> None:
        self._closed = True
        for worker in self._workers:
            worker.hang_up()
        for worker in list(self._workers):
            if not worker.wait(until):
                worker.signal(signal.SIGKILL)
                worker.wait(until + _END_WAIT)
            self._forget(worker)
        self._selector.close()


def run_tasks(
    tasks: Sequence[Task],
    *,
    jobs: int,
    on_event: EventCallback,
    timeout: float | None,
    environment: Mapping[str, str],
    marks: Marks | None = None,
) -> list[Any]:
    """Run tasks in up to `jobs` worker processes that live for this call: see `LocalExecutor`."""
    with LocalExecutor(jobs=jobs, environment=environment, marks=marks) as executor:
        return executor.run(tasks, on_event, timeout=timeout)


def _checked(worker: WorkerProcess, read: Callable[[], _Read]) -> _Read:
    try:
        return read()
    except frames.FrameError as error:
        raise WorkerDiedError(
            f"the worker for {worker.label} sent what is no answer", why=str(error), platform=worker.label
        ) from error

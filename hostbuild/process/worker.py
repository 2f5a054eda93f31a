"""A worker process: takes tasks from its supervisor, tells what happens, gives results.

Standard input is the pipe from the supervisor, standard output the pipe to it. The worker moves both away at
once, so that neither a tool nor a stray print can reach them: its own standard output is its standard
error, which the supervisor reads as lines.

One thread works; another watches for the supervisor's end (EOF, or its pidfd) and for SIGTERM, and answers
either by ending the tools' process groups and the process itself. It gets signals through the interpreter's
wakeup descriptor, because a Python handler would wait for a call into C of the working thread to return.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from queue import SimpleQueue
from typing import NoReturn

from hostbuild.model import Event
from hostbuild.points import reach
from hostbuild.process import frames
from hostbuild.process.executor import Task, WorkerContext, tool_event
from hostbuild.process.groups import TOOL_GRACE, Group, ToolGroups
from hostbuild.process.marks import Marks
from hostbuild.records import record, replace

#: How a worker exits that was told to stop.
EXIT_STOPPED = 128 + signal.SIGTERM
#: How a worker exits that failed in its own machinery (EX_SOFTWARE).
EXIT_BROKEN = 70
#: What a terminal sends to all of a process group. The supervisor starts a worker with these blocked, so that
#: none comes before the worker is ready for it.
HELD_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_PARENT_POLL_MS = 1000


@record
class Setup:
    """What a worker must share with its supervisor: where modules are, and the marks of its tools.

    The interpreter is started without `site`, which takes as long as all the rest of its start, and gets
    the supervisor's sys.path instead. `site` tells whether it must be run after all, for the finders that
    .pth files install (editable installs). `preload` are modules to import while no task is there.
    """

    parent: int
    path: tuple[str, ...]
    prefix: str
    exec_prefix: str
    pycache_prefix: str | None
    dont_write_bytecode: bool
    marks: Marks
    site: bool
    preload: tuple[str, ...] = ()


def main() -> NoReturn:
    """Be a worker until the supervisor ends it."""
    requests, answers = _take_pipes()
    _Worker(requests, answers).serve()


def _take_pipes() -> tuple[int, int]:
    requests, answers = os.dup(0), os.dup(1)  # not inherited by tools
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


class _Worker:
    def __init__(self, requests: int, answers: int) -> None:
        self._requests = requests
        self._answers = answers
        self._sending = threading.Lock()
        self._label = ""
        self._groups = ToolGroups(self._tell_tool)
        self._signals, wakeup = os.pipe()
        os.set_blocking(self._signals, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        # Handlers that do nothing, not SIG_IGN: the tools would inherit that. The supervisor decides about
        # what the terminal sends to all.
        for number in (*HELD_SIGNALS, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
        self._inbox: SimpleQueue[frames.Frame] = SimpleQueue()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def serve(self) -> NoReturn:
        setup: Setup = frames.decode_object(self._inbox.get().payload)
        _share(setup)
        if os.getppid() != setup.parent:  # it ended before this process could watch it
            self._stop(EXIT_STOPPED)
        self._send(frames.READY, b"")
        _prepare(setup)
        while True:
            self._answer(self._inbox.get().payload, setup.marks)

    def _answer(self, payload: bytes, marks: Marks) -> None:
        kind, answer = self._perform(payload, marks)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if self._groups.stopping:  # the other thread ends this process; a killed tool is no answer
            while True:
                time.sleep(60)
        self._send(kind, answer)

    def _perform(self, payload: bytes, marks: Marks) -> tuple[bytes, bytes]:
        outcome = _Outcome()
        with outcome:
            task: Task = frames.decode_object(payload)
            self._label = task.label
            reach("worker-before-task")
            context = WorkerContext(task.label, self._tell, groups=self._groups, marks=marks)
            outcome.answer = frames.encode_object(task.resolve()(task.argument, context))
            reach("worker-before-answer")
        return outcome.kind, outcome.answer

    def _tell(self, event: Event) -> None:
        self._send(frames.EVENT, frames.encode_event(event))

    def _tell_tool(self, group: Group, argv: Sequence[str] | None) -> None:
        self._tell(replace(tool_event(group, argv), platform=self._label))

    def _send(self, kind: bytes, payload: bytes) -> None:
        data = memoryview(frames.Frame(kind, payload).encode())
        with self._sending:
            try:
                while data:
                    data = data[os.write(self._answers, data) :]
            except BrokenPipeError:
                self._stop(EXIT_STOPPED)

    def _watch(self) -> None:
        code = EXIT_BROKEN
        try:
            self._listen()
            code = EXIT_STOPPED
        except (OSError, MemoryError, frames.FrameError):
            sys.excepthook(*sys.exc_info())
        finally:  # without this thread nobody would stop the tools
            self._stop(code)

    def _listen(self) -> None:
        """Take frames until SIGTERM comes or the supervisor is gone."""
        poller = select.poll()
        poller.register(self._requests, select.POLLIN)
        poller.register(self._signals, select.POLLIN)
        # EOF tells that the supervisor is gone, unless a child that it forked holds the pipe too.
        parent = os.getppid()
        watched = _open_pidfd(parent)
        if watched is not None:
            poller.register(watched, select.POLLIN)
        decoder = frames.FrameDecoder()
        while os.getppid() == parent:
            for descriptor, _ in poller.poll(None if watched is not None else _PARENT_POLL_MS):
                if descriptor == self._signals:
                    if signal.SIGTERM in os.read(self._signals, 64):
                        return
                elif descriptor == self._requests:
                    data = os.read(self._requests, 1 << 20)
                    if not data:
                        return
                    for frame in decoder.feed(data):
                        self._inbox.put(frame)

    def _stop(self, code: int) -> NoReturn:
        self._groups.stop(kill_at=time.monotonic() + TOOL_GRACE)
        os._exit(code)


class _Outcome:
    """The answer to a task: all that it raises is one, even SystemExit, because the process serves on."""

    def __init__(self) -> None:
        self.kind = frames.RESULT
        self.answer = b""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        if error is not None:
            self.kind, self.answer = frames.ERROR, frames.encode_error(error)
        return True


def _open_pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, a filter of system calls, or it is gone: then EOF tells
        return None


def _share(setup: Setup) -> None:
    """Make the interpreter see the modules that the supervisor sees."""
    sys.path[:] = setup.path
    sys.prefix, sys.exec_prefix = setup.prefix, setup.exec_prefix
    sys.pycache_prefix = setup.pycache_prefix
    sys.dont_write_bytecode = setup.dont_write_bytecode


def _prepare(setup: Setup) -> None:
    """What is done while no task is there."""
    if setup.site:
        import site

        site.main()
        sys.path[:] = setup.path
    for module in setup.preload:
        # A module that cannot be imported is told by the task that needs it.
        with suppress(ImportError):
            import_module(module)

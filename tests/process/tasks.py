"""What the tests let workers do. Each is named as `tests.process.tasks:NAME`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import hostbuild
from hostbuild.errors import ToolError
from hostbuild.model import Event
from hostbuild.process.executor import Task, WorkerContext


def task(name: str, argument: Any = None, label: str = "linux/amd64") -> Task:
    """A task for a function below."""
    return Task(label, f"tests.process.tasks:{name}", argument)


def double(number: int, _context: WorkerContext) -> int:
    return number * 2


def where(seconds: float, _context: WorkerContext) -> int:
    time.sleep(seconds)
    return os.getpid()


def world(_argument: None, _context: WorkerContext) -> dict[str, Any]:
    return {
        "package": list(hostbuild.__path__),
        "path": sys.path,
        "prefix": sys.prefix,
        "environment": dict(os.environ),
        "stdin": os.readlink("/proc/self/fd/0"),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
    }


def plugin(name: str, _context: WorkerContext) -> str:
    return str(__import__(name).WORD)


def echo(argument: Any, _context: WorkerContext) -> Any:
    return argument


def say(messages: list[str], context: WorkerContext) -> None:
    for message in messages:
        context.emit(Event("info", message, data={"size": len(message)}))


def stray(_argument: None, context: WorkerContext) -> str:
    print("printed by a library")
    os.write(1, b"written to descriptor 1\n")
    os.write(2, b"written to descriptor 2 \xff\n")
    context.emit(Event("info", "an event"))
    sys.stdout.write("without an end")
    return "result"


def fail(text: str, _context: WorkerContext) -> None:
    raise ToolError(text, why="because", fix="do", detail="as it was\n", returncode=3)


def fail_when(path: str, _context: WorkerContext) -> None:
    while not Path(path).exists():
        time.sleep(0.01)
    raise ToolError("the first failure")


def bug(_argument: None, _context: WorkerContext) -> None:
    raise KeyError("a bug")


class UnpicklableError(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.hook = lambda: text


class DeafError(Exception):
    """Pickles, but does not come back."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def unpicklable_error(_argument: None, _context: WorkerContext) -> None:
    raise UnpicklableError("cannot be sent")


def deaf_error(_argument: None, _context: WorkerContext) -> None:
    raise DeafError("cannot ", "come back")


def unpicklable_result(_argument: None, _context: WorkerContext) -> Any:
    return lambda: None


class DeafResult:
    """Pickles here, but cannot be made anew in the parent."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_only_in, (os.getpid(),))


def _only_in(pid: int) -> str:
    if pid != os.getpid():
        raise RuntimeError("not here")
    return "here"


def deaf_result(_argument: None, _context: WorkerContext) -> DeafResult:
    return DeafResult()


def leave(_argument: None, _context: WorkerContext) -> None:
    sys.exit("a task wants to leave")


def kill_self(number: int, _context: WorkerContext) -> None:
    print("the last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), number)
    time.sleep(1000)


def exit_hard(code: int, _context: WorkerContext) -> None:
    os._exit(code)


def close_all(_argument: None, _context: WorkerContext) -> None:
    os.closerange(0, 64)
    time.sleep(1000)


def garbage(_argument: None, _context: WorkerContext) -> None:
    for name in os.listdir("/proc/self/fd"):
        if os.path.exists(f"/proc/self/fd/{name}") and int(name) > 2:
            flags = Path(f"/proc/self/fdinfo/{name}").read_text()
            if "pipe:" in os.readlink(f"/proc/self/fd/{name}") and "flags:\t02000001" in flags:
                os.write(int(name), b"this is no frame, but was written by a library")
    time.sleep(1000)


def run_script(script: str, context: WorkerContext) -> str:
    """Run a shell script as a tool, with the worker's own environment."""
    return context.run(["/bin/sh", "-c", script], cwd="/", env=dict(os.environ)).output


def run_and_die(script: str, context: WorkerContext) -> None:
    """Run a tool; die by SIGKILL as soon as it is up."""

    def die(_line: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    context.run(["/bin/sh", "-c", script], cwd="/", env=dict(os.environ), on_line=die)


def run_and_hang(script: str, context: WorkerContext) -> None:
    """Run a tool; the whole worker is stopped as soon as it is up."""

    def stop(line: str) -> None:
        context.emit(Event("output", line))
        os.kill(os.getpid(), signal.SIGSTOP)

    context.run(["/bin/sh", "-c", script], cwd="/", env=dict(os.environ), on_line=stop)


def hold_gil(_argument: None, _context: WorkerContext) -> None:
    """Never give the interpreter back: the worker can only be killed."""
    print("holding", flush=True)
    import ctypes

    ctypes.PyDLL(None).sleep(1000)

"""One tool, run to its end: its output line by line, its failure as a typed error, nothing left of it.

A tool leads a session of its own, without a terminal: Ctrl-C reaches hostbuild, which ends the tool in order,
and a tool that would ask for a password fails at once instead of being stopped for reading from the terminal.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from hostbuild.errors import BuildTimeoutError, ToolError, ToolMissingError
from hostbuild.process.exchange import EOF_GRACE, TooMuchOutputError, exchange
from hostbuild.process.groups import TOOL_GRACE, Group, ToolGroups, end_groups, uninterrupted
from hostbuild.process.marks import Marks
from hostbuild.records import record

if TYPE_CHECKING:
    from subprocess import Popen

#: Bytes of a tool's output that are kept, half from its start and half from its end.
OUTPUT_LIMIT = 256 * 1024
#: A line longer than this many bytes is given in pieces.
_LONGEST_LINE = 64 * 1024
#: Bytes of standard output, and of standard error, that a tool which is captured may write.
CAPTURE_LIMIT = 1024 * 1024
_POLL_MS = 100

LineCallback = Callable[[str], None]


@record
class Completed:
    """A tool that ended: exit code (negative: the signal that killed it) and merged output, bounded."""

    returncode: int
    output: str


@record
class Captured:
    """A small tool that ended: its exit code, its standard output as bytes, its standard error as text."""

    returncode: int
    stdout: bytes
    stderr: str


def run(
    argv: Sequence[str],
    *,
    cwd: str | os.PathLike[str],
    env: Mapping[str, str],
    on_line: LineCallback | None = None,
    groups: ToolGroups | None = None,
    marks: Marks | None = None,
    check: bool = True,
    limit: int = OUTPUT_LIMIT,
    deadline: float | None = None,
    name: str = "",
) -> Completed:
    """Run a tool in `cwd` with the complete environment `env` (and the marks); wait for its end.

    Standard output and error are merged and given to `on_line` as they come, without line ends. `groups`
    remembers the tool while it runs, so that another thread can end it. After `deadline` (time.monotonic())
    it is ended. `name` is what errors call it, else its first words. Its whole process group is gone when
    this returns or raises.

    Raises ToolMissingError where it cannot be started, ToolError where it fails and `check` is set,
    BuildTimeoutError after the deadline, CancelledTaskError when `groups` is being stopped.
    """
    name = name or tool_name(argv)
    groups = groups or ToolGroups()
    complete = {**env, **(marks.environment() if marks else {})}
    process, group = groups.start(argv, lambda: _launch(argv, cwd, complete, merge=True))
    output = _Output(on_line, limit)
    try:
        _follow(process, output, deadline, name)
        returncode = _wait(process, deadline, name)
    finally:
        _finish(process, group)
        groups.ended(group)
    completed = Completed(returncode, output.text())
    if check and returncode != 0:
        raise _failure(name, returncode, completed.output)
    return completed


def capture(
    argv: Sequence[str],
    *,
    cwd: str | os.PathLike[str],
    env: Mapping[str, str],
    timeout: float | None = 60.0,
    check: bool = False,
    stdin: bytes | None = None,
    limit: int = CAPTURE_LIMIT,
) -> Captured:
    """Run a small tool (git) for its standard output; `timeout` in seconds.

    `stdin` is what it reads there, where a secret must not be seen among its arguments; None is nothing. A
    tool that writes more than `limit` bytes, to standard output or to standard error, is ended.

    Raises ToolMissingError where it cannot be started, BuildTimeoutError after the timeout, ToolError where
    it writes too much, and with `check` where it fails.
    """
    process = _launch(argv, cwd, env, merge=False, feed=stdin is not None)
    try:
        out, err = exchange(process, stdin, limit=limit, timeout=timeout)
    except TimeoutError:
        raise _timeout(tool_name(argv)) from None
    except TooMuchOutputError:
        raise ToolError(
            f"{tool_name(argv)} was stopped", why=f"it wrote more than the {limit} bytes that are read"
        ) from None
    finally:
        _finish(process, Group(process.pid))
    captured = Captured(process.returncode, out, err.decode("utf-8", "replace"))
    if check and captured.returncode != 0:
        raise _failure(tool_name(argv), captured.returncode, captured.stderr)
    return captured


def tool_name(argv: Sequence[str]) -> str:
    """What people call a command: `go build` for `/usr/bin/go build -o f .`."""
    words = [os.path.basename(argv[0])]
    if len(argv) > 1 and argv[1].replace("-", "").isalnum() and not argv[1].startswith("-"):
        words.append(argv[1])
    return " ".join(words)


def _launch(
    argv: Sequence[str],
    cwd: str | os.PathLike[str],
    env: Mapping[str, str],
    *,
    merge: bool,
    feed: bool = False,
) -> Popen[bytes]:
    import subprocess

    try:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise _not_started(argv, cwd, env, error) from error


def _not_started(
    argv: Sequence[str], cwd: str | os.PathLike[str], env: Mapping[str, str], error: OSError | ValueError
) -> ToolError | ToolMissingError:
    what = f"{argv[0]} cannot be started"
    if not os.path.isdir(cwd):
        return ToolError(what, why=f"its working directory {os.fspath(cwd)!r} does not exist")
    if isinstance(error, FileNotFoundError):
        if os.sep not in argv[0]:
            why = f"no such program in PATH ({env.get('PATH', os.defpath)})"
            return ToolMissingError(f"{argv[0]} was not found", why=why, fix="install it, or add it to PATH")
        if os.path.exists(argv[0]):
            return ToolMissingError(what, why="the interpreter or loader that it names does not exist")
        return ToolMissingError(f"{argv[0]} was not found", why="there is no such file")
    if isinstance(error, PermissionError):
        return ToolMissingError(what, why="it is not executable for this user", fix=f"chmod +x {argv[0]}")
    if isinstance(error, OSError):
        import errno

        if error.errno in {errno.ENOEXEC, errno.ENOTDIR, errno.EISDIR}:
            return ToolMissingError(what, why=error.strerror or str(error))
        return ToolError(what, why=error.strerror or str(error))
    return ToolError(what, why=str(error))


def _follow(process: Popen[bytes], output: _Output, deadline: float | None, name: str) -> None:
    """Read the output to its end, or until shortly after the tool's end."""
    import select

    if process.stdout is None:
        raise ToolError(f"{name} has no output to read")
    source = process.stdout.fileno()
    poller = select.poll()
    poller.register(source, select.POLLIN)
    ended_at: float | None = None
    while True:
        if poller.poll(_POLL_MS):
            data = os.read(source, 65536)
            if not data:
                break
            output.feed(data)
        now = time.monotonic()
        if ended_at is None and process.poll() is not None:
            ended_at = now
        if ended_at is not None and now - ended_at > EOF_GRACE:
            break
        if deadline is not None and now > deadline:
            raise _timeout(name)
    output.end()


def _wait(process: Popen[bytes], deadline: float | None, name: str) -> int:
    import subprocess

    try:
        return process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _timeout(name) from None


def _finish(process: Popen[bytes], group: Group) -> None:
    """End what is left of a tool, reap it and close its pipes; a second Ctrl-C does not stop that."""
    kill_at = time.monotonic() + TOOL_GRACE

    def end() -> None:
        # The group of a tool that ended and left nothing is gone: one system call tells.
        if process.poll() is None or group.exists():
            end_groups([group], kill_at=kill_at)
            process.poll()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):  # what a tool did not read of its standard input is lost
                    stream.close()

    uninterrupted(end)


def _timeout(name: str) -> BuildTimeoutError:
    return BuildTimeoutError(f"{name} took too long and was stopped", fix="allow more time with --timeout")


def _failure(name: str, returncode: int, output: str) -> ToolError:
    if returncode >= 0:
        what, why, fix = f"{name} failed with exit code {returncode}", "", ""
    else:
        what, why, fix = f"{name} was killed by {signal_name(-returncode)}", "", ""
        if -returncode == signal.SIGKILL:
            why = "the system may have run out of memory, or somebody killed it"
            fix = "look at the kernel's log (dmesg), or build fewer platforms at once (--jobs 1)"
    return ToolError(what, why=why, fix=fix, detail=output, returncode=returncode)


def signal_name(number: int) -> str:
    """A signal as people know it: `signal 9 (SIGKILL)`."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


class _Output:
    """Splits into lines, gives each to a callback, keeps the first and the last ones."""

    def __init__(self, on_line: LineCallback | None, limit: int) -> None:
        self._on_line = on_line
        self._half = max(limit // 2, 1)
        self._rest = b""
        self._head: list[bytes] = []
        self._head_size = 0
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._left_out = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they come."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line + b"\n")
        while len(rest) > _LONGEST_LINE:
            self._take(rest[:_LONGEST_LINE])
            rest = rest[_LONGEST_LINE:]
        self._rest = rest

    def end(self) -> None:
        """Take what is left as a line."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""

    def _take(self, line: bytes) -> None:
        if not self._tail and not self._left_out and self._head_size + len(line) <= self._half:
            self._head.append(line)
            self._head_size += len(line)
        else:
            self._tail.append(line)
            self._tail_size += len(line)
            while self._tail_size > self._half:
                dropped = len(self._tail.popleft())
                self._tail_size -= dropped
                self._left_out += dropped
        if self._on_line is not None:
            self._on_line(line.decode("utf-8", "replace").rstrip("\r\n"))

    def text(self) -> str:
        """What was kept, with a line in the middle where something was left out."""
        gap = f"… {self._left_out} bytes left out …\n".encode() if self._left_out else b""
        return b"".join((*self._head, gap, *self._tail)).decode("utf-8", "replace")

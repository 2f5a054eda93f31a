"""The supervisor's side of one worker process: its start, its pipes, its end."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

from hostbuild.errors import WorkerDiedError
from hostbuild.model import Event
from hostbuild.process import frames
from hostbuild.process.command import signal_name
from hostbuild.process.groups import Group
from hostbuild.process.marks import Marks
from hostbuild.process.worker import EXIT_STOPPED, HELD_SIGNALS, Setup

_CHUNK = 256 * 1024
_STDERR_LINES = 20
_LONGEST_LINE = 8 * 1024
#: The package's directory comes last, so that nothing beside it can hide the standard library.
_BOOTSTRAP = "import sys; sys.path.append(sys.argv[1]); from hostbuild.process.worker import main; main()"


class WorkerProcess:
    """One worker. `task` is the number of the task that it works on, None while it waits for one.

    `groups` are the process groups of the tools that it told of and that have not ended, with their names.
    Raises WorkerDiedError where the process cannot be started.
    """

    def __init__(self, environment: Mapping[str, str], setup: Setup) -> None:
        self.task: int | None = None
        self.label = ""
        self.ready = False
        self.status: int | None = None
        self.ended = False
        self.groups: dict[int, tuple[Group, str]] = {}
        self.last_lines: deque[str] = deque(maxlen=_STDERR_LINES)
        self._outbox = bytearray()
        self._decoder = frames.FrameDecoder()
        self._line = b""
        self._descriptors: list[int] = []
        try:
            self._start(environment)
        except OSError as error:
            self.close()
            raise WorkerDiedError(
                "a worker process could not be started",
                why=error.strerror or str(error),
                fix="look at the limits of open files and processes (ulimit -n, ulimit -u)",
            ) from error
        self.send(frames.SETUP, frames.encode_object(setup))

    def _start(self, environment: Mapping[str, str]) -> None:
        if not sys.executable:
            raise FileNotFoundError(errno.ENOENT, "it is not known which Python runs this program")
        # The reading end of the requests stays open here too: so a write to a dead worker is never SIGPIPE,
        # which an embedding program may not ignore. Its end is seen by its pidfd and by EOF of its answers.
        request_reader, self.requests = self._pipe()
        self.answers, answer_writer = self._pipe()
        self.stderr, stderr_writer = self._pipe()
        # Not multiprocessing, which imports the calling script.
        self.pid = os.posix_spawn(
            sys.executable,
            [*_interpreter(), "-c", _BOOTSTRAP, _package_root()],
            dict(environment),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, request_reader, 0),
                (os.POSIX_SPAWN_DUP2, answer_writer, 1),
                (os.POSIX_SPAWN_DUP2, stderr_writer, 2),
            ],
            setsigmask=HELD_SIGNALS,
        )
        self.pidfd = _pidfd(self.pid)
        if self.pidfd is not None:
            self._descriptors.append(self.pidfd)
        for descriptor in (answer_writer, stderr_writer):
            self._close(descriptor)
        for descriptor in (self.requests, self.answers, self.stderr):
            os.set_blocking(descriptor, False)

    def _pipe(self) -> tuple[int, int]:
        pair = os.pipe()
        if min(pair) <= 2:
            # The program runs with a standard stream closed: these numbers will be the worker's own streams.
            import fcntl

            low = pair
            pair = (
                fcntl.fcntl(low[0], fcntl.F_DUPFD_CLOEXEC, 3),
                fcntl.fcntl(low[1], fcntl.F_DUPFD_CLOEXEC, 3),
            )
            for descriptor in low:
                os.close(descriptor)
        self._descriptors += pair
        return pair

    def send(self, kind: bytes, payload: bytes) -> None:
        """Queue a frame and write what the pipe takes: see `flush`."""
        self._outbox += frames.Frame(kind, payload).encode()
        self.flush()

    @property
    def has_unsent(self) -> bool:
        """Whether `flush` must be called when the pipe takes more."""
        return bool(self._outbox)

    def flush(self) -> None:
        """Write as much as the pipe takes without waiting."""
        with suppress(BlockingIOError):
            while self._outbox:
                del self._outbox[: os.write(self.requests, self._outbox[:_CHUNK])]

    def read_frames(self) -> tuple[list[frames.Frame], bool]:
        """The frames that came, and whether more may come. Raises FrameError."""
        data = _read(self.answers)
        return list(self._decoder.feed(data or b"")), data != b""

    def drain_frames(self) -> list[frames.Frame]:
        """All frames that are there. Raises FrameError."""
        found: list[frames.Frame] = []
        while data := _read(self.answers):
            found.extend(self._decoder.feed(data))
        return found

    def note(self, event: Event) -> None:
        """Keep in mind which tools run."""
        if event.kind == "tool":
            group = Group(int(event.data["pgid"]), int(event.data["start_ticks"]))
            self.groups[group.number] = (group, event.message)
        elif event.kind == "tool-end":
            self.groups.pop(int(event.data["pgid"]), None)

    def note_rest(self) -> None:
        """Keep in mind which tools run, from frames that nobody else wants any more."""
        with suppress(frames.FrameError, ValueError, TypeError, KeyError):
            for frame in self.drain_frames():
                if frame.kind == frames.EVENT:
                    self.note(frames.decode_event(frame.payload))

    def read_lines(self, *, reads: int = 1) -> tuple[list[str], bool]:
        """The lines of its standard error that came, and whether more may come.

        `reads` bounds how often the pipe is read: one turn of the loop must not take for ever.
        """
        texts: list[str] = []
        data: bytes | None = b""
        for _ in range(reads):
            data = _read(self.stderr)
            *lines, self._line = (self._line + (data or b"")).split(b"\n")
            if self._line and (data == b"" or len(self._line) > _LONGEST_LINE):
                lines, self._line = [*lines, self._line], b""
            texts += [line.decode("utf-8", "replace").rstrip("\r") for line in lines]
            if not data:
                break
        self.last_lines.extend(texts)
        return texts, data != b""

    def signal(self, number: int) -> None:
        """Send a signal, if it has not ended."""
        if self.ended:
            return
        with suppress(ProcessLookupError):
            if self.pidfd is not None:
                signal.pidfd_send_signal(self.pidfd, number)
            else:
                os.kill(self.pid, number)

    def reap(self) -> bool:
        """Whether it has ended; then its status is taken."""
        if not self.ended:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # the embedding program reaped it, or ignores SIGCHLD
                self.ended = not _exists(self.pid)
                return self.ended
            if pid:
                self.ended = True
                self.status = os.waitstatus_to_exitcode(status)
        return self.ended

    def wait(self, until: float) -> bool:
        """Wait for its end until the time `until` (time.monotonic()); whether it has ended."""
        while not self.reap():
            if time.monotonic() > until:
                return False
            time.sleep(0.002)
        return True

    def hang_up(self) -> None:
        """Close the pipe to it: it ends when it has no task, and stops its tools where it has one."""
        self._close(self.requests)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The file descriptors that are open for it."""
        return tuple(self._descriptors)

    def close(self) -> None:
        """Close all pipes. May be called again."""
        for descriptor in self.descriptors:
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        if descriptor in self._descriptors:
            self._descriptors.remove(descriptor)
            os.close(descriptor)

    def death(self) -> WorkerDiedError:
        """The error that tells how it ended."""
        what = f"the worker for {self.label}" if self.label else "a worker process"
        why, fix = "", "run with --jobs 1; if it happens again, report it with the text below"
        if self.status is None:
            what += " ended without an answer"
        elif self.status == -signal.SIGKILL:
            what += f" was killed by {signal_name(signal.SIGKILL)}"
            why = "the system may have run out of memory, or somebody killed it"
            fix = "look at the kernel's log (dmesg | grep -i 'out of memory'); --jobs 1 needs less memory"
        elif self.status < 0:
            what += f" was killed by {signal_name(-self.status)}"
        elif self.status == EXIT_STOPPED:
            what += f" was stopped by {signal_name(signal.SIGTERM)}"
            fix = "somebody stopped it; run the build again"
        else:
            what += f" ended with exit code {self.status} and without an answer"
        detail = "\n".join(self.last_lines)
        return WorkerDiedError(what, why=why, fix=fix, detail=detail, platform=self.label)


def make_setup(marks: Marks, preload: Sequence[str]) -> Setup:
    """What workers of this process must know."""
    return Setup(
        parent=os.getpid(),
        path=tuple(os.path.abspath(entry) for entry in sys.path),
        prefix=sys.prefix,
        exec_prefix=sys.exec_prefix,
        pycache_prefix=sys.pycache_prefix,
        dont_write_bytecode=sys.dont_write_bytecode,
        marks=marks,
        site=any(_is_added(finder) for finder in sys.meta_path),
        preload=tuple(preload),
    )


def _is_added(finder: object) -> bool:
    """Whether it is neither the interpreter's own nor setuptools' stand-in for distutils."""
    kind = finder if isinstance(finder, type) else type(finder)
    return not kind.__module__.startswith(("_frozen_importlib", "_distutils_hack"))


def _interpreter() -> list[str]:
    """Isolated, without site (worker.py says what stands in for it), unbuffered, same text encoding."""
    utf8 = f"utf8={sys.flags.utf8_mode}"
    return [sys.executable, "-I", "-S", "-u", "-X", utf8, "-X", "faulthandler"]


def _package_root() -> str:
    """The directory in which this very package lies; an editable install's is not in sys.path."""
    import hostbuild

    return os.path.dirname(os.path.abspath(hostbuild.__path__[0]))


def _read(descriptor: int) -> bytes | None:
    """What is there; None for nothing yet, b"" for the end."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None


def _pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel or a filter of system calls: EOF tells of its end
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

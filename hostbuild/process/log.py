"""The log of all hostbuild processes of one build directory.

One handler a process, in the parent only: workers send events up. The handler's file lock keeps the lines
of other hostbuild processes whole, also while one of them rotates the file. To import the handler takes as
long as an up-to-date build may: so that is done on a thread, when the first event comes, and nobody waits for
it or for the file.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal

from hostbuild.model import Event

if TYPE_CHECKING:
    from concurrent_log_handler import ConcurrentRotatingFileHandler

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

#: A file of more bytes is rotated; so many older ones are kept beside it.
MAX_BYTES = 1024 * 1024
BACKUPS = 3
#: At most so many lines are written under one lock.
_BATCH = 200
#: The id's first letters are enough for people.
_SHORT = 12
_LEVELS: dict[str, Level] = {
    "warning": "WARNING",
    "progress": "DEBUG",
    "entry": "DEBUG",
    "tool": "DEBUG",
    "tool-end": "DEBUG",
}
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), *range(10, 32), 127)}


class BuildLog:
    """The rotating log at `path`; its lock file lies beside it (`.__NAME.lock`).

    `build_id` names the build in each line. `redact` removes secrets from a message before it is written.
    `on_problem` is called once, in a thread that writes or closes, when the log cannot be written: that never
    fails a build. The directory of `path` must exist. Nothing is opened before the first event.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        build_id: str = "",
        redact: Callable[[str], str] | None = None,
        on_problem: Callable[[str], None] | None = None,
        max_bytes: int = MAX_BYTES,
        backups: int = BACKUPS,
    ) -> None:
        self._path = os.path.abspath(path)
        self.build_id = build_id
        self._redact = redact
        self._on_problem = on_problem
        self._max_bytes = max_bytes
        self._backups = backups
        self._problem = ""
        self._told = False
        self._steps = 0
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def write(self, event: Event) -> None:
        """Log an event. Does not wait for the file."""
        message = event.message
        if event.data:
            facts = " ".join(f"{name}={value}" for name, value in event.data.items())
            message = f"{message} ({facts})" if message else facts
        kind = "" if event.kind in {"info", "warning"} else f"{event.kind}: "
        self.line(_LEVELS.get(event.kind, "INFO"), kind + message, platform=event.platform)

    def line(self, level: Level, message: str, *, platform: str = "") -> None:
        """Log a text; each of its lines becomes a line of the log. Does not wait for the file."""
        now = datetime.fromtimestamp(time.time()).astimezone().isoformat(timespec="milliseconds")
        build = self.build_id[:_SHORT] or "-"
        prefix = f"{now} {os.getpid()} {build} {platform or '-'} {level} "
        if self._redact is not None:
            message = self._redact(message)
        for text in message.splitlines() or [""]:
            self._lines.put(prefix + text.translate(_CONTROLS))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="log", daemon=True)
            self._thread.start()
        self._tell_problem()

    def close(self, *, timeout: float = 2.0) -> None:
        """Write what is left and close the file.

        Gives up when nothing was written for `timeout` seconds: a stopped process holds the lock.
        """
        if self._thread is None:
            return
        self._lines.put(None)
        seen = -1
        while self._thread.is_alive() and self._steps != seen:
            seen = self._steps
            self._thread.join(timeout)
        if self._thread.is_alive() and not self._problem:
            self._problem = "another process holds its lock"
        self._thread = None
        self._tell_problem()

    def _tell_problem(self) -> None:
        if self._problem and not self._told:
            self._told = True
            if self._on_problem is not None:
                self._on_problem(f"the log {self._path} cannot be written: {self._problem}")

    # On the log's own thread.

    def _work(self) -> None:
        handler = None
        ended = False
        while not ended:
            batch, ended = self._batch()
            if batch and not self._problem:
                handler = handler or self._open()
                self._steps += 1
                if handler is not None:
                    self._emit(handler, "\n".join(batch))
                    self._steps += 1
        if handler is not None:
            try:
                handler.close()
            except OSError as error:  # what it still held could not be written either
                self._problem = self._problem or str(error)

    def _batch(self) -> tuple[list[str], bool]:
        """The lines that are there, at least one unless the log is being closed, and whether it is."""
        lines: list[str] = []
        found = self._lines.get()
        while found is not None:
            lines.append(found)
            if len(lines) == _BATCH:
                return lines, False
            try:
                found = self._lines.get_nowait()
            except Empty:
                return lines, False
        return lines, True

    def _open(self) -> ConcurrentRotatingFileHandler | None:
        from hostbuild.process.log_file import open_log_file

        try:
            return open_log_file(
                self._path, max_bytes=self._max_bytes, backups=self._backups, on_failure=self._failed
            )
        except OSError as error:
            self._problem = str(error)
            return None

    def _failed(self) -> None:
        """Called while the handler handles the error that kept it from writing."""
        self._problem = str(sys.exc_info()[1])

    def _emit(self, handler: ConcurrentRotatingFileHandler, text: str) -> None:
        from logging import makeLogRecord

        # Not `handle`: its lock would make the interpreter's end wait for a file lock that never comes.
        handler.emit(makeLogRecord({"msg": text.encode("utf-8", "backslashreplace").decode("utf-8")}))


def _is_planted(path: str) -> bool:
    """Whether something stands at `path` that writing would harm elsewhere: a link of either kind, a pipe.

    The handler follows links and changes modes: a checkout could so have lines written to the user's files.
    """
    try:
        found = os.lstat(path)
    except OSError:  # nothing there; or the handler tells why not
        return False
    return not stat.S_ISREG(found.st_mode) or found.st_nlink > 1

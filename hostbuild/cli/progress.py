"""How progress is shown: on a terminal a living line for each platform, elsewhere plain lines, or nothing.

Everything goes to standard error. A display takes events, and is closed before anything else is said.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import IO, TYPE_CHECKING, Protocol

from hostbuild.cli.failures import clean
from hostbuild.cli.sizes import human_size
from hostbuild.errors import UsageError
from hostbuild.model import Event

if TYPE_CHECKING:
    from hostbuild.cli.pace import LongSteps
    from hostbuild.cli.still import Ticker, Unfinished

Clock = Callable[[], float]

#: Seconds between two plain lines about one step that goes on.
_BETWEEN = 10.0
#: Seconds of silence after which a line says what still goes on.
_SILENCE = 30.0
#: What tells that there is work: a build with nothing to do ends before anybody could get impatient.
_WORK = frozenset({"start", "progress", "waiting"})


class Display(Protocol):
    """Takes events while a build runs; `close` leaves the terminal as it was."""

    def show(self, event: Event) -> None:
        """Show one event."""

    def close(self) -> None:
        """Stop showing; may be called twice."""


def choose(progress: str, stream: IO[str], *, quiet: bool, verbose: bool, environ_term: str) -> Display:
    """The display for `--progress` (auto, plain, tty, quiet, none, rawjson) on this stream.

    Raises UsageError for tty where there is no terminal.
    """
    if progress == "rawjson":
        from hostbuild.cli.rawjson import RawJsonDisplay

        return RawJsonDisplay(stream, quiet=quiet)
    if progress == "tty" and not stream.isatty():
        raise UsageError(
            "--progress tty: standard error is no terminal",
            fix="use --progress plain, or auto, which chooses",
        )
    if quiet or progress in {"quiet", "none"}:
        return SilentDisplay()
    lively = progress == "auto" and not verbose and environ_term != "dumb" and stream.isatty()
    if lively or progress == "tty":
        from hostbuild.cli.live import LiveDisplay

        return LiveDisplay(stream)
    return PlainDisplay(stream, verbose=verbose, ticks=True)


class SilentDisplay:
    """Shows nothing: errors are said by the command itself."""

    def show(self, event: Event) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class OnceDisplay:
    """Passes events on, each warning once: several processes may meet the same thing."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._warned: set[str] = set()

    def show(self, event: Event) -> None:
        """Pass it on, unless it was said."""
        if event.kind == "warning":
            if event.message in self._warned:
                return
            self._warned.add(event.message)
        self._display.show(event)

    def close(self) -> None:
        """Close what is behind."""
        self._display.close()


def line_of(event: Event, *, verbose: bool = False) -> str | None:
    """The line that says this event for good, or None for one that is not worth a line."""
    prefix = f"{event.platform}: " if event.platform else ""
    message = clean(event.message)
    match event.kind:
        case "warning":
            return f"warning: {prefix}{message}"
        case "done" if event.data.get("step") == "blob" and not verbose:
            return None  # a push has many, and its own last word
        case "start" if event.data.get("brief") and not verbose:
            return None  # the line that says it is done follows soon; if it does not, `tick` says it
        case "done" | "info" if isinstance(event.data.get("size"), int):
            return f"{prefix}{message}, {human_size(event.data['size'])}"
        case "done" | "info" | "waiting" | "start":
            return f"{prefix}{message}"
        case "output" | "entry" if verbose:
            return f"{prefix}{message}"
        case "tool" if verbose:
            return f"{prefix}{clean(' '.join(event.data.get('argv', ())))}"
    return None


class PlainDisplay:
    """A line for what starts and what is done, and now and then for what goes on.

    With `verbose` also one for each file, each tool, and each line that a tool prints. With `ticks` a thread
    sees to it that a long step is not silent for longer than half a minute; without, `tick` must be called.
    """

    def __init__(
        self,
        stream: IO[str],
        *,
        verbose: bool = False,
        ticks: bool = False,
        clock: Clock = time.monotonic,
    ) -> None:
        self._stream = stream
        self._verbose = verbose
        self._ticks = ticks
        self._clock = clock
        self._steps: LongSteps | None = None
        self._unfinished: Unfinished | None = None
        self._ticker: Ticker | None = None
        self._lock: AbstractContextManager[object] = nullcontext()

    def show(self, event: Event) -> None:
        """Write the event's line, if it has one."""
        if self._unfinished is None and (event.kind in _WORK or event.data.get("step") == "build"):
            self._watch()
        with self._lock:
            line = self._line_of(event)
            if self._unfinished is not None:
                self._unfinished.note(event, said=line is not None)
            if line is not None:
                self._write(line)

    def tick(self) -> None:
        """Say what goes on, where nothing was said of it for long."""
        with self._lock:
            for line in self._unfinished.lines() if self._unfinished is not None else ():
                self._write(line)

    def close(self) -> None:
        """Say nothing more."""
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None

    def _watch(self) -> None:
        import threading

        from hostbuild.cli.still import Ticker, Unfinished

        self._unfinished = Unfinished(_SILENCE, self._clock)
        if self._ticks:
            self._lock = threading.Lock()
            self._ticker = Ticker(self.tick)

    def _line_of(self, event: Event) -> str | None:
        if event.kind == "progress":
            return self._long_steps().line_of(event)
        if event.kind == "start" and "step" in event.data:
            self._long_steps().begin(event)
        return line_of(event, verbose=self._verbose)

    def _write(self, line: str) -> None:
        stamp = time.strftime("%H:%M:%S ") if self._verbose else ""
        self._stream.write(f"{stamp}{line}\n")
        self._stream.flush()

    def _long_steps(self) -> LongSteps:
        if self._steps is None:
            from hostbuild.cli.pace import LongSteps

            self._steps = LongSteps(_BETWEEN, self._clock)
        return self._steps

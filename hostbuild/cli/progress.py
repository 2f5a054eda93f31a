"""How progress is shown: on a terminal a living line for each platform, elsewhere plain lines, or nothing.

Everything goes to standard error. A display takes events, and is closed before anything else is said.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Protocol

from hostbuild.model import Event

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

Clock = Callable[[], float]


class Display(Protocol):
    """Takes events while a build runs; `close` leaves the terminal as it was."""

    def show(self, event: Event) -> None:
        """Show one event."""

    def close(self) -> None:
        """Stop showing; may be called twice."""


def choose(progress: str, stream: IO[str], *, quiet: bool, verbose: bool, environ_term: str) -> Display:
    """The display for `--progress` (auto, plain, quiet) on this stream."""
    if quiet or progress == "quiet":
        return SilentDisplay()
    if progress == "auto" and not verbose and environ_term != "dumb" and stream.isatty():
        return LiveDisplay(stream)
    return PlainDisplay(stream, verbose=verbose)


class SilentDisplay:
    """Shows nothing: errors are said by the command itself."""

    def show(self, event: Event) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def line_of(event: Event, *, verbose: bool = False) -> str | None:
    """The line that says this event for good, or None for one that is not worth a line."""
    prefix = f"{event.platform}: " if event.platform else ""
    match event.kind:
        case "warning":
            return f"warning: {prefix}{event.message}"
        case "done" if isinstance(event.data.get("size"), int):
            return f"{prefix}{event.message}, {human_size(event.data['size'])}"
        case "done" | "info" | "waiting":
            return f"{prefix}{event.message}"
        case "start":
            return f"{prefix}{event.message}"
        case "output" | "entry" if verbose:
            return f"{prefix}{event.message}"
        case "tool" if verbose:
            return f"{prefix}{' '.join(event.data.get('argv', ()))}"
    return None


class PlainDisplay:
    """A line for what starts and what is done; with `verbose` also each file, tool, and what it prints."""

    def __init__(self, stream: IO[str], *, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose

    def show(self, event: Event) -> None:
        """Write the event's line, if it has one."""
        line = line_of(event, verbose=self._verbose)
        if line is not None:
            stamp = time.strftime("%H:%M:%S ") if self._verbose else ""
            self._stream.write(f"{stamp}{line}\n")
            self._stream.flush()

    def close(self) -> None:
        """Nothing is left to do."""


class LiveDisplay:
    """A spinner and the last word of each platform that is being built; what is done stays above it."""

    def __init__(self, stream: IO[str], clock: Clock = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._rows: dict[str, tuple[str, float]] = {}
        self._live: Live | None = None

    def show(self, event: Event) -> None:
        """Update the platform's line, and print what is done above it."""
        row = event.platform
        if event.kind in {"start", "waiting"}:
            self._rows[row] = (event.message, self._clock())
            self._start()
        elif event.kind in {"output", "progress"} and row in self._rows:
            self._rows[row] = (event.message, self._rows[row][1])
        elif event.kind == "done":
            self._rows.pop(row, None)
        line = line_of(event)
        if line is not None and event.kind not in {"waiting", "start"}:
            self._print(line, event.kind)

    def close(self) -> None:
        """Take the living lines away."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._rows.clear()

    def _print(self, line: str, kind: str) -> None:
        if self._live is None:  # rich is slow to import: for a word without work it is not
            self._stream.write(f"{line}\n")
            self._stream.flush()
            return
        from rich.text import Text

        mark = Text("✓ ", style="green") if kind == "done" else Text("")
        self._live.console.print(mark.append(line, style="yellow" if kind == "warning" else ""))

    def _start(self) -> None:
        if self._live is None:
            from rich.console import Console
            from rich.live import Live
            from rich.spinner import Spinner

            console = Console(file=self._stream, highlight=False, soft_wrap=True, markup=False)
            self._spinner = Spinner("dots")
            self._live = Live(
                get_renderable=self._render, console=console, refresh_per_second=12, transient=True
            )
            self._live.start()

    def _render(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        now = self._clock()
        for platform, (message, since) in list(self._rows.items()):
            text = Text(no_wrap=True, overflow="ellipsis")
            text.append(f"{platform} " if platform else "", style="bold")
            text.append(message)
            text.append(f"  {now - since:.0f}s", style="dim")
            table.add_row(self._spinner, text)
        return table


def human_size(size: int) -> str:
    """Bytes for people, in powers of 1000 as registries and disks count: 999 B, 1.2 kB, 7.9 MB."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.95 or unit == "TB":
            break
    return f"{value:.1f} {unit}"

"""Progress on a terminal: living lines below, what is done above them."""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING, NamedTuple

from hostbuild.cli.failures import clean
from hostbuild.cli.pace import Shares, step_of
from hostbuild.cli.progress import Clock, line_of
from hostbuild.cli.sizes import human_share
from hostbuild.model import Event

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

#: What tells that a platform waits no longer.
_GOING_ON = frozenset({"start", "output", "progress", "done"})


class Row(NamedTuple):
    """One living line; `since` is when its step began, `share` how much of it is done."""

    message: str
    since: float
    step: str = ""
    share: str = ""


class LiveDisplay:
    """A spinner and the last word of each platform that is being built, and a line for each transfer."""

    def __init__(self, stream: IO[str], clock: Clock = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._works: dict[str, Row] = {}  # by platform
        self._waits: dict[str, Row] = {}  # by platform, until it goes on
        self._transfers: dict[tuple[str, str], Row] = {}  # by platform and step
        self._shares = Shares()
        self._live: Live | None = None

    @property
    def rows(self) -> list[tuple[str, Row]]:
        """The living lines: the platform's name, and what is said of it."""
        transfers = ((platform, row) for (platform, _), row in list(self._transfers.items()))
        return [*list(self._works.items()), *transfers, *list(self._waits.items())]

    def show(self, event: Event) -> None:
        """Update the platform's line, and print what is done above it."""
        platform, step = step_of(event)
        message = clean(event.message)
        if event.kind in _GOING_ON:
            self._waits.pop(platform, None)
        match event.kind:
            case "waiting":
                self._waits[platform] = Row(message, self._clock(), step)
                self._start()
            case "start":
                self._works[platform] = Row(message, self._clock(), step)
                self._start()
            case "output" if platform in self._works:
                self._works[platform] = self._works[platform]._replace(message=message)
            case "progress":
                self._progress(event, message)
            case "done":
                work = self._works.get(platform)
                if work is not None and (platform or not work.step or work.step == step):
                    del self._works[platform]
                self._end_transfer(platform, step)
            case "info" if step and event.data.get("digest") is None:
                self._end_transfer(platform, step)
        line = line_of(event)
        if line is not None and event.kind not in {"waiting", "start"}:
            self._print(line, event.kind)

    def close(self) -> None:
        """Take the living lines away."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._works.clear()
        self._waits.clear()
        self._transfers.clear()

    def _progress(self, event: Event, message: str) -> None:
        platform, step = step_of(event)
        work = self._works.get(platform)
        share = self._shares.add(event)
        if share is None:
            if work is not None and message:
                self._works[platform] = work._replace(message=message)
            return
        text = human_share(*share)
        if work is not None and step and work.step == step:
            self._works[platform] = work._replace(share=text)
        elif share.complete:
            self._end_transfer(platform, step)
        else:
            before = self._transfers.get((platform, step))
            since = before.since if before else self._clock()
            self._transfers[platform, step] = Row(message or step, since, step, text)
            self._start()

    def _end_transfer(self, platform: str, step: str) -> None:
        self._transfers.pop((platform, step), None)
        self._shares.forget((platform, step))

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
                get_renderable=self._render,
                console=console,
                refresh_per_second=12,
                transient=True,
                redirect_stdout=False,  # an image may be on its way there
                redirect_stderr=False,
            )
            self._live.start()

    def _render(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        now = self._clock()
        for platform, row in self.rows:
            text = Text(no_wrap=True, overflow="ellipsis")
            text.append(f"{platform} " if platform else "", style="bold")
            text.append(f"{row.message} {row.share}" if row.share else row.message)
            text.append(f"  {now - row.since:.0f}s", style="dim")
            table.add_row(self._spinner, text)
        return table

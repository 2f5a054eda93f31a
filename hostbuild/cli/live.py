"""Progress on a terminal: living lines below, what is done above them."""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING, NamedTuple

from hostbuild.cli.failures import clean
from hostbuild.cli.pace import Share, Shares, ends, part_of, step_of
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
        self._ended: set[tuple[str, ...]] = set()  # platform, step, and the blob where one of them ended
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
                self._ended = {each for each in self._ended if each[:2] != (platform, step)}
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
                self._end(platform, step, part_of(event))
            case "info" if step:
                self._end(platform, step, part_of(event), for_good=False)
        line = line_of(event)
        if line is not None and event.kind not in {"waiting", "start"}:
            self._print(line, "done" if ends(event) else event.kind)

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
        part = str(event.data.get("digest", ""))
        if (platform, step) in self._ended or (platform, step, part) in self._ended:
            return  # late: threads tell how far they were when the end was told already
        share = self._shares.add(event)
        work = self._works.get(platform)
        if share is not None:
            self._show_share(platform, step, share, message or step)
        elif work is not None and message:
            self._works[platform] = work._replace(message=message)

    def _show_share(self, platform: str, step: str, share: Share, message: str) -> None:
        work = self._works.get(platform)
        if work is not None and step and work.step == step:
            # Complete, and still at it: what is done now is no sending.
            self._works[platform] = work._replace(share="" if share.complete else human_share(*share))
        elif share.complete:
            self._end_transfer(platform, step)
        else:
            row = self._transfers.get((platform, step)) or Row(message, self._clock(), step)
            self._transfers[platform, step] = row._replace(message=message, share=human_share(*share))
            self._start()

    def _end(self, platform: str, step: str, part: str, *, for_good: bool = True) -> None:
        """The step is over, or a blob of it; without `for_good` more may follow under the same name."""
        if part:
            self._ended.add((platform, step, part))
            share = self._shares.complete((platform, step), part)
            if share is not None:
                row = self._transfers.get((platform, step))
                self._show_share(platform, step, share, row.message if row else step)
            return
        if for_good:
            self._ended.add((platform, step))
        self._end_transfer(platform, step)

    def _end_transfer(self, platform: str, step: str) -> None:
        self._transfers.pop((platform, step), None)
        self._shares.forget((platform, step))

    def _print(self, line: str, kind: str) -> None:
        if self._live is None:  # rich is slow to import: for a word without work it is not
            self._stream.write(f"{line}\n")
            self._stream.flush()
            return
        from rich.text import Text

        self._live.refresh()  # else the rows as they were drawn last would stand below the line once more
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

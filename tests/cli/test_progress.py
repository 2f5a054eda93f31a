from __future__ import annotations

import io
import json
import threading
from typing import Any

import pytest

from hostbuild.cli import progress as progress_module
from hostbuild.cli import still
from hostbuild.cli.live import LiveDisplay
from hostbuild.cli.pace import Pace, Shares
from hostbuild.cli.progress import OnceDisplay, PlainDisplay, SilentDisplay, choose, line_of
from hostbuild.cli.rawjson import RawJsonDisplay, write_line
from hostbuild.cli.sizes import human_share, human_size
from hostbuild.errors import UsageError
from hostbuild.model import Event


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(done: int, total: int, message: str = "", *, step: str = "push", **data: Any) -> Event:
    return Event("progress", message, data={"step": step, "done": done, "total": total, **data})


def kind(
    progress: str, stream: io.StringIO, *, quiet: bool = False, verbose: bool = False, term: str = "x"
) -> str:
    display = choose(progress, stream, quiet=quiet, verbose=verbose, environ_term=term)
    return type(display).__name__


def test_which_display() -> None:
    assert kind("auto", io.StringIO()) == "PlainDisplay"
    assert kind("auto", Terminal()) == "LiveDisplay"
    assert kind("auto", Terminal(), term="dumb") == "PlainDisplay"
    assert kind("auto", Terminal(), verbose=True) == "PlainDisplay"
    assert kind("plain", Terminal()) == "PlainDisplay"
    assert kind("tty", Terminal(), term="dumb") == "LiveDisplay"
    for silent in ("quiet", "none"):
        assert kind(silent, Terminal()) == "SilentDisplay"
    assert kind("auto", Terminal(), quiet=True) == "SilentDisplay"
    assert kind("rawjson", Terminal()) == "RawJsonDisplay"
    with pytest.raises(UsageError, match="no terminal"):
        kind("tty", io.StringIO())


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (10**15, "1000.0 TB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert human_size(size) == text


def test_shares() -> None:
    assert human_share(12_300_000, 45_600_000) == "12.3 of 45.6 MB"
    assert human_share(900, 1_200_000) == "0.0 of 1.2 MB"
    assert human_share(5, 10) == "5 of 10 B"


def test_the_blobs_of_a_step_are_summed_up() -> None:
    shares = Shares()
    shares.add(progress(10, 100, digest="a"))
    assert shares.add(progress(5, 50, digest="b")) == (15, 150)
    assert shares.add(progress(90, 100, digest="a")) == (95, 150)
    assert shares.add(progress(1, 2, step="other")) == (1, 2)
    shares.forget(("", "push"))
    assert shares.add(progress(1, 50, digest="b")) == (1, 50)
    assert shares.add(Event("progress", "no numbers")) is None


def test_pace() -> None:
    clock = Clock()
    pace = Pace(1.0, clock)
    assert pace.lets(progress(1, 10))
    assert not pace.lets(progress(2, 10))
    assert pace.lets(progress(2, 10, digest="other"))
    clock.now += 1.5
    assert pace.lets(progress(3, 10))
    assert pace.lets(progress(10, 10))


def test_plain_lines_of_a_long_push() -> None:
    clock, stream = Clock(), io.StringIO()
    display = PlainDisplay(stream, clock=clock)
    display.show(Event("start", "pushing to r.example/x", data={"step": "push"}))
    for done in range(10):
        clock.now += 3
        display.show(progress(done * 5_000_000, 45_600_000))
    display.show(Event("done", "uploaded sha256:1", data={"step": "blob", "size": 7}))
    display.show(progress(45_600_000, 45_600_000))
    display.show(Event("waiting", "sending a blob: 503; trying again in 2.0 s"))
    display.show(Event("done", "pushed r.example/x", data={"step": "push"}))
    assert stream.getvalue().splitlines() == [
        "pushing to r.example/x",
        "pushing to r.example/x, 15.0 of 45.6 MB",
        "pushing to r.example/x, 35.0 of 45.6 MB",
        "sending a blob: 503; trying again in 2.0 s",
        "pushed r.example/x",
    ]


def test_a_layer_that_no_tool_makes_has_one_line() -> None:
    start = Event("start", "writing the layer numpy", "linux/amd64", data={"step": "numpy", "brief": True})
    assert line_of(start) is None
    assert line_of(start, verbose=True) == "linux/amd64: writing the layer numpy"
    tool = Event("start", "building with go", "linux/amd64", data={"step": "go", "brief": False})
    assert line_of(tool) == "linux/amd64: building with go"


def test_short_transfers_have_no_plain_line() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream, clock=Clock())
    display.show(progress(1, 10, "fetching", step="base"))
    display.show(progress(10, 10, "fetching", step="base"))
    assert stream.getvalue() == ""


def test_living_lines_of_a_push() -> None:
    display = LiveDisplay(Terminal(), Clock())
    display.show(Event("start", "pushing to r.example/x", data={"step": "push"}))
    display.show(progress(12_300_000, 45_600_000))
    (row,) = display.rows
    assert (row[1].message, row[1].share) == ("pushing to r.example/x", "12.3 of 45.6 MB")
    display.show(Event("waiting", "sending a blob: 503; trying again in 2.0 s"))
    assert [row.message for _, row in display.rows] == [
        "pushing to r.example/x",
        "sending a blob: 503; trying again in 2.0 s",
    ]
    display.show(progress(12_400_000, 45_600_000))
    assert len(display.rows) == 1
    display.show(Event("done", "uploaded sha256:1", data={"step": "blob", "size": 7}))
    assert len(display.rows) == 1
    display.show(Event("done", "pushed r.example/x", data={"step": "push"}))
    assert display.rows == []
    display.close()


def test_living_lines_of_base_layers_beside_the_language() -> None:
    display = LiveDisplay(Terminal(), Clock())
    display.show(Event("start", "building with go", "linux/amd64", {"step": "go"}))
    for digest in ("a", "b"):
        data = {"step": "base", "digest": digest, "done": 500_000, "total": 1_000_000}
        display.show(Event("progress", "fetching the base image", "linux/amd64", data))
    words = {(platform, row.message, row.share) for platform, row in display.rows}
    assert words == {
        ("linux/amd64", "building with go", ""),
        ("linux/amd64", "fetching the base image", "1.0 of 2.0 MB"),
    }
    display.show(Event("output", "compiling x", "linux/amd64"))
    assert display.rows[0][1].message == "compiling x"
    for digest in ("a", "b"):
        data = {"step": "base", "digest": digest, "done": 1_000_000, "total": 1_000_000}
        display.show(Event("progress", "fetching the base image", "linux/amd64", data))
    assert [row.message for _, row in display.rows] == ["compiling x"]
    display.close()
    assert display.rows == []


def test_what_is_told_late_brings_no_row_back() -> None:
    display = LiveDisplay(Terminal(), Clock())
    display.show(Event("start", "pushing to r.example/x", data={"step": "push"}))
    display.show(progress(12_300_000, 45_600_000))
    display.show(Event("done", "pushed r.example/x", data={"step": "push", "digest": "sha256:1"}))
    display.show(progress(40_000_000, 45_600_000))
    assert display.rows == []
    display.show(Event("start", "pushing to s.example/x", data={"step": "push"}))
    display.show(progress(1_000_000, 45_600_000))
    assert [row.share for _, row in display.rows] == ["1.0 of 45.6 MB"]
    display.close()


def base(kind: str, digest: str, **data: int) -> Event:
    return Event(kind, "fetching the base image", data={"step": "base", "digest": digest, **data})


def test_a_layer_of_the_base_ends_its_row_and_is_ticked_off() -> None:
    stream = Terminal()
    display = LiveDisplay(stream, Clock())
    for digest in ("a", "b"):
        display.show(base("progress", digest, done=900_000, total=1_000_000))
    display.show(base("info", "a", size=1_000_000))
    assert [row.share for _, row in display.rows] == ["1.9 of 2.0 MB"]
    display.show(base("progress", "a", done=950_000, total=1_000_000))
    assert [row.share for _, row in display.rows] == ["1.9 of 2.0 MB"]
    display.show(base("info", "b", size=1_000_000))
    assert display.rows == []
    display.show(base("progress", "b", done=950_000, total=1_000_000))
    assert display.rows == []
    display.close()
    assert stream.getvalue().count("✓") == 2
    last = stream.getvalue().rpartition("✓")[2]
    assert "2.0 MB" not in last  # no row stands below it


def test_a_row_does_not_say_that_all_of_all_is_sent() -> None:
    display = LiveDisplay(Terminal(), Clock())
    display.show(Event("start", "pushing to r.example/x", data={"step": "push"}))
    display.show(progress(39_800_000, 39_800_000))
    assert [(row.message, row.share) for _, row in display.rows] == [("pushing to r.example/x", "")]
    display.close()


def test_a_long_step_is_not_silent() -> None:
    clock, stream = Clock(), io.StringIO()
    display = PlainDisplay(stream, clock=clock)
    display.tick()
    display.show(Event("info", "building app:latest", data={"step": "build"}))
    pass_time(display, clock, 31)
    for platform in ("linux/amd64", "linux/arm64"):
        display.show(Event("start", "building with go", platform, {"step": "go"}))
    pass_time(display, clock, 15)
    display.show(Event("done", "go layer written", "linux/amd64", {"step": "go", "size": 7}))
    pass_time(display, clock, 50)
    display.show(Event("done", "go layer written", "linux/arm64", {"step": "go", "size": 7}))
    display.show(Event("waiting", "waiting for another build", data={"pid": 7}))
    pass_time(display, clock, 30)
    display.show(Event("info", "going on"))
    pass_time(display, clock, 29)
    assert stream.getvalue().splitlines() == [
        "building app:latest",
        "still at work, 30 s",
        "linux/amd64: building with go",
        "linux/arm64: building with go",
        "linux/amd64: go layer written, 7 B",
        "linux/arm64: still building with go, 30 s",
        "linux/arm64: still building with go, 60 s",
        "linux/arm64: go layer written, 7 B",
        "waiting for another build",
        "still waiting for another build, 30 s",
        "going on",
    ]


def pass_time(display: PlainDisplay, clock: Clock, seconds: int) -> None:
    for _ in range(seconds):
        clock.now += 1
        display.tick()


def test_a_transfer_that_is_told_of_needs_no_other_word() -> None:
    clock, stream = Clock(), io.StringIO()
    display = PlainDisplay(stream, clock=clock)
    for done in range(40):
        clock.now += 3
        display.show(progress(done * 1_000_000, 45_600_000, "fetching", step="base"))
        display.tick()
    display.show(Event("info", "fetched", data={"step": "base", "digest": "a", "size": 7}))
    assert "still" not in stream.getvalue()


def test_the_display_ticks_by_itself_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(still, "_MOMENT", 0.001)
    monkeypatch.setattr(progress_module, "_SILENCE", 0.0)
    stream = io.StringIO()
    display = choose("auto", stream, quiet=False, verbose=False, environ_term="x")
    display.show(Event("start", "building with go", "linux/arm64", {"step": "go"}))
    while "still building" not in stream.getvalue():
        threading.Event().wait(0.001)
    monkeypatch.setattr(still, "_MOMENT", 10.0)
    display.close()
    text = stream.getvalue()
    threading.Event().wait(0.02)
    assert stream.getvalue() == text
    assert not [thread for thread in threading.enumerate() if thread.name == "still"]


def test_the_living_lines_are_drawn() -> None:
    stream = Terminal()
    display = LiveDisplay(stream)
    display.show(Event("start", "pushing", data={"step": "push"}))
    display.show(progress(12_300_000, 45_600_000))
    assert display._live is not None
    display._live.refresh()
    display.close()
    display.close()
    assert "12.3 of 45.6 MB" in stream.getvalue()


def test_warnings_are_said_once() -> None:
    stream = io.StringIO()
    display = OnceDisplay(PlainDisplay(stream))
    for platform in ("linux/amd64", "linux/arm64"):
        display.show(Event("warning", "r.example says: soon gone", platform))
    display.show(Event("info", "x"))
    display.show(Event("info", "x"))
    display.close()
    assert stream.getvalue() == "warning: linux/amd64: r.example says: soon gone\nx\nx\n"


def test_no_line_tells_a_login() -> None:
    for name in ("info", "warning", "waiting", "output"):
        line = line_of(Event(name, "GET https://me:s3cret@r.example/v2/"), verbose=True)
        assert line is not None
        assert "s3cret" not in line
    tool = Event("tool", data={"argv": ["git", "clone", "https://me:s3cret@r.example"]})
    assert "s3cret" not in str(line_of(tool, verbose=True))


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    text = stream.getvalue()
    assert text.isascii()
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_rawjson_is_one_object_a_line() -> None:
    stream = io.StringIO()
    display = RawJsonDisplay(stream)
    display.show(
        Event("start", "two\nlines \udcff é \x1b[2J", "linux/arm64", {"step": "go", "argv": ("a", "b")})
    )
    display.show(Event("warning", "https://me:s3cret@r.example", data={"x": {"y": ["https://me:s3cret@h"]}}))
    display.close()
    first, second = lines_of(stream)
    assert first.keys() == {"time", "kind", "message", "platform", "data"}
    assert (first["kind"], first["platform"]) == ("start", "linux/arm64")
    assert first["message"] == "two\nlines \udcff é \x1b[2J"
    assert first["data"] == {"step": "go", "argv": ["a", "b"]}
    assert "s3cret" not in json.dumps(second)


def test_rawjson_times_are_rfc3339() -> None:
    stream = io.StringIO()
    write_line(stream, "info", "", "", {}, now=lambda: 1_700_000_000.1234)
    assert lines_of(stream)[0]["time"] == "2023-11-14T22:13:20.123Z"


def test_rawjson_progress_is_bounded_and_quiet_is_silent() -> None:
    clock, stream = Clock(), io.StringIO()
    display = RawJsonDisplay(stream, clock=clock)
    for done in range(1001):
        clock.now += 0.001
        display.show(progress(done, 1000))
    told = [line["data"]["done"] for line in lines_of(stream)]
    assert told[0] == 0
    assert told[-1] == 1000
    assert len(told) < 10
    quiet = io.StringIO()
    RawJsonDisplay(quiet, quiet=True).show(Event("warning", "x"))
    SilentDisplay().show(Event("warning", "x"))
    assert quiet.getvalue() == ""

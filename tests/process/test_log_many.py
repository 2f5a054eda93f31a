"""Ten processes and one log that rotates often: no line is torn or lost, also where writers are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hostbuild.process.log import BuildLog
from hostbuild.process.log_file import drop_torn_end, rotate

from .test_log import lines_of

NAMES = "abcdefghij"
PLATFORMS = ("linux/amd64", "linux/arm64", "")
LINES = 150

#: Writes lines of very different lengths; says which one was written and closed, so that it must be there.
_WRITER = """
import sys
from hostbuild.process.log import BuildLog
path, name, count, backups = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
problems = []
log = BuildLog(path, build_id=name * 64, max_bytes=20_000, backups=backups, on_problem=problems.append)
for number in range(count):
    platform = ("linux/amd64", "linux/arm64", "")[number % 3]
    log.line("INFO", f"{number} " + name * (number * 37 % 700), platform=platform)
    if number % 10 == 9:
        log.close(timeout=60)
        print(number, flush=True)
log.close(timeout=60)
sys.exit(str(problems) if problems else 0)
"""


def start(path: Path, name: str, count: int, backups: int = 500) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", _WRITER, str(path), name, str(count), str(backups)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def written(directory: Path) -> dict[tuple[int, str], list[int]]:
    """The numbers of the lines in all files of the log, by pid and build, oldest file first."""
    files = sorted(directory.glob("hostbuild.log*"), key=lambda file: -int(file.suffix.lstrip(".log") or 0))
    found: dict[tuple[int, str], list[int]] = {}
    for file in files:
        for line in lines_of(file):
            number, _, padding = line["message"].partition(" ")
            name = line["build"][0]
            assert line["build"] == name * 12
            assert padding == name * (int(number) * 37 % 700)
            assert line["platform"] == (PLATFORMS[int(number) % 3] or "-")
            found.setdefault((int(line["pid"]), name), []).append(int(number))
    return found


def names_in(directory: Path) -> set[str]:
    """What lies there besides the numbered files."""
    return {name for name in os.listdir(directory) if not name.startswith("hostbuild.log.")}


def test_ten_writers_lose_and_tear_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hostbuild.log"
    writers = {name: start(path, name, LINES) for name in NAMES}
    for writer in writers.values():
        writer.communicate()
        assert writer.returncode == 0
    assert written(tmp_path) == {
        (writer.pid, name): list(range(LINES)) for name, writer in writers.items()
    }  # all of them, and each writer's in their order
    assert len(list(tmp_path.glob("hostbuild.log.*"))) > 10
    assert names_in(tmp_path) == {"hostbuild.log", ".__hostbuild.lock"}


def test_killed_writers_leave_whole_lines_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "hostbuild.log"
    said: dict[int, int] = {}
    for generation in range(2):
        writers = [start(path, name, 100_000) for name in NAMES[:6]]
        for writer in writers:
            assert writer.stdout is not None
            for _ in range(3 + generation):
                said[writer.pid] = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)  # while it writes or rotates
            writer.communicate()
    last = start(path, "z", 20)
    last.communicate()
    assert last.returncode == 0  # no lock is left
    numbers = {pid: found for (pid, _), found in written(tmp_path).items()}
    for pid, number in said.items():
        assert numbers[pid][: number + 1] == list(range(number + 1))  # what it had closed is there
    assert numbers[last.pid] == list(range(20))
    assert names_in(tmp_path) == {"hostbuild.log", ".__hostbuild.lock"}


@pytest.mark.parametrize("step", range(4))
def test_a_rotation_that_is_killed_loses_nothing(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hostbuild.log"
    for name, text in {"": "d", ".1": "c", ".2": "b"}.items():
        (tmp_path / f"hostbuild.log{name}").write_text(text)
    replace = os.replace
    done: list[str] = []

    def killed(source: str, target: str) -> None:
        if len(done) == step:
            raise KeyboardInterrupt
        replace(source, target)
        done.append(target)

    monkeypatch.setattr(os, "replace", killed)
    if step < 3:
        with pytest.raises(KeyboardInterrupt):
            rotate(str(path), 3)
    else:
        rotate(str(path), 3)
    monkeypatch.undo()
    assert sorted(file.read_text() for file in tmp_path.iterdir()) == ["b", "c", "d"]
    if path.exists():
        rotate(str(path), 3)
    assert [(tmp_path / f"hostbuild.log.{number}").read_text() for number in (1, 2, 3)] == ["d", "c", "b"]
    path.write_text("e")
    rotate(str(path), 3)
    assert [(tmp_path / f"hostbuild.log.{number}").read_text() for number in (1, 2, 3)] == ["e", "d", "c"]


def test_half_a_line_of_a_killed_writer_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "hostbuild.log"
    log = BuildLog(path)
    log.line("INFO", "whole")
    log.close()
    with path.open("a") as file:
        file.write("2026-11-24T10:00:00.000+00:00 1 - - INFO ha")
    log.line("INFO", "next")
    log.close()
    assert [line["message"] for line in lines_of(path)] == ["whole", "next"]
    path.write_text("nothing but half a line")
    drop_torn_end(str(path))
    assert path.read_text() == ""


@pytest.mark.parametrize("name", ["hostbuild.log", ".__hostbuild.lock"])
def test_a_planted_link_is_not_followed(name: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    victim.chmod(0o644)
    builds = tmp_path / "builds"
    builds.mkdir()
    (builds / name).symlink_to(victim)
    problems: list[str] = []
    log = BuildLog(builds / "hostbuild.log", on_problem=problems.append)
    log.line("INFO", "x")
    log.close()
    assert (victim.read_text(), victim.stat().st_mode & 0o777) == ("mine", 0o644)
    assert len(problems) == 1
    assert "symbolic link" in problems[0]


def test_a_fifo_in_the_logs_place_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hostbuild.log")
    problems: list[str] = []
    log = BuildLog(tmp_path / "hostbuild.log", on_problem=problems.append)
    log.line("INFO", "x")
    log.close()
    assert len(problems) == 1
    assert "not a plain file" in problems[0]

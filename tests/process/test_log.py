from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hostbuild.model import Event
from hostbuild.process.log import BuildLog

from .helpers import PATIENCE, Word, wait_until

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d) (?P<pid>\d+) (?P<build>\S+) "
    r"(?P<platform>\S+) (?P<level>DEBUG|INFO|WARNING|ERROR) (?P<message>.*)"
)


def lines_of(path: Path) -> list[re.Match[str]]:
    found = []
    for line in path.read_text("utf-8").splitlines():
        match = _LINE.fullmatch(line)
        assert match is not None, f"a torn line: {line!r}"
        found.append(match)
    return found


def test_a_line_tells_time_pid_build_platform_and_what(tmp_path: Path) -> None:
    log = BuildLog(tmp_path / "hostbuild.log", build_id="0123456789abcdef")
    log.write(Event("start", "compile", "linux/arm64", {"step": "compile"}))
    log.write(Event("warning", "look out"))
    log.write(Event("tool", "go build", "linux/arm64", {"pgid": 5}))
    log.line("ERROR", "it failed")
    log.close()
    lines = lines_of(tmp_path / "hostbuild.log")
    assert {line["pid"] for line in lines} == {str(os.getpid())}
    assert {line["build"] for line in lines} == {"0123456789ab"}
    assert [(line["platform"], line["level"], line["message"]) for line in lines] == [
        ("linux/arm64", "INFO", "start: compile (step=compile)"),
        ("-", "WARNING", "look out"),
        ("linux/arm64", "DEBUG", "tool: go build (pgid=5)"),
        ("-", "ERROR", "it failed"),
    ]


def test_several_lines_and_control_characters_cannot_forge_a_line(tmp_path: Path) -> None:
    log = BuildLog(tmp_path / "hostbuild.log")
    log.line("INFO", "one\ntwo\r\nthree\x1b[31m\udcff\u2028four\n")
    log.line("INFO", "")
    log.close()
    messages = [line["message"] for line in lines_of(tmp_path / "hostbuild.log")]
    assert messages == ["one", "two", "three\\x1b[31m\\udcff", "four", ""]


def test_secrets_are_taken_out_before_anything_is_written(tmp_path: Path) -> None:
    log = BuildLog(tmp_path / "hostbuild.log", redact=lambda text: text.replace("hunter2", "***"))
    log.write(Event("output", "password is hunter2", data={"argv": ["--password", "hunter2"]}))
    log.close()
    assert "hunter2" not in (tmp_path / "hostbuild.log").read_text()
    assert (tmp_path / "hostbuild.log").read_text().count("***") == 2


def test_nothing_is_opened_before_the_first_event(tmp_path: Path) -> None:
    BuildLog(tmp_path / "hostbuild.log").close()
    assert os.listdir(tmp_path) == []


def test_the_log_and_its_lock_lie_together_and_are_the_users_own(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        log = BuildLog(tmp_path / "hostbuild.log")
        log.line("INFO", "x")
        log.close()
    finally:
        os.umask(previous)
    assert sorted(os.listdir(tmp_path)) == [".__hostbuild.lock", "hostbuild.log"]
    for name in os.listdir(tmp_path):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_log_rotates_and_keeps_few(tmp_path: Path) -> None:
    log = BuildLog(tmp_path / "hostbuild.log", max_bytes=2000, backups=2)
    for number in range(3000):
        log.line("INFO", f"line {number}")
    log.close(timeout=PATIENCE)
    names = sorted(name for name in os.listdir(tmp_path) if not name.startswith("."))
    assert names == ["hostbuild.log", "hostbuild.log.1", "hostbuild.log.2"]
    assert lines_of(tmp_path / "hostbuild.log")[-1]["message"] == "line 2999"


def test_a_closed_log_can_be_written_to_again(tmp_path: Path) -> None:
    log = BuildLog(tmp_path / "hostbuild.log")
    for text in ("one", "two"):
        log.line("INFO", text)
        log.close()
    assert [line["message"] for line in lines_of(tmp_path / "hostbuild.log")] == ["one", "two"]


def test_a_log_that_cannot_be_written_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    problems: list[str] = []
    log = BuildLog(tmp_path / "nowhere" / "hostbuild.log", on_problem=problems.append)
    for _ in range(5):
        log.line("INFO", "x")
    log.close()
    log.line("INFO", "x")
    log.close()
    assert len(problems) == 1
    assert "nowhere/hostbuild.log cannot be written" in problems[0]
    assert "No such file or directory" in problems[0]
    assert capfd.readouterr() == ("", "")


def test_a_holder_of_the_lock_that_hangs_does_not_hang_the_build(tmp_path: Path) -> None:
    word = Word()
    holder = subprocess.Popen(
        ["flock", str(tmp_path / ".__hostbuild.lock"), "/bin/sh", "-c", "echo held; exec sleep 300"],
        env=word.environment(),
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    problems: list[str] = []
    log = BuildLog(tmp_path / "hostbuild.log", on_problem=problems.append)
    log.line("INFO", "x")
    log.close(timeout=0.3)
    assert len(problems) == 1
    assert "holds its lock" in problems[0]
    for pid in word.pids():
        os.kill(pid, 9)
    holder.wait()
    holder.stdout.close()
    wait_until(lambda: all(thread.name != "log" for thread in threading.enumerate()))


def test_writing_does_not_import_the_handler_in_the_calling_thread() -> None:
    code = "import sys; from hostbuild.process.log import BuildLog; BuildLog('x'); "
    code += "print([name for name in ('logging', 'concurrent_log_handler', 'psutil') if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"


_WRITER = """
import sys
from hostbuild.process.log import BuildLog
path, name = sys.argv[1:]
problems = []
log = BuildLog(path, build_id=name * 12, max_bytes=20_000, backups=100, on_problem=problems.append)
for number in range(400):
    log.line("INFO", f"{name}{number} " + name * (number % 300), platform=name)
    if number % 50 == 0:
        log.close(timeout=30)
log.close(timeout=30)
sys.exit(str(problems) if problems else 0)
"""


def test_lines_of_five_processes_are_neither_torn_nor_lost_while_they_rotate(tmp_path: Path) -> None:
    path = tmp_path / "hostbuild.log"
    names = "abcde"
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name]) for name in names]
    assert [writer.wait() for writer in writers] == [0] * 5
    files = [tmp_path / name for name in os.listdir(tmp_path) if name.startswith("hostbuild.log")]
    assert len(files) > 5
    seen = []
    for file in files:
        for line in lines_of(file):
            head, _, padding = line["message"].partition(" ")
            name, number = head[0], head[1:]
            assert padding == name * (int(number) % 300)
            assert line["platform"] == name
            assert line["build"] == name * 12
            seen.append((name, int(number)))
    assert sorted(seen) == [(name, number) for name in names for number in range(400)]

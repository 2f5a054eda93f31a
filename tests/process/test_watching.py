"""What another process can tell of a builder and its tools."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostbuild.model import Event
from hostbuild.process.liveness import Identity, Marked, find_marked
from hostbuild.process.log import BuildLog
from hostbuild.process.marks import Marks
from hostbuild.process.watching import Activity, condition_of, read_activity, seconds_of, tools_of
from hostbuild.records import replace

from .helpers import Word, wait_until

BUILD = "abcdef0123456789" * 4


@pytest.fixture
def word() -> Iterator[Word]:
    word = Word()
    yield word
    word.wait_gone()


@pytest.fixture
def start(word: Word, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes with the mark of an owner, which is the test's directory."""
    started: list[subprocess.Popen[bytes]] = []
    environment = {**word.environment(), **Marks(owner=str(tmp_path)).environment()}

    def run(*argv: str, session: bool = True) -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen(argv, env=environment, start_new_session=session, stdout=subprocess.PIPE)
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def mine(tmp_path: Path) -> list[Marked]:
    return find_marked(Marks(owner=str(tmp_path)))


def test_the_condition_of_a_builder(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = start("sleep", "300")
    identity = Identity.of(process.pid)
    assert condition_of(identity.to_json()) == "running"
    os.kill(process.pid, signal.SIGSTOP)
    wait_until(lambda: condition_of(identity.to_json()) == "stopped")
    other = replace(identity, pid_namespace=identity.pid_namespace + 1)
    assert condition_of(other.to_json()) == "other-namespace"
    assert condition_of(replace(other, boot_id="b", host="far").to_json()) == "other-machine"
    assert condition_of(replace(identity, start_ticks=identity.start_ticks - 1).to_json()) == "gone"
    process.kill()
    wait_until(lambda: condition_of(identity.to_json()) == "gone")


@pytest.mark.parametrize("pid", [-1, 0, 1 << 31, 10**40, True, "1", None])
def test_a_record_that_names_no_process(pid: Any) -> None:
    assert condition_of({**Identity.current().to_json(), "pid": pid}) == "unknown"


def test_a_tool_stands_for_what_it_started(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    tool = start("/bin/sh", "-c", "sleep 300 & echo up; wait")
    assert tool.stdout is not None
    tool.stdout.readline()
    assert len(mine(tmp_path)) == 2
    (found,) = tools_of(mine(tmp_path))
    assert (found.name, found.pid, found.owner) == ("sh", tool.pid, str(tmp_path))
    assert found.seconds is not None
    assert 0 <= found.seconds < 3600
    tool.kill()
    tool.wait()
    (orphan,) = tools_of(mine(tmp_path))
    assert orphan.name == "sleep 300"
    os.kill(orphan.pid, signal.SIGKILL)


def test_a_worker_is_a_tool_only_for_those_who_ask(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    start(sys.executable, "-c", "import time; time.sleep(300); 'hostbuild.process.worker'")
    wait_until(lambda: len(mine(tmp_path)) == 1)
    assert tools_of(mine(tmp_path)) == []
    assert [tool.name for tool in tools_of(mine(tmp_path), workers=True)] == ["a worker of hostbuild"]


def test_without_a_start_there_is_no_age() -> None:
    assert seconds_of(replace(Identity.current(), start_ticks=0)) is None


def written(path: Path, *events: Event, build_id: str = BUILD) -> Activity:
    log = BuildLog(path, build_id=build_id)
    for event in events:
        log.write(event)
    log.close()
    return read_activity(str(path), os.getpid(), BUILD)


def test_the_log_tells_what_each_platform_does(tmp_path: Path) -> None:
    path = tmp_path / "hostbuild.log"
    tool = {"pgid": 17, "start_ticks": 99, "argv": ["go", "build"]}
    written(path, Event("start", "building with go", "linux/arm64"), build_id="f" * 64)
    found = written(
        path,
        Event("info", "building app: nothing was built before", data={"step": "build"}),
        Event("start", "building with go", "linux/arm64", {"step": "go", "brief": False}),
        Event("tool", "go build", "linux/arm64", tool),
        Event("start", "writing the layer data", "linux/amd64", {"step": "data"}),
        Event("done", "data layer (cached) written", "linux/amd64", {"step": "data", "size": 1}),
        Event("output", "noise", "linux/amd64"),
    )
    del found.steps["linux/amd64"]
    assert found.steps == {
        "": "building app: nothing was built before",
        "linux/arm64": "building with go",
    }
    assert found.tools == {(17, 99): ("linux/arm64", "go build")}
    assert read_activity(str(path), os.getpid() + 1, BUILD) == Activity({}, {})


def test_a_log_that_is_none_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hostbuild.log"
    nothing = Activity({}, {})
    assert read_activity(str(path), os.getpid(), BUILD) == nothing
    os.mkfifo(path)
    assert read_activity(str(path), os.getpid(), BUILD) == nothing
    path.unlink()
    real = tmp_path / "real"
    written(real, Event("start", "building with go", "linux/arm64"))
    path.symlink_to(real)
    assert read_activity(str(path), os.getpid(), BUILD) == nothing
    path.unlink()
    path.write_bytes(bytes(range(256)) * 100 + b"\n" + b"x " * 100_000)
    assert read_activity(str(path), os.getpid(), BUILD) == nothing


def test_a_log_that_was_just_rotated_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "hostbuild.log"
    written(path, Event("start", "building with go", "linux/arm64"))
    path.rename(tmp_path / "hostbuild.log.1")
    found = written(path, Event("start", "building with go", "linux/amd64"))
    assert list(found.steps) == ["linux/arm64", "linux/amd64"]


def test_of_a_large_log_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "hostbuild.log"
    with path.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    log = f"2026-01-01T00:00:00 {os.getpid()} {BUILD[:12]} linux/amd64 INFO start: compiling (step=go)\n"
    with path.open("a") as file:
        file.write(log)
    assert read_activity(str(path), os.getpid(), BUILD).steps == {"linux/amd64": "compiling"}

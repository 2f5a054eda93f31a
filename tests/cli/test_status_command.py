from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostbuild.cli.arguments import parse
from hostbuild.cli.status_command import run_status
from hostbuild.errors import SourceError, StoreError, UsageError
from hostbuild.process.liveness import Identity
from hostbuild.process.marks import Marks
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from tests.cli.marked import judge_only_below
from tests.rig.processes import wait_until
from tests.store.helpers import FaultyOs, build_id, kill, make_build, start, tree

#: A builder that lives until it is killed: root, build ID, identity as JSON.
BUILDER = """
import json, sys
from hostbuild.housekeeping import builder_record
from hostbuild.store.builds import BuildDir
identity = {**builder_record("/source", ["linux/arm64", "linux/s390x"]), **json.loads(sys.argv[3])}
with BuildDir(sys.argv[1]).begin(sys.argv[2], identity) as staging:
    print(staging.path, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def _only_mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge_only_below(tmp_path, monkeypatch)
    monkeypatch.delenv("HOSTBUILD_BUILD_DIR", raising=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "tree/source"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def builds(source: Path) -> BuildDir:
    return BuildDir(source / ".func")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


class Builders:
    """Processes that make a build in one directory; ended at the end of the test."""

    def __init__(self, builds: BuildDir) -> None:
        self._builds = builds
        self.started: list[subprocess.Popen[str]] = []

    def __call__(self, number: int, **identity: Any) -> tuple[subprocess.Popen[str], str]:
        """One more, and its staging directory; `identity` replaces what it says of itself."""
        process = start(BUILDER, self._builds.places.root, build_id(number), json.dumps(identity))
        self.started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()


@pytest.fixture
def builder(builds: BuildDir) -> Iterator[Builders]:
    builders = Builders(builds)
    yield builders
    for process in builders.started:
        kill(process)


def status(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert run_status(parse(["status", *map(str, words)])) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Any:
    return json.loads(status(capsys, *words, "--json"))


def test_where_nothing_was_built_nothing_is_made(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(capsys, source) == "no builds\n"
    assert status(capsys, "--under", source) == "no build directories\n"
    nothing: dict[str, Any] = {"builds": [], "orphans": [], "skipped": []}
    assert document(capsys, source) == {**nothing, "directories": [str(source / ".func")]}
    assert document(capsys, "--under", source) == {**nothing, "directories": []}
    assert tree(source) == []


def test_each_state_is_told(
    source: Path, builds: BuildDir, builder: Builders, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        make_build(builds, cache, number)
    os.unlink(os.path.join(builds.places.build(build_id(1)), "oci/index.json"))
    alive, _ = builder(3)
    dead, _ = builder(4)
    kill(dead)
    before = tree(source)
    lines = status(capsys, source).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["running", build_id(3)[:12]],
        ["stale", build_id(4)[:12]],
        ["complete", build_id(2)[:12]],
        ["damaged", build_id(1)[:12]],
    ]
    assert f"pid {alive.pid} on {os.uname().nodename}, for " in lines[0]
    assert f"pid {dead.pid} on {os.uname().nodename}, its builder ended" in lines[1]
    assert lines[2].endswith("(last)")
    assert "index.json" in lines[3]
    found = document(capsys, source)
    assert [each["state"] for each in found["builds"]] == ["running", "stale", "complete", "damaged"]
    running, stale = found["builds"][:2]
    assert running["builder"]["pid"] == alive.pid
    assert running["builder"]["platforms"] == ["linux/arm64", "linux/s390x"]
    assert (running["condition"], stale["condition"]) == ("running", "gone")
    assert running["seconds"] >= 0
    assert running["user"] == ""
    assert tree(source) == before


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ({"pid_namespace": 7}, "in another pid namespace (a container)"),
        ({"boot_id": "b", "host": "far"}, "on far, for 0 s, on another machine"),
        ({"start_ticks": 1}, "that process has ended, another one holds its lock"),
        ({"pid": -1}, "pid unknown on"),
        ({"pid": 10**30}, "its record names no process"),
        ({"host": "a\x1b[31m\nb"}, "on 'a\\x1b[31m\\nb'"),
    ],
)
def test_where_a_builder_runs_is_said_in_plain_words(
    source: Path,
    builder: Builders,
    identity: dict[str, Any],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    builder(1, **identity)
    monkeypatch.setattr("hostbuild.cli.status_command.duration", lambda _: "0 s")
    (line,) = status(capsys, source).splitlines()
    assert words in line
    assert line.isprintable()


def test_of_one_elsewhere_nobody_knows_whether_it_lives(
    source: Path, builder: Builders, capsys: pytest.CaptureFixture[str]
) -> None:
    process, _ = builder(1, boot_id="b", host="far")
    kill(process)
    assert "on far, made on another machine: whether it still runs cannot be told" in status(capsys, source)


def test_a_stopped_builder_and_another_users_are_told(
    source: Path, builder: Builders, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, _ = builder(1)
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: "stopped (by a signal" in status(capsys, source), 30, "it is stopped")
    monkeypatch.setattr("hostbuild.cli.status_command.os", FaultyOs(geteuid=lambda: os.geteuid() + 1))
    assert ", user " in status(capsys, source)


def test_what_a_running_build_does_now_comes_from_its_log_and_its_tools(
    source: Path, builds: BuildDir, builder: Builders, capsys: pytest.CaptureFixture[str]
) -> None:
    process, staging = builder(1)
    environment = {**os.environ, **Marks(owner=staging).environment()}
    with subprocess.Popen(["sleep", "20"], env=environment, start_new_session=True) as tool:
        ticks = Identity.of(tool.pid).start_ticks
        prefix = f"2026-01-01T00:00:00 {process.pid} {build_id(1)[:12]}"
        Path(builds.log).write_text(
            f"{prefix} linux/arm64 INFO start: building with \x1b[31mgo (step=go)\n"
            f"{prefix} linux/arm64 DEBUG tool: go build (pgid={tool.pid} start_ticks={ticks} argv=[])\n"
        )
        lines = status(capsys, source).splitlines()[1:]
        (told,) = document(capsys, source)["builds"]
        kill(process)
        orphan = status(capsys, source).splitlines()[-1]
        tool.kill()
    assert lines[0].startswith(
        f"          linux/arm64: 'building with \\x1b[31mgo'; go build (pid {tool.pid}, "
    )
    assert lines[1:] == ["          linux/s390x: not begun"]
    (known,) = told["doing"][0]["tools"]
    assert (known["command"], known["pid"]) == ("go build", tool.pid)
    assert [each["platform"] for each in told["doing"]] == ["linux/arm64", "linux/s390x"]
    assert orphan.startswith(f"orphan    sleep 20 (pid {tool.pid}, ")
    assert orphan.endswith(f"left by a killed build in {staging}")


def test_all_directories_below_a_tree(
    source: Path, builds: BuildDir, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    make_build(builds, cache, 1)
    other = BuildDir(source.parent / "z\n")
    make_build(other, cache, 2)
    bad = BuildDir(source.parent / "bad/.func")
    make_build(bad, cache, 3)
    os.rmdir(bad.places.trash)
    os.symlink("/", bad.places.trash)
    lines = status(capsys, "--under", source.parent).splitlines()
    assert lines[0] == f"{builds.places.root}:"
    assert lines[1].startswith("  complete ")
    assert lines[2] == f"{other.places.root!r}:"
    assert "symbolic link" in lines[4]
    assert lines[4].startswith(f"skipped {bad.places.root}: ")
    found = document(capsys, "--under", source.parent)
    assert found["directories"] == [builds.places.root, other.places.root]
    assert [each["directory"] for each in found["builds"]] == found["directories"]
    with pytest.raises(StoreError):
        status(capsys, source.parent / "bad")


@pytest.mark.parametrize("words", [["--under", ".", "."], ["--under", ".", "--build-dir", "x"]])
@pytest.mark.parametrize("command", ["status", "clean"])
def test_what_excludes_each_other(command: str, words: list[str]) -> None:
    from hostbuild.cli.clean_command import run_clean

    with pytest.raises(UsageError, match="exclude each other"):
        (run_status if command == "status" else run_clean)(parse([command, *words]))


def test_a_tree_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match="no directory 'nowhere'"):
        status(capsys, "--under", "nowhere")


def test_a_named_link_is_followed_and_a_planted_one_is_not(
    source: Path, cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_build(BuildDir(tmp_path / "real"), cache, 1)
    (tmp_path / "link").symlink_to("real")
    assert "complete" in status(capsys, source, "--build-dir", tmp_path / "link")
    (source / ".func").symlink_to(tmp_path / "real")
    with pytest.raises(StoreError, match="symbolic link"):
        status(capsys, source)


@pytest.mark.parametrize("after", range(0, 24, 2))
def test_what_vanishes_while_it_is_looked_at(
    source: Path,
    builds: BuildDir,
    builder: Builders,
    cache: Cache,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    """Whatever goes between two looks, status gives an answer."""
    make_build(builds, cache, 1)
    _, staging = builder(2)
    looks: list[str] = []

    def lstat(path: str) -> os.stat_result:
        looks.append(path)
        if len(looks) == after + 1:
            for number, each in enumerate((builds.places.build(build_id(1)), staging)):
                os.rename(each, source / f"aside{number}")
        return os.lstat(path)

    for module in ("states", "trees", "record", "places"):
        monkeypatch.setattr(f"hostbuild.store.{module}.os", FaultyOs(lstat=lstat))
    assert document(capsys, source)["skipped"] == []
    assert len(looks) > after

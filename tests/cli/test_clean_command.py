from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hostbuild.cli.arguments import parse
from hostbuild.cli.clean_command import run_clean
from hostbuild.cli.status_command import run_status
from hostbuild.errors import SettingsError, UsageError
from hostbuild.process.marks import Marks
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from tests.cli.marked import judge_only_below
from tests.rig.builder import Hostbuild, make_source
from tests.rig.sources import HELLO
from tests.store.helpers import BEGIN, FaultyOs, build_id, finish, kill, make_build, make_old, start, tree

#: Makes builds, and reads each while it is pinned: root, cache, number.
BUILDER = """
import os, sys, time
from hostbuild.housekeeping import builder_record
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from tests.store.helpers import build_id, fill
builds, cache = BuildDir(sys.argv[1]), Cache(sys.argv[2])
for number in range(8):
    mine = build_id(int(sys.argv[3]) * 16 + number)
    with builds.begin(mine, builder_record("/source"), wait=None) as staging:
        fill(staging, cache, mine)
        staging.publish()
        staging.set_last()
        pin = builds.pin(mine)
    with pin:
        for _ in range(10):
            assert builds.find(mine), "a pinned build was lost"
            time.sleep(0.002)
"""

#: A builder that is killed at any moment; its record is a real one, to be judged by.
VICTIM = BEGIN.replace(
    '{"pid": os.getpid(), "host": "here", "command": "other"}', "builder_record('/source')"
)
VICTIM = f"from hostbuild.housekeeping import builder_record\n{VICTIM}"


@pytest.fixture(autouse=True)
def _only_mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge_only_below(tmp_path, monkeypatch)
    monkeypatch.delenv("HOSTBUILD_BUILD_DIR", raising=False)
    monkeypatch.setenv("HOSTBUILD_CACHE_DIR", str(tmp_path / "cache"))


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


def clean(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> str:
    assert run_clean(parse(["clean", *map(str, words)])) == code
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Any:
    return json.loads(clean(capsys, *words, "--json"))


def test_each_line_says_what_why_and_how_much(
    source: Path, builds: BuildDir, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 3):
        make_build(builds, cache, number)
    make_old(builds, 1, 2)
    first, second, third = (builds.places.build(build_id(number)) for number in (1, 2, 3))
    before = tree(source)
    lines = clean(capsys, source, "--older-than", "2h", "--keep", "1", "--dry-run").splitlines()
    assert tree(source) == before
    assert [line.partition(" (")[0] for line in lines[:2]] == [
        f"would remove {each}" for each in (second, first)
    ]
    assert lines[0].endswith("B): not used for 3 h")
    assert lines[2].endswith("B would come free")
    told = document(capsys, source, "--older-than", "2h", "--dry-run")
    assert [each["path"] for each in told["removed"]] == [second, first]
    assert told["size"] == sum(each["size"] for each in told["removed"]) > 0
    done = document(capsys, source, "--older-than", "2h")
    assert (done["dryRun"], done["removed"], done["size"]) == (False, told["removed"], told["size"])
    assert clean(capsys, source) == "nothing to remove\n"
    assert clean(capsys, source, "--all") == f"left {third}: used a moment ago\n"
    make_old(builds, 3)
    assert f"removed {builds.last} (0 B): the build that it named goes" in clean(capsys, source, "--all")
    assert os.listdir(builds.places.by_hash) == []
    assert clean(capsys, source, "--all", "-q") == ""


@pytest.mark.parametrize(
    "words", [["--keep", "-1"], ["--all", "--keep", "3"], ["--older-than", "7"], ["--older-than=-7d"]]
)
def test_wrong_rules(source: Path, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        run_clean(parse(["clean", str(source), *words]))
    assert words[0].partition("=")[0] in caught.value.what
    assert isinstance(caught.value, SettingsError) == words[0].startswith("--older-than")


def test_where_nothing_was_built_nothing_is_made(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert clean(capsys, source, "--all") == "nothing to remove\n"
    assert clean(capsys, "--under", source, "--all") == "nothing to remove\n"
    assert tree(source) == []


def test_a_tool_of_a_killed_build_is_ended_and_a_name_is_quoted(
    source: Path, builds: BuildDir, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = start(BEGIN, builds.places.root, cache.root, build_id(1), "hold")
    assert builder.stdout is not None
    assert builder.stdout.readline() == "begun\n"
    (staging,) = builds.places.staged()
    environment = {**os.environ, **Marks(owner=staging).environment()}
    with subprocess.Popen(["sleep", "20"], env=environment) as tool:
        said = clean(capsys, source)
        assert said.startswith(f"left {staging}")
        assert said.endswith("is making it\n")
        kill(builder)
        os.symlink("../staging/gone", os.path.join(builds.places.by_pid, "7\n\x1b[31m"))
        lines = clean(capsys, source, "--dry-run").splitlines()
        assert lines[0] == f"would end sleep (pid {tool.pid}): a killed build had left it"
        assert tool.poll() is None
        lines = clean(capsys, source).splitlines()
        assert lines[0] == f"ended sleep (pid {tool.pid}): a killed build had left it"
        assert tool.wait() == -15
    assert all(line.isprintable() for line in lines)
    assert any("7\\n\\x1b[31m" in line for line in lines)


def test_all_directories_below_a_tree_and_none_of_others(
    source: Path,
    builds: BuildDir,
    cache: Cache,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = BuildDir(source.parent / "other/.func")
    for each in (builds, other):
        make_build(each, cache, 1)
        make_old(each, 1)
    monkeypatch.setattr(
        "hostbuild.store.finding.os",
        FaultyOs(geteuid=lambda: -1),
    )
    out = clean(capsys, "--under", source.parent, "--all")
    assert out.count("belongs to another user") == 2
    assert other.last_build() == builds.last_build() == build_id(1)
    monkeypatch.setattr("hostbuild.store.finding.os", os)
    bad = BuildDir(source.parent / "bad/.func")
    make_build(bad, cache, 1)
    os.rmdir(bad.places.trash)
    os.symlink(other.places.by_hash, bad.places.trash)
    lines = clean(capsys, "--under", source.parent, "--all", code=1).splitlines()
    assert f"{builds.places.root}:" in lines
    assert f"{other.places.root}:" in lines
    assert any(line.startswith(f"failed {bad.places.root}: will not use") for line in lines)
    assert other.last_build() is builds.last_build() is None
    assert bad.last_build() == build_id(1)


def test_beside_builders_that_start_end_and_die(
    source: Path,
    builds: BuildDir,
    cache: Cache,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the minute of grace: only locks and pins keep a build."""
    monkeypatch.setattr("hostbuild.store.sweeping.YOUNG", -1.0)
    builds.prepare()
    builders = [start(BUILDER, builds.places.root, cache.root, str(each)) for each in (1, 2)]
    killed = 0
    seen: set[str] = set()
    while any(process.poll() is None for process in builders):
        victim = (
            start(VICTIM, builds.places.root, cache.root, build_id(killed), "hold") if killed < 4 else None
        )
        clean(capsys, source, "--all")
        assert run_status(parse(["status", str(source), "--json"])) == 0
        seen |= {each["state"] for each in json.loads(capsys.readouterr().out)["builds"]}
        clean(capsys, "--under", source.parent, "--all", "--json")
        if victim is not None:
            killed += 1
            kill(victim)
        time.sleep(0.001)
    for process in builders:
        finish(process)
    assert "damaged" not in seen
    clean(capsys, source, "--all")
    for place in (builds.places.staging, builds.places.trash, builds.places.by_pid, builds.places.by_hash):
        assert os.listdir(place) == []
    assert not os.path.lexists(builds.last)


def test_a_build_with_nothing_to_do_cleans_after_a_dead_one(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "hello", HELLO)
    words = ("build", root, "-t", "registry.example/app:v1", "--platform", "linux/amd64")
    first = hostbuild(*words).reference
    builds = BuildDir(root / ".func")
    builder = start(VICTIM, builds.places.root, hostbuild.cache, build_id(1), "hold")
    assert builder.stdout is not None
    assert builder.stdout.readline() == "begun\n"
    assert hostbuild(*words).reference == first
    assert len(builds.places.staged()) == 1
    kill(builder)
    assert hostbuild(*words).reference == first
    assert builds.places.staged() == []
    assert builds.last_build()

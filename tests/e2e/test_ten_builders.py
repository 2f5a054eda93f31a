"""Ten builders at once: of one source and of ten, waiting or not, with cleaning and pruning beside them."""

from __future__ import annotations

import json
import random
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.rig.builder import Hostbuild, Result, make_source
from tests.rig.go_wrapper import GoWrapper
from tests.rig.layout import read_layout
from tests.rig.sources import HELLO
from tests.torture.home import Home, Source

TEN = 10
NAME = ("-t", "registry.example/app:v1")
ONE = (*NAME, "--platform", "linux/amd64")
SHARED = random.Random("shared").randbytes(300_000)


class Told(NamedTuple):
    """A builder that has ended, and the events that it told."""

    pid: int
    result: Result
    events: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]

    @property
    def digest(self) -> str:
        return self.result.digest


def finish(process: subprocess.Popen[str]) -> Told:
    """Wait for a builder that tells rawjson."""
    stdout, stderr = process.communicate(timeout=300)
    events = [json.loads(line) for line in stderr.splitlines()]
    return Told(process.pid, Result(process.returncode, stdout, stderr), events)


def made(builders: list[Told]) -> Counter[str]:
    """How often each step was made, and not found in the cache."""
    return Counter(
        event["data"]["step"] for each in builders for event in each.of("done") if event["data"].get("made")
    )


def waits_name_others(builders: list[Told]) -> int:
    """Each line of waiting names one of the others, and for what; how many there were."""
    pids = {each.pid for each in builders}
    waits = [(each.pid, event) for each in builders for event in each.of("waiting")]
    for pid, event in waits:
        assert event["data"]["pid"] in pids - {pid}, event
        whom = rf"waiting for process {event['data']['pid']}( \(building .*\))?, which \w+"
        assert re.match(whom, event["message"]), event
    return len(waits)


def leftovers(root: Path) -> list[str]:
    builds = root / ".func/builds"
    return [str(path) for place in ("staging", "by-pid", "trash") for path in (builds / place).iterdir()]


def ten_programs(folder: Path) -> list[Path]:
    """Ten sources with the same data and two different programs."""
    return [
        make_source(
            folder / f"src-{number}",
            {
                **HELLO,
                "main.go": HELLO["main.go"].replace("hello", f"program {number % 2}"),
                "kodata/data.bin": SHARED,
            },
        )
        for number in range(TEN)
    ]


@contextmanager
def in_a_loop(hostbuild: Hostbuild, *commands: tuple[str | Path, ...]) -> Iterator[list[Result]]:
    """Run each of the commands over and over while the block runs; gives all of their results."""
    over = threading.Event()
    results: list[Result] = []

    def run(command: tuple[str | Path, ...]) -> None:
        while not over.is_set():
            results.append(hostbuild(*command))

    threads = [threading.Thread(target=run, args=(command,)) for command in commands]
    for thread in threads:
        thread.start()
    try:
        yield results
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_ten_of_one_source(hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path) -> None:
    """Nobody but the first works; each of the others names it."""
    root = make_source(tmp_path / "src", HELLO)
    go_wrapper.pause()
    first = hostbuild.start("build", root, *ONE, "--progress", "rawjson", env=go_wrapper.env)
    try:
        go_wrapper.wait_until_paused()
        others = [hostbuild.start("build", root, *ONE, env=go_wrapper.env) for _ in range(TEN - 1)]
        for other in others:
            stdout, stderr = other.communicate(timeout=300)
            Result(other.returncode, stdout, stderr).fails(
                75, f"process {first.pid} is making this build already", "--wait"
            )
    finally:
        go_wrapper.release()
        told = finish(first)
    assert told.digest == read_layout(root / ".func/builds/last/oci").digest
    assert told.of("waiting") == []
    assert len(go_wrapper.builds()) == 1
    assert leftovers(root) == []


def test_ten_of_one_source_that_wait(hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", HELLO)
    go_wrapper.pause()
    arguments = ("build", root, *ONE, "--progress", "rawjson")
    first = hostbuild.start(*arguments, env=go_wrapper.env)
    go_wrapper.wait_until_paused()
    others = [hostbuild.start(*arguments, "--wait", env=go_wrapper.env) for _ in range(TEN - 1)]
    heads = []
    for other in others:
        assert other.stderr is not None
        heads.append(json.loads(other.stderr.readline()))  # before the first one is let go
    go_wrapper.release()
    builders = [finish(process) for process in (first, *others)]
    for head in heads:
        assert (head["kind"], head["data"]["pid"]) == ("waiting", first.pid)
        assert f"waiting for process {first.pid}, which makes this build" in head["message"]
    assert len({each.result.reference for each in builders}) == 1
    assert made(builders) == {"data": 1, "certificates": 1, "go": 1}
    assert len(go_wrapper.builds()) == 1
    assert [each.of("result")[0]["data"]["hostbuild.status"] for each in builders] == [
        "built",
        *["up-to-date"] * (TEN - 1),
    ]
    assert leftovers(root) == []


def test_ten_sources_make_each_shared_blob_once(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path
) -> None:
    roots = ten_programs(tmp_path)
    go_wrapper.pause()
    arguments = [("build", root, *ONE, "--progress", "rawjson") for root in roots]
    processes = [hostbuild.start(*arguments[0], env=go_wrapper.env)]
    go_wrapper.wait_until_paused()  # it holds what half of the others need
    processes += [hostbuild.start(*each, env=go_wrapper.env) for each in arguments[1:]]
    heads: list[dict[str, Any]] = []
    assert processes[2].stderr is not None
    while not heads or heads[-1]["kind"] != "waiting":
        heads.append(json.loads(processes[2].stderr.readline()))
    go_wrapper.release()
    builders = [finish(process) for process in processes]
    assert heads[-1]["data"]["pid"] in {process.pid for process in processes} - {processes[2].pid}
    assert made(builders) == {"data": 1, "certificates": 1, "go": 2}
    assert len(go_wrapper.builds()) == 2
    assert [each.digest for each in builders] == [each.digest for each in builders[:2]] * (TEN // 2)
    waits_name_others(builders)
    for root, each in zip(roots, builders, strict=True):
        assert read_layout(root / ".func/builds/last/oci").digest == each.digest
        assert leftovers(root) == []


def applications(tmp_path: Path) -> tuple[Home, list[Source]]:
    """Ten Python applications, half of them alike, that share a base and wheels in a directory."""
    home = Home(tmp_path / "home", TEN, random.Random(0), kinds=("application", "second application"))
    home.make()
    return home, home.sources


def test_ten_applications_fetch_each_wheel_once(tmp_path: Path) -> None:
    home, sources = applications(tmp_path)
    for source in sources:
        (source.root / "app.py").write_text("import alpha\n")
    hostbuild = Hostbuild(home.path, {"UV_CACHE_DIR": str(home.path / "uv")})
    builders = [
        finish(process)
        for process in [
            hostbuild.start(*home.argv(source, "linux/amd64", "--progress", "rawjson")) for source in sources
        ]
    ]
    assert [each.result.code for each in builders] == [0] * TEN, [each.result.stderr for each in builders]
    steps = Counter(made(builders))
    assert steps["dependencies"] == 2  # alpha with beta, and gamma with them
    assert steps["data"] == 2
    news = [event for each in builders for event in each.of("info")]
    fetched = sum(event["data"]["count"] for event in news if event["data"].get("step") == "wheels")
    assert fetched == 3
    assert len([event for event in news if event["data"].get("step") == "base"]) == 1
    waits_name_others(builders)
    assert len({each.digest for each in builders}) == 2
    for source in sources:
        assert leftovers(source.root) == []


def test_cleaning_and_pruning_beside_ten_that_wait(hostbuild: Hostbuild, tmp_path: Path) -> None:
    """What is pruned is made anew, and what is needed is never pruned: everybody gets a whole image."""
    roots = ten_programs(tmp_path)[: TEN // 2]
    hostbuild("build", roots[0], *ONE)
    loops: list[tuple[str | Path, ...]] = [
        ("cache", "prune", "--all"),
        *(("clean", root, "--keep", "1") for root in roots[:2]),
    ]
    with in_a_loop(hostbuild, *loops) as results:
        builders = [
            finish(process)
            for process in [
                hostbuild.start("build", root, *ONE, "--wait", "--no-cache", "--progress", "rawjson")
                for root in (*roots, *roots)
            ]
        ]
        builders.append(finish(hostbuild.start("build", roots[0], *ONE, "--wait", "--progress", "rawjson")))
    assert [each.result.code for each in builders] == [0] * (TEN + 1), [
        each.result.stderr for each in builders
    ]
    assert len({each.digest for each in builders}) == 2
    waits_name_others(builders)
    assert len(results) > 3
    assert [result for result in results if result.code] == []
    for root, each in zip(roots, builders, strict=False):
        assert read_layout(root / ".func/builds/last/oci").digest == each.digest
        assert leftovers(root) == []
    assert list((hostbuild.cache / "tmp").iterdir()) == []


def test_cleaning_and_pruning_beside_ten_that_do_not_wait(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path
) -> None:
    """A clean or a prune is no builder: nobody is told to try later because of one."""
    roots = ten_programs(tmp_path)
    with in_a_loop(
        hostbuild, ("cache", "prune", "--all"), ("clean", roots[0]), ("status", roots[0], "--json")
    ) as results:
        builders = [
            finish(process)
            for process in [
                hostbuild.start("build", root, *ONE, "--progress", "rawjson", env=go_wrapper.env)
                for root in roots
            ]
        ]
    assert [each.result.code for each in builders] == [0] * TEN, [each.result.stderr for each in builders]
    assert [result for result in results if result.code] == []
    assert [each.digest for each in builders] == [each.digest for each in builders[:2]] * (TEN // 2)
    waits_name_others(builders)

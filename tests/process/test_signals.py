"""Signals to the parent, to the whole group, to a worker: nobody may be left, whatever dies first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hostbuild.process.liveness import end_orphans, find_orphans

from .helpers import WORKER, Word, held_owner, wait_until

_DRIVER = str(Path(__file__).parent / "driver.py")


class Driver:
    """A started driver program, in a process group of its own."""

    def __init__(self, word: Word, mode: str, script: str, owner: str = "") -> None:
        self.word = word
        self.process = subprocess.Popen(
            [sys.executable, _DRIVER, mode, script, owner],
            env=word.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.pid = self.process.pid
        if script != "quick":
            assert self.process.stdout is not None
            for _ in range(2):
                assert self.process.stdout.readline() == "tool is up\n", self.process.communicate()

    def workers(self) -> list[int]:
        return self.word.pids(WORKER)

    def outcome(self) -> str:
        """What it printed last; it has ended then."""
        output, errors = self.process.communicate(timeout=30)
        assert errors == ""
        return str(output).rstrip("\n").rpartition("outcome ")[2]


@pytest.fixture
def word() -> Iterator[Word]:
    word = Word()
    yield word
    word.wait_gone()


def test_an_unguarded_script_can_call_the_library(word: Word) -> None:
    assert Driver(word, "plain", "quick").outcome() == "['tool is up\\n', 'tool is up\\n']"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("to_group", [True, False])
def test_a_signal_that_is_handled_leaves_nobody(word: Word, number: signal.Signals, to_group: bool) -> None:
    driver = Driver(word, "handlers", "polite")
    (os.killpg if to_group else os.kill)(driver.pid, number)
    assert driver.outcome() == f"Interrupted {number:d}"
    assert word.carriers() == []


def test_ctrl_c_twice_ends_also_what_is_stubborn(word: Word) -> None:
    driver = Driver(word, "plain", "stubborn")
    os.killpg(driver.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        driver.process.wait(0.5)
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.outcome().startswith("KeyboardInterrupt")
    assert word.carriers() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT])
def test_the_death_of_the_parent_ends_workers_and_tools(word: Word, number: signal.Signals) -> None:
    driver = Driver(word, "plain", "polite")
    os.kill(driver.pid, number)
    driver.process.communicate()
    word.wait_gone()


def test_the_death_of_the_parent_ends_what_is_stubborn(word: Word) -> None:
    driver = Driver(word, "plain", "stubborn")
    driver.process.kill()
    driver.process.communicate()
    # All but what left its tool's session: nobody is there any more who would look for the mark.
    wait_until(lambda: all("sleep 301" in line for line in word.carriers()))
    _kill_all(word)


def test_a_parent_whose_pipes_are_held_by_its_child_is_missed_all_the_same(
    word: Word, tmp_path: Path
) -> None:
    script = tmp_path / "forking.py"
    script.write_text(
        "import os, sys, time\n"
        "from hostbuild.process.supervisor import LocalExecutor\n"
        "executor = LocalExecutor(jobs=1, environment=dict(os.environ))\n"
        "executor.start(1)\n"
        "if os.fork() == 0:\n"
        "    print('up', flush=True)\n"
        "    time.sleep(1000)\n"
        "time.sleep(1000)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], env=word.environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    wait_until(lambda: len(word.pids(WORKER)) == 1)
    process.kill()
    process.wait()
    wait_until(lambda: not word.pids(WORKER))
    _kill_all(word)
    process.stdout.close()


@pytest.mark.parametrize("mode", ["plain", "subreaper"])
def test_a_killed_worker_leaves_nobody(word: Word, mode: str) -> None:
    driver = Driver(word, mode, "polite")
    os.kill(driver.workers()[0], signal.SIGKILL)
    assert driver.outcome().startswith("WorkerDiedError the worker for linux/")
    assert word.carriers() == []


def test_all_workers_killed_at_once(word: Word) -> None:
    driver = Driver(word, "plain", "polite")
    workers = driver.workers()
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    assert driver.outcome().startswith("WorkerDiedError")
    assert word.carriers() == []


def test_what_outlives_a_kill_of_the_whole_group_is_found_by_its_mark(word: Word, tmp_path: Path) -> None:
    asked: list[str] = []

    def is_free(owner: str) -> bool:
        asked.append(owner)
        return owner == str(tmp_path)

    with held_owner(tmp_path) as owner:
        driver = Driver(word, "plain", "stubborn", owner)
        # The lock may be gone with its directory, but the builder lives.
        assert find_orphans(is_free) == []
        os.killpg(driver.pid, signal.SIGSTOP)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.process.communicate()
        assert word.carriers() != []
        asked.clear()
        orphans = {orphan.identity.pid for orphan in find_orphans(is_free)}
        assert orphans == set(word.pids())
        assert len(asked) == len(set(asked))
        ended = end_orphans(is_free, grace=0.1)
        assert {orphan.identity.pid for orphan in ended} == orphans
        assert word.carriers() == []


def _kill_all(word: Word) -> None:
    for pid in word.pids():
        os.kill(pid, signal.SIGKILL)


#: How a run ends: what is hit, whom it hits, and how the parent takes signals.
ENDS = {
    "INT to the group": (signal.SIGINT, "group", "plain"),
    "INT to the parent": (signal.SIGINT, "parent", "handlers"),
    "TERM to the parent": (signal.SIGTERM, "parent", "handlers"),
    "HUP to the parent": (signal.SIGHUP, "parent", "handlers"),
    "KILL to the parent": (signal.SIGKILL, "parent", "plain"),
    "QUIT to the parent": (signal.SIGQUIT, "parent", "plain"),
    "KILL to a worker": (signal.SIGKILL, "worker", "plain"),
    "SEGV in a worker": (signal.SIGSEGV, "worker", "subreaper"),
    "a worker that is stopped, then INT": (signal.SIGSTOP, "worker", "plain"),
    "TERM to a worker": (signal.SIGTERM, "worker", "plain"),
}


def end_one(way: str) -> list[str]:
    """One run of two workers, each with a tool that forks and ignores what asks; who is left of it."""
    number, whom, mode = ENDS[way]
    word = Word()
    driver = Driver(word, mode, "forking")
    if whom == "group":
        os.killpg(driver.pid, number)
    elif whom == "parent":
        os.kill(driver.pid, number)
    else:
        os.kill(driver.workers()[0], number)
        if number == signal.SIGSTOP:
            os.kill(driver.pid, signal.SIGINT)
    driver.process.communicate(timeout=60)
    word.wait_gone()
    return word.carriers()


def test_thirty_runs_leave_nobody() -> None:
    """Grandchildren that ignore TERM, ten ways to end, three times each; several runs at once."""
    ways = [way for way in ENDS for _ in range(3)]
    with ThreadPoolExecutor(10) as pool:
        left = list(pool.map(end_one, ways))
    assert dict(zip(ways, left, strict=True)) == {way: [] for way in ENDS}

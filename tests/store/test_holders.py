from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from hostbuild.store.cache import Cache
from hostbuild.store.holders import Holder, Wait, describe_wait, remove_holder, write_holder
from hostbuild.store.locks import hold, holder_pid, stripe

from .helpers import kill, start, wait_for_line

KEY = "ab" * 32

PRODUCE = """
import sys
from hostbuild.store.cache import Cache
from hostbuild.store.holders import Holder

def make():
    print("making", flush=True)
    sys.stdin.readline()
    return {"layers": []}

cache = Cache(sys.argv[1], holder=Holder(int(sys.argv[2]), "/src/api"))
cache.produce(sys.argv[3], make, what="writes the layer data")
print("made", flush=True)
"""


def waits(cache: Cache, what: str = "writes the layer data") -> list[Wait]:
    told: list[Wait] = []
    cache.produce(KEY, lambda: {"layers": []}, what=what, on_wait=told.append)
    return told


def test_a_waiter_is_told_the_builder_its_source_and_what_it_does(cache: Cache) -> None:
    parent = os.getppid()
    process = start(PRODUCE, cache.root, str(parent), KEY)
    wait_for_line(process, "making")
    lock = os.path.join(cache.root, "locks", stripe(KEY))
    assert describe_wait(lock, "makes something", 0.0) == Wait(
        parent, f"waiting for process {parent} (building /src/api), which writes the layer data"
    )
    process.communicate("\n")
    assert waits(cache) == []
    assert not any(name.endswith(".holder") for name in os.listdir(os.path.dirname(lock)))


def test_one_that_is_stopped_is_said_to_be(cache: Cache) -> None:
    process = start(PRODUCE, cache.root, "0", KEY)
    wait_for_line(process, "making")
    lock = os.path.join(cache.root, "locks", stripe(KEY))
    write_holder(lock, Holder(process.pid), "writes the layer data")
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    wait = describe_wait(lock, "makes something", 0.0)
    kill(process)
    assert wait is not None
    assert wait.text == f"waiting for process {process.pid}, which is stopped and writes the layer data"


def test_what_a_killed_holder_left_names_nobody(cache: Cache) -> None:
    process = start(PRODUCE, cache.root, "0", KEY)
    wait_for_line(process, "making")
    lock = os.path.join(cache.root, "locks", stripe(KEY))
    write_holder(lock, Holder(process.pid, "/src/old"), "writes the layer data")
    kill(process)
    with hold(lock):
        assert describe_wait(lock, "bakes", 0.0) is None
        assert describe_wait(lock, "bakes", 1.0) == Wait(
            os.getpid(), f"waiting for process {os.getpid()}, which bakes"
        )
    assert holder_pid(lock) == 0
    assert waits(cache) == []


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"pid": true}',
        b'{"pid": -1}',
        b'{"pid": 1e30}',
        json.dumps({"pid": 1 << 70}).encode(),
        b"[" * 100_000,
        b"\xff" * 5000,
    ],
)
def test_a_record_that_is_none_is_passed_over(tmp_path: Path, record: bytes) -> None:
    lock = str(tmp_path / "abc.lock")
    (tmp_path / "abc.holder").write_bytes(record)
    assert describe_wait(lock, "bakes", 0.0) is None
    assert describe_wait(lock, "bakes", 1.0) == Wait(0, "waiting for another process, which bakes")


def test_names_of_neighbours_do_not_reach_the_terminal_as_they_are(tmp_path: Path) -> None:
    lock = str(tmp_path / "abc.lock")
    write_holder(lock, Holder(os.getpid(), "/src/\x1b[2J\nx"), "bakes\r")
    wait = describe_wait(lock, "bakes", 0.0)
    assert wait is not None
    assert wait.text.isprintable()


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    lock = str(tmp_path / "abc.lock")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "abc.holder").symlink_to(victim)
    write_holder(lock, Holder(os.getpid()), "bakes")
    assert victim.read_text() == "precious"
    assert describe_wait(lock, "bakes", 0.0) is None
    remove_holder(lock)
    assert victim.exists()


def test_a_record_that_cannot_be_written_does_not_fail_the_work(tmp_path: Path) -> None:
    lock = str(tmp_path / "abc.lock")
    (tmp_path / "abc.holder").mkdir()
    write_holder(lock, Holder(os.getpid()), "bakes")
    remove_holder(lock)
    assert (tmp_path / "abc.holder").is_dir()

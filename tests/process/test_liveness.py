from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hostbuild.errors import InvalidDocumentError
from hostbuild.process import procfs
from hostbuild.process.liveness import (
    Identity,
    builder_mark,
    end_marked,
    end_processes,
    find_marked,
    find_orphans,
    state_of,
)
from hostbuild.process.marks import Marks
from hostbuild.records import replace

from .helpers import Word, held_owner, wait_until

Sleeper = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def word() -> Iterator[Word]:
    word = Word()
    yield word
    word.wait_gone()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[str]:
    with held_owner(tmp_path) as directory:
        yield directory


@pytest.fixture
def without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system without /proc: psutil is asked."""
    monkeypatch.setattr(procfs, "available", lambda: False)


@pytest.fixture
def sleeper(word: Word) -> Iterator[Sleeper]:
    """Starts processes that sleep, with marks; kills them at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**marks: str) -> subprocess.Popen[bytes]:
        environment = {**word.environment(), **Marks(**marks).environment()}
        started.append(subprocess.Popen(["sleep", "300"], env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_this_process_is_alive_and_the_same_each_time() -> None:
    me = Identity.current()
    assert me == Identity.of(os.getpid())
    assert me.pid == os.getpid()
    assert me.start_ticks > 0
    assert state_of(me) == "alive"


def test_an_identity_survives_json() -> None:
    me = Identity.current()
    assert Identity.from_json({**me.to_json(), "command": "for people"}) == me


@pytest.mark.parametrize(
    "change",
    [
        {"pid": "12"},
        {"pid": 0},
        {"pid": -1},
        {"pid": True},
        {"start_ticks": 1.5},
        {"boot_id": None},
        {"pid_namespace": "x"},
        {"host": 3},
    ],
)
def test_a_record_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocumentError, match="cannot be"):
        Identity.from_json({**Identity.current().to_json(), **change})


def test_a_record_with_a_field_missing_is_refused() -> None:
    with pytest.raises(InvalidDocumentError, match="boot_id"):
        Identity.from_json({"pid": 1, "start_ticks": 1})


def test_a_reused_pid_is_dead() -> None:
    me = Identity.current()
    assert state_of(replace(me, start_ticks=me.start_ticks - 1)) == "dead"


def test_ended_zombie_and_reaped_are_dead(sleeper: Sleeper) -> None:
    process = sleeper()
    identity = Identity.of(process.pid)
    assert state_of(identity) == "alive"
    process.kill()
    wait_until(lambda: state_of(identity) == "dead")
    assert procfs.read_stat(process.pid) is not None  # a zombie
    process.wait()
    assert procfs.read_stat(process.pid) is None
    assert state_of(identity) == "dead"


def test_init_is_alive_also_for_who_may_not_signal_it() -> None:
    assert state_of(Identity.of(1)) == "alive"


def test_a_hidden_process_that_may_not_be_signalled_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(procfs, "read_stat", lambda _pid: None)
    monkeypatch.setattr(os, "kill", refuse)
    assert state_of(replace(Identity.current(), pid=4_000_000)) == "alive"


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"pid_namespace": 1}, "foreign"),
        ({"boot_id": "other", "host": "elsewhere"}, "foreign"),
        ({"boot_id": "other", "pid_namespace": 0xEFFFFFFC + 7}, "foreign"),
        ({"host": "renamed"}, "alive"),
    ],
)
def test_what_cannot_be_known_is_foreign(change: dict[str, Any], state: str) -> None:
    assert state_of(replace(Identity.current(), **change)) == state


def test_before_the_last_boot_of_this_very_machine_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    here = ("boot", 0xEFFFFFFC, "machine")
    monkeypatch.setattr("hostbuild.process.liveness._here", lambda: here)
    assert state_of(Identity(1, 1, "older-boot", 0xEFFFFFFC, "machine")) == "dead"
    # A container that runs elsewhere may have the same name.
    monkeypatch.setattr("hostbuild.process.liveness._here", lambda: ("boot", 77, "machine"))
    assert state_of(Identity(1, 1, "older-boot", 77, "machine")) == "foreign"


@pytest.mark.usefixtures("without_proc")
def test_without_proc_psutil_tells(sleeper: Sleeper) -> None:
    process = sleeper()
    identity = Identity.of(process.pid)
    assert identity.start_ticks > 0
    assert state_of(identity) == "alive"
    assert state_of(replace(identity, start_ticks=5)) == "dead"
    process.kill()
    wait_until(lambda: state_of(identity) == "dead")
    process.wait()
    assert state_of(identity) == "dead"


def test_the_own_identity_needs_no_psutil() -> None:
    code = "import sys; from hostbuild.process import liveness as l; l.state_of(l.Identity.current()); "
    code += "print([name for name in ('psutil', 'subprocess', 'logging', 'socket') if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"


def test_marked_processes_are_found_by_all_the_marks_asked_for(sleeper: Sleeper, owner: str) -> None:
    mine = sleeper(owner=owner, build_id="b1", run="r1")
    other = sleeper(owner=owner, build_id="b2")
    sleeper()
    found = {marked.identity.pid: marked for marked in find_marked(Marks(owner=owner))}
    assert set(found) == {mine.pid, other.pid}
    assert found[mine.pid].marks == Marks("b1", owner, "r1")
    assert found[mine.pid].command == "sleep"
    both = find_marked(Marks(owner=owner, build_id="b2"))
    assert [marked.identity.pid for marked in both] == [other.pid]
    assert find_marked(Marks(owner=owner, build_id="b3")) == []
    assert {mine.pid, other.pid} <= {marked.identity.pid for marked in find_marked()}
    assert find_marked(Marks()) == []


def test_an_orphan_has_a_free_owner_and_no_living_builder(sleeper: Sleeper, owner: str) -> None:
    sleeper(owner=owner, builder=builder_mark())
    orphans = [
        sleeper(owner=owner),
        sleeper(owner=owner, builder=f"{os.getpid()}:1"),  # a reused pid
        sleeper(owner=owner, builder="who?"),
    ]
    found = {marked.identity.pid for marked in find_orphans(lambda asked: asked == owner)}
    assert found == {process.pid for process in orphans}
    assert find_orphans(lambda _asked: False) == []


def test_neither_itself_nor_an_ancestor_is_found(word: Word, owner: str) -> None:
    code = (
        "import os; from hostbuild.process.liveness import find_marked;"
        "from hostbuild.process.marks import Marks;"
        "print(len(find_marked(Marks(owner=os.environ['HOSTBUILD_OWNER']))))"
    )
    script = f'sleep 300 & {sys.executable} -c "{code}"; kill $!'
    output = subprocess.run(
        ["/bin/sh", "-c", script],
        env={**word.environment(), "HOSTBUILD_OWNER": owner},
        capture_output=True,
        text=True,
        check=True,
    )
    assert output.stdout == "1\n"


def test_processes_are_ended_by_identity_only(sleeper: Sleeper) -> None:
    process = sleeper()
    identity = Identity.of(process.pid)
    assert end_processes([replace(identity, start_ticks=identity.start_ticks - 1)]) == []
    assert process.poll() is None
    assert end_processes([identity]) == [identity]
    assert process.wait() == -15
    assert end_processes([identity]) == []


def test_what_ignores_term_or_is_stopped_is_ended_too(word: Word, sleeper: Sleeper) -> None:
    script = "trap '' TERM; echo up; while :; do sleep 1; done"
    stubborn = subprocess.Popen(["/bin/sh", "-c", script], env=word.environment(), stdout=subprocess.PIPE)
    assert stubborn.stdout is not None
    stubborn.stdout.readline()
    stopped = sleeper()
    os.kill(stopped.pid, 19)
    identities = [Identity.of(stubborn.pid), Identity.of(stopped.pid)]
    assert end_processes(identities, grace=0.3) == identities
    assert (stubborn.wait(), stopped.wait()) == (-9, -15)
    stubborn.stdout.close()
    wait_until(lambda: len(word.carriers()) <= 1)
    for line in word.carriers():  # its last `sleep 1`, which was not among those to be ended
        assert "sleep 1 " in line


def test_what_is_forked_while_its_parent_is_ended_is_ended_too(word: Word, owner: str) -> None:
    script = "trap 'sleep 300 & exit' TERM; echo up; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        ["/bin/sh", "-c", script],
        env={**word.environment(), "HOSTBUILD_OWNER": owner},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    ended = end_marked(Marks(owner=owner), grace=1.0)
    assert process.pid in {marked.identity.pid for marked in ended}
    assert word.carriers() == []
    process.wait()
    process.stdout.close()


def test_ancestors_are_those_that_psutil_knows() -> None:
    assert procfs.ancestors(os.getpid()) == {parent.pid for parent in psutil.Process().parents()}


def test_a_name_with_parentheses_and_spaces_is_read_right(word: Word, tmp_path: Any) -> None:
    program = tmp_path / "a) R (b"
    os.symlink("/bin/sleep", program)
    process = subprocess.Popen([str(program), "300"], env=word.environment())
    stat = procfs.read_stat(process.pid)
    assert stat is not None
    assert (stat.parent, stat.group, stat.session) == (os.getpid(), os.getpgid(0), os.getsid(0))
    process.kill()
    process.wait()

"""Tasks in worker processes, when all goes well."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import hostbuild
from hostbuild.errors import WorkerDiedError
from hostbuild.process.marks import Marks
from hostbuild.process.supervisor import LocalExecutor

from .helpers import Recorder, Word, run, wait_until
from .tasks import task


def test_results_come_in_the_order_of_the_tasks(word: Word, recorder: Recorder) -> None:
    pids = run(word, recorder, *(task("where", seconds) for seconds in (0.3, 0.0, 0.1, 0.0, 0.0, 0.0)))
    assert len(pids) == 6
    assert len(set(pids)) == 2
    assert os.getpid() not in pids


def test_no_task_starts_no_worker(word: Word, recorder: Recorder) -> None:
    with LocalExecutor(jobs=2, environment=word.environment()) as executor:
        assert executor.run([], recorder) == []
        assert word.carriers() == []


def test_no_more_workers_than_tasks(word: Word, recorder: Recorder) -> None:
    with LocalExecutor(jobs=5, environment=word.environment()) as executor:
        executor.run([task("double", 1), task("double", 2)], recorder)
        assert len(word.carriers()) == 2


def test_workers_can_be_started_early_and_serve_several_runs(word: Word, recorder: Recorder) -> None:
    with LocalExecutor(
        jobs=2, environment=word.environment(), preload=["decimal", "no.such.module"]
    ) as executor:
        executor.start(9)
        wait_until(lambda: len(word.pids()) == 2)
        early = set(word.pids())
        used = {executor.run([task("where", 0.0)], recorder)[0] for _ in range(3)}
        assert used <= early
    assert word.carriers() == []


def test_a_closed_executor_starts_nothing(word: Word, recorder: Recorder) -> None:
    executor = LocalExecutor(jobs=1, environment=word.environment())
    executor.close()
    executor.close()
    with pytest.raises(RuntimeError, match="closed"):
        executor.run([task("double", 1)], recorder)


def test_jobs_must_be_positive() -> None:
    with pytest.raises(ValueError, match="jobs"):
        LocalExecutor(jobs=0, environment={})


def test_a_worker_sees_the_modules_and_only_the_environment_it_is_given(
    word: Word, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "x")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_plugin.py").write_text("WORD = 'found'\n")
    marks = Marks(build_id="b", owner="/o")
    with LocalExecutor(jobs=1, environment=word.environment(), marks=marks) as executor:
        world, found = executor.run([task("world"), task("plugin", "my_plugin")], recorder)
    assert world["package"] == list(hostbuild.__path__)
    assert world["path"] == [os.path.abspath(entry) for entry in sys.path]
    assert world["prefix"] == sys.prefix
    assert found == "found"
    assert world["environment"]["HOSTBUILD_BUILD_ID"] == "b"
    assert world["environment"]["HOSTBUILD_OWNER"] == "/o"
    assert "SECRET_OF_THE_PARENT" not in world["environment"]
    assert world["stdin"] == "/dev/null"


def test_the_pipes_of_one_worker_are_not_open_in_another(word: Word, recorder: Recorder) -> None:
    first, second = run(word, recorder, task("world"), task("world"))
    assert len(first["descriptors"]) == len(second["descriptors"]) < 14


def test_big_arguments_results_and_events(word: Word, recorder: Recorder) -> None:
    big = os.urandom(1 << 20).hex()
    echoed, nothing = run(word, recorder, task("echo", big), task("say", [big, "", "small\udcff"]))
    assert echoed == big
    assert nothing is None
    assert recorder.messages("info") == [big, "", "small\udcff"]


def test_stray_output_of_a_library_becomes_events(word: Word, recorder: Recorder) -> None:
    assert run(word, recorder, task("stray", label="linux/arm64"), task("double", 1)) == ["result", 2]
    lines = recorder.messages("output", "linux/arm64")
    assert "printed by a library" in lines
    assert "written to descriptor 1" in lines
    assert "written to descriptor 2 \ufffd" in lines
    assert recorder.messages("info") == ["an event"]


def test_tools_of_workers_are_told_of(word: Word, recorder: Recorder) -> None:
    assert run(word, recorder, task("run_script", "echo hello", "linux/arm64")) == ["hello\n"]
    assert [event.kind for event in recorder.events] == ["tool", "output", "tool-end"]
    assert {event.platform for event in recorder.events} == {"linux/arm64"}


def test_tools_carry_a_mark_of_the_run(word: Word, recorder: Recorder) -> None:
    with LocalExecutor(jobs=1, environment=word.environment(), marks=Marks(build_id="b")) as executor:
        (output,) = executor.run([task("run_script", "echo $HOSTBUILD_BUILD_ID $HOSTBUILD_RUN")], recorder)
    build, run_word = output.split()
    assert build == "b"
    assert len(run_word) == 16


def test_a_library_call_may_come_from_a_thread(word: Word, recorder: Recorder) -> None:
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.extend(run(word, recorder, task("double", 4))))
    thread.start()
    thread.join()
    assert got == [8]


def test_a_program_that_ignores_the_end_of_children_or_dies_of_broken_pipes(
    word: Word, recorder: Recorder
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGPIPE)}
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        assert run(word, recorder, task("double", 4)) == [8]
        with pytest.raises(WorkerDiedError, match="without an answer"):
            run(word, recorder, task("exit_hard", 3))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_worker_that_dies_while_it_waits_is_replaced(word: Word, recorder: Recorder) -> None:
    with LocalExecutor(jobs=1, environment=word.environment()) as executor:
        (first,) = executor.run([task("where", 0.0)], recorder)
        os.kill(first, signal.SIGKILL)
        # Not by its state in /proc: a zombie that still has a thread cannot be reaped yet.
        ended = os.WEXITED | os.WNOWAIT | os.WNOHANG
        wait_until(lambda: os.waitid(os.P_PID, first, ended) is not None)
        big = "x" * (1 << 20)  # more than the pipe of the dead one takes
        second, echoed = executor.run([task("where", 0.0), task("echo", big)], recorder)
        assert second != first
        assert echoed == big

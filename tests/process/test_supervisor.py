from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hostbuild
from hostbuild.errors import BuildTimeoutError, HostbuildError, ToolError, WorkerDiedError
from hostbuild.model import Event
from hostbuild.process import supervisor
from hostbuild.process.executor import Task
from hostbuild.process.marks import Marks
from hostbuild.process.procfs import read_stat
from hostbuild.process.supervisor import LocalExecutor, run_tasks

from .helpers import POLITE, STUBBORN, WORKER, Recorder, Word, wait_until
from .tasks import DeafError, task


@pytest.fixture
def word() -> Iterator[Word]:
    """A word that nobody may carry at the end of the test."""
    word = Word()
    yield word
    assert word.carriers() == []


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def run(
    word: Word, recorder: Recorder, *tasks: Task, jobs: int = 2, timeout: float | None = None
) -> list[Any]:
    return run_tasks(tasks, jobs=jobs, on_event=recorder, timeout=timeout, environment=word.environment())


# What works.


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
        early = set(word.pids())
        assert len(early) == 2
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
        wait_until(lambda: (stat := read_stat(first)) is not None and stat.ended)
        big = "x" * (1 << 20)  # more than the pipe of the dead one takes
        second, echoed = executor.run([task("where", 0.0), task("echo", big)], recorder)
        assert second != first
        assert echoed == big


# What fails.


def test_an_error_comes_with_all_its_parts_and_the_label(word: Word, recorder: Recorder) -> None:
    with pytest.raises(ToolError) as caught:
        run(word, recorder, task("fail", "broken", "linux/arm/v7"))
    error = caught.value
    assert (error.what, error.why, error.fix, error.detail) == ("broken", "because", "do", "as it was\n")
    assert error.platform == "linux/arm/v7"
    assert error.extra == {"returncode": 3, "cancelled": []}
    assert "tasks.py" in error.__notes__[0]


def test_a_bug_in_a_task_is_raised_as_it_is(word: Word, recorder: Recorder) -> None:
    with pytest.raises(KeyError, match="a bug") as caught:
        run(word, recorder, task("bug", label="linux/arm64"))
    assert "in the task of linux/arm64" in caught.value.__notes__


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("unpicklable_error", "cannot be sent"),
        ("deaf_error", "cannot come back"),
        ("leave", "SystemExit: a task wants to leave"),
    ],
)
def test_an_error_that_cannot_be_sent_becomes_its_text(
    word: Word, recorder: Recorder, name: str, text: str
) -> None:
    with pytest.raises(HostbuildError, match=text) as caught:
        run(word, recorder, task(name))
    assert type(caught.value) is HostbuildError
    assert caught.value.platform == "linux/amd64"
    assert "Traceback" in caught.value.detail


def test_a_result_that_cannot_be_sent_is_an_error(word: Word, recorder: Recorder) -> None:
    with pytest.raises(Exception, match="pickle") as caught:
        run(word, recorder, task("unpicklable_result"))
    assert "in the task of linux/amd64" in getattr(caught.value, "__notes__", [])


def test_a_result_that_cannot_be_read_is_an_error(word: Word, recorder: Recorder) -> None:
    with pytest.raises(HostbuildError, match="cannot be read"):
        run(word, recorder, task("deaf_result"))


def test_an_argument_that_cannot_be_read_is_an_error(word: Word, recorder: Recorder) -> None:
    with pytest.raises(TypeError, match="second") as caught:
        run(word, recorder, task("echo", DeafError("a", "b")))
    assert "in the task of linux/amd64" in caught.value.__notes__


def test_an_argument_that_cannot_be_sent_leaves_nobody(word: Word, recorder: Recorder) -> None:
    with pytest.raises(Exception, match="pickle"):
        run(word, recorder, task("run_script", POLITE), task("echo", lambda: None))


def test_a_module_that_cannot_be_imported(word: Word, recorder: Recorder) -> None:
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        run(word, recorder, Task("linux/amd64", "tests.process.nothing:f", None))


def test_the_first_failure_ends_the_others_however_stubborn(
    word: Word, recorder: Recorder, tmp_path: Path
) -> None:
    flag = tmp_path / "fail-now"

    def on_event(event: Event) -> None:
        recorder(event)
        if event.message == "tool is up":
            flag.touch()

    tasks = [
        task("run_script", STUBBORN, "linux/arm64"),
        task("fail_when", str(flag), "linux/amd64"),
        task("double", 3, "linux/arm/v7"),
    ]
    with pytest.raises(ToolError, match="the first failure") as caught:
        run_tasks(tasks, jobs=2, on_event=on_event, timeout=None, environment=word.environment())
    assert caught.value.platform == "linux/amd64"
    assert caught.value.extra["cancelled"] == ["linux/arm64"]
    assert word.carriers() == []


def test_a_killed_worker_is_told_and_its_tools_end(word: Word, recorder: Recorder) -> None:
    with pytest.raises(WorkerDiedError) as caught:
        run(word, recorder, task("run_and_die", STUBBORN, "linux/arm64"), task("run_script", POLITE))
    assert caught.value.what == "the worker for linux/arm64 was killed by signal 9 (SIGKILL)"
    assert caught.value.platform == "linux/arm64"
    assert "memory" in caught.value.why
    assert "dmesg" in caught.value.fix
    assert word.carriers() == []


def test_a_crashed_worker_is_told_with_its_last_words(word: Word, recorder: Recorder) -> None:
    with pytest.raises(WorkerDiedError, match=r"killed by signal 11 \(SIGSEGV\)") as caught:
        run(word, recorder, task("kill_self", signal.SIGSEGV))
    assert "the last words" in caught.value.detail
    assert "Segmentation fault" in caught.value.detail
    assert "the last words" in recorder.messages("output")


def test_a_worker_that_exits_is_told(word: Word, recorder: Recorder) -> None:
    with pytest.raises(WorkerDiedError, match="ended with exit code 3 and without an answer"):
        run(word, recorder, task("exit_hard", 3))


def test_a_worker_that_somebody_stopped_is_told(word: Word, recorder: Recorder) -> None:
    def on_event(event: Event) -> None:
        if event.message == "tool is up":
            os.kill(word.pids(WORKER)[0], signal.SIGTERM)

    with pytest.raises(WorkerDiedError, match="was stopped by signal 15"):
        run_tasks(
            [task("run_script", POLITE)],
            jobs=1,
            on_event=on_event,
            timeout=None,
            environment=word.environment(),
        )
    assert word.carriers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_what_the_terminal_sends_to_all_is_the_parents_business(
    word: Word, recorder: Recorder, number: signal.Signals
) -> None:
    def on_event(event: Event) -> None:
        if event.message == "before":
            for pid in word.pids(WORKER):
                os.kill(pid, number)

    tasks = [task("say", ["before"]), task("where", 0.3), task("where", 0.3)]
    run_tasks(tasks, jobs=2, on_event=on_event, timeout=None, environment=word.environment())


@pytest.mark.parametrize("name", ["close_all", "garbage"])
def test_a_worker_whose_pipe_was_spoilt_is_ended(word: Word, recorder: Recorder, name: str) -> None:
    with pytest.raises(WorkerDiedError):
        run(word, recorder, task(name), task("run_script", POLITE))
    assert word.carriers() == []


def test_a_python_that_cannot_be_started(
    word: Word, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(WorkerDiedError, match="could not be started"):
        run(word, recorder, task("double", 1))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorkerDiedError, match="exit code 1"):
        run(word, recorder, task("double", 1))


def test_descriptors_are_not_leaked(word: Word, recorder: Recorder) -> None:
    run(word, recorder, task("double", 1))
    before = os.listdir("/proc/self/fd")
    run(word, recorder, task("double", 1))
    for failing in (task("fail", "x"), task("exit_hard", 1)):
        with pytest.raises(HostbuildError):
            run(word, recorder, failing, task("run_script", POLITE))
    assert len(os.listdir("/proc/self/fd")) == len(before)


# Timeouts and interruptions.


class Clock(Recorder):
    """An event callback that lets the supervisor's time pass when a message comes."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message
        self._ahead = 0.0

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if event.message == self._message:
            self._ahead = 1000.0

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@pytest.mark.parametrize("name", ["run_script", "run_and_hang"])
def test_a_timeout_ends_everything_and_says_what_was_to_do(
    word: Word, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    clock = Clock("tool is up")
    monkeypatch.setattr(supervisor, "time", clock)
    tasks = [task(name, POLITE, "linux/arm64"), task("double", 1, "linux/arm/v7")]
    with pytest.raises(BuildTimeoutError) as caught:
        run(word, clock, *tasks, jobs=1, timeout=1000.0)
    assert caught.value.what == "the build took longer than 1000 s and was stopped"
    assert caught.value.why == "still to do: linux/arm64 (sh), linux/arm/v7 (not begun)"
    assert "--timeout" in caught.value.fix
    assert word.carriers() == []


def test_a_worker_that_hangs_in_c_is_killed(word: Word, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock("holding")
    monkeypatch.setattr(supervisor, "time", clock)
    with pytest.raises(BuildTimeoutError):
        run(word, clock, task("hold_gil"), timeout=1000.0)
    assert clock.messages("output") == ["holding"]


def test_a_timeout_ends_a_wait_in_which_nothing_happens(word: Word, recorder: Recorder) -> None:
    with pytest.raises(BuildTimeoutError):
        run(word, recorder, task("where", 1000.0), timeout=0.2)


class Interruption(BaseException):
    """What the command line raises from a signal handler."""


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, Interruption])
def test_what_the_callback_raises_ends_everything_and_is_raised(
    word: Word, kind: type[BaseException]
) -> None:
    def on_event(event: Event) -> None:
        if event.message == "tool is up":
            raise kind

    with pytest.raises(kind):
        run_tasks(
            [task("run_script", POLITE), task("run_script", POLITE)],
            jobs=2,
            on_event=on_event,
            timeout=None,
            environment=word.environment(),
        )
    assert word.carriers() == []


def test_further_interruptions_while_stopping_are_harmless(word: Word) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise Interruption

    def on_event(event: Event) -> None:
        if event.message == "tool is up":
            for timer in timers:
                timer.start()
            raise Interruption

    timers = [threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR1)) for seconds in (0.1, 0.7, 1.5)]
    handler = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interruption):
            run_tasks(
                [task("run_script", STUBBORN)],
                jobs=1,
                on_event=on_event,
                timeout=None,
                environment=word.environment(),
            )
        assert word.carriers() == []
    finally:
        for timer in timers:
            timer.join()
        signal.signal(signal.SIGUSR1, handler)


def test_leaving_an_executor_by_an_error_ends_the_waiting_workers(word: Word) -> None:
    def leave() -> None:
        with LocalExecutor(jobs=2, environment=word.environment()) as executor:
            executor.start(2)
            raise Interruption

    with pytest.raises(Interruption):
        leave()
    assert word.carriers() == []

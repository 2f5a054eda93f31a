"""What fails in a worker, and how it is told."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from hostbuild.errors import HostbuildError, ToolError, WorkerDiedError
from hostbuild.model import Event
from hostbuild.process.executor import Task
from hostbuild.process.supervisor import run_tasks

from .helpers import POLITE, STUBBORN, WORKER, Recorder, Word, run
from .tasks import DeafError, task


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
    with pytest.raises(Exception, match="local object") as caught:
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
    with pytest.raises(Exception, match="local object"):
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

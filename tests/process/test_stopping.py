"""Timeouts and interruptions in the parent: everything is ended, whatever was going on."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from hostbuild.errors import BuildTimeoutError
from hostbuild.model import Event
from hostbuild.process import supervisor
from hostbuild.process.supervisor import LocalExecutor, run_tasks

from .helpers import POLITE, STUBBORN, Recorder, Word, run
from .tasks import task


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
    assert caught.value.what == "the build took longer than --timeout allows and was stopped"
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

"""A crew that works while something else goes on (what it does for a push: tests/registry/test_crew.py)."""

from __future__ import annotations

import threading

import pytest

from hostbuild.crew import Crew

PATIENCE = 10


def crew(size: int = 2) -> tuple[Crew, threading.Event, threading.Event]:
    """A crew, and what is set when it shall stop and when it is broken off."""
    stop, aborted = threading.Event(), threading.Event()
    return Crew(size, stop, aborted.set), stop, aborted


def test_jobs_run_while_the_block_runs_and_are_waited_for() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        assert go_on.wait(PATIENCE)
        done.set()

    with crew()[0].working([job]):
        assert begun.wait(PATIENCE)
        assert not done.is_set()
        go_on.set()
    assert done.is_set()


def test_an_error_of_a_job_is_raised_at_the_end_of_the_block() -> None:
    def fail() -> None:
        raise ValueError("job")

    reached = False
    with pytest.raises(ValueError, match="job"), crew()[0].working([fail]):
        reached = True
    assert reached


def test_an_error_of_the_block_stops_the_jobs_and_breaks_what_they_wait_for() -> None:
    workers, stop, aborted = crew(1)
    later: list[int] = []
    with (
        pytest.raises(KeyError, match="block"),
        workers.working([lambda: aborted.wait(PATIENCE), lambda: later.append(1)]),
    ):
        raise KeyError("block")
    assert stop.is_set()
    assert aborted.is_set()
    assert later == []


def test_no_jobs_are_no_work() -> None:
    with crew()[0].working([]):
        pass

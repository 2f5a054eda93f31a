"""How long is waited, how often is tried, and what Retry-After means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.http.retries import BRIEF_SECONDS, BRIEF_TRIES, LONGEST_WAIT, Budget, retry_after
from tests.http.peers import Time

DATE = "Tue, 24 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("61", LONGEST_WAIT),
        ("999999999999", LONGEST_WAIT),
        ("9" * 4000, LONGEST_WAIT),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("٣", None),
        ("Tue, 24 Nov 2026 10:00:12 GMT", 12.0),
        ("Tue, 24 Nov 2026 09:59:00 GMT", None),
        ("Wed, 24 Nov 2027 10:00:00 GMT", LONGEST_WAIT),
        ("Tue, 99 Nov 2026 10:00:00 GMT", None),
        ("Tue, 24 Nov 99999 10:00:00 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(value, DATE) == seconds


def test_a_date_without_the_servers_own_time_is_judged_by_ours() -> None:
    assert retry_after("Mon, 01 Jan 2001 00:00:00 GMT") is None
    assert retry_after("Fri, 01 Jan 2100 00:00:00 GMT") == LONGEST_WAIT


@given(st.text(), st.text())
def test_retry_after_never_fails_and_never_asks_for_nonsense(value: str, date: str) -> None:
    seconds = retry_after(value, date)
    assert seconds is None or 0 <= seconds <= LONGEST_WAIT


def test_waits_double_up_to_a_bound_and_end_with_the_time() -> None:
    time = Time()
    budget = Budget(60, time.clock, lambda: 1.0)
    while (wait := budget.next_wait()) is not None:
        time.sleep(wait)
    assert time.slept == [1, 2, 4, 8, 16, 20, 9]
    assert sum(time.slept) == 60


def test_what_is_likely_a_typing_error_is_tried_briefly() -> None:
    time = Time()
    budget = Budget(60, time.clock, lambda: 1.0)
    while (wait := budget.next_wait(brief=True)) is not None:
        time.sleep(wait)
    assert budget.failures == BRIEF_TRIES
    assert sum(time.slept) <= BRIEF_SECONDS


def test_slow_failures_of_that_kind_end_by_their_time() -> None:
    time = Time()
    budget = Budget(60, time.clock, lambda: 1.0)
    assert budget.next_wait(brief=True) is not None
    time.now += BRIEF_SECONDS
    assert budget.next_wait(brief=True) is None


def test_the_server_is_obeyed_up_to_a_minute() -> None:
    budget = Budget(600, Time().clock, lambda: 1.0)
    assert budget.next_wait(asked=17) == 17
    assert budget.next_wait(asked=0) == 2
    assert budget.next_wait(asked=10_000) == LONGEST_WAIT


def test_who_may_not_come_back_in_time_gives_up_at_once() -> None:
    assert Budget(10, Time().clock, lambda: 0.0).next_wait(asked=11) is None


def test_the_time_runs_from_the_first_failure() -> None:
    time = Time()
    budget = Budget(10, time.clock, lambda: 1.0)
    time.now += 1000
    assert budget.next_wait() == 1


def test_no_time_means_no_second_try() -> None:
    assert Budget(0, Time().clock, lambda: 0.0).next_wait() is None


@given(st.floats(0, 1000), st.lists(st.tuples(st.floats(0, 1), st.none() | st.floats(0, 1e9)), max_size=60))
def test_the_budget_is_never_overdrawn(seconds: float, failures: list[tuple[float, float | None]]) -> None:
    time = Time()
    jitter = iter([random for random, _ in failures])
    budget = Budget(seconds, time.clock, lambda: next(jitter))
    for _, asked in failures:
        wait = budget.next_wait(asked=asked)
        if wait is None:
            break
        assert wait >= 0
        time.sleep(wait)
    assert sum(time.slept) <= seconds + 1e-6

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from hostbuild.errors import (
    AuthenticationError,
)
from hostbuild.registry.tokens import (
    Token,
    TokenCache,
)

from .token_values import PULL, PUSH, Clock

# The cache.


def token(value: str, expires: float = 160.0, slack: float = 10.0) -> Token:
    return Token(value, expires, slack)


def never() -> Token:
    raise AssertionError("asked for a token")


def test_a_token_is_kept_while_it_is_fresh() -> None:
    clock = Clock()
    cache = TokenCache(clock)
    assert cache.get(PULL, lambda: token("a")).value == "a"
    clock.now = 149.9
    assert cache.get(PULL, never).value == "a"
    clock.now = 150.0
    assert cache.get(PULL, lambda: token("b", 250)).value == "b"


def test_a_token_for_more_serves_for_less() -> None:
    cache = TokenCache(Clock())
    cache.get(PUSH, lambda: token("a"))
    assert cache.get(PULL, never).value == "a"
    assert cache.get(("repository:other:pull",), lambda: token("b")).value == "b"
    assert cache.get((), lambda: token("c")).value == "c"


def test_a_refused_token_is_not_given_again() -> None:
    cache = TokenCache(Clock())
    first = cache.get(PUSH, lambda: token("a"))
    # Another server would say the same text again: what counts is that it was asked for anew.
    second = cache.get(PUSH, lambda: token("a"), refused=first)
    assert second is not first
    assert cache.get(PUSH, never, refused=first) is second
    assert cache.get(PUSH, never) is second


def test_a_token_that_is_old_when_it_comes_is_used_once() -> None:
    clock = Clock()
    cache = TokenCache(clock)
    assert cache.get(PULL, lambda: token("a", 90)).value == "a"
    assert cache.get(PULL, lambda: token("b", 90)).value == "b"


def in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_one_request_serves_all_threads_that_wait() -> None:
    cache = TokenCache(Clock())
    waiting = threading.Barrier(9)
    release = threading.Event()
    fetched: list[int] = []
    got: list[str] = []

    def fetch() -> Token:
        fetched.append(1)
        release.wait(30)
        return token("a")

    def work(number: int) -> None:
        waiting.wait(30)
        if number == 8:
            release.set()
        else:
            got.append(cache.get(PULL, fetch).value)

    in_threads(9, work)
    assert len(fetched) == 1
    assert got == ["a"] * 8


def test_a_refusal_reaches_all_threads_that_wait_and_a_later_one_asks_again() -> None:
    cache = TokenCache(Clock())
    asked: list[int] = []
    entered = threading.Event()
    release = threading.Event()
    errors: list[AuthenticationError] = []

    def fetch() -> Token:
        asked.append(1)
        entered.set()
        release.wait(30)
        raise AuthenticationError("no", why="because", status=401)

    def work(number: int) -> None:
        if number:
            entered.wait(30)
        if number == 3:
            release.set()
            return
        try:
            cache.get(PULL, fetch)
        except AuthenticationError as error:
            errors.append(error)

    in_threads(4, work)
    # A thread that came after the refusal asked for itself.
    assert 1 <= len(asked) <= 3
    assert [str(error) for error in errors] == ["no: because"] * 3
    assert len({id(error) for error in errors}) == 3
    assert cache.get(PULL, lambda: token("a")).value == "a"


def test_when_the_asking_thread_is_interrupted_another_one_asks() -> None:
    cache = TokenCache(Clock())
    entered = threading.Event()
    release = threading.Event()
    got: list[str] = []

    def interrupted() -> Token:
        entered.set()
        release.wait(30)
        raise KeyboardInterrupt

    def work(number: int) -> None:
        if number == 0:
            with pytest.raises(KeyboardInterrupt):
                cache.get(PULL, interrupted)
        else:
            entered.wait(30)
            release.set()
            got.append(cache.get(PULL, lambda: token("b")).value)

    in_threads(2, work)
    assert got == ["b"]

"""One thread does it, the others wait for what it gets."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from hostbuild.errors import HostbuildError

Value = TypeVar("Value")


class _Flight(Generic[Value]):
    def __init__(self) -> None:
        self.landed = threading.Event()
        self.value: Value | None = None
        self.error: HostbuildError | None = None


class Flights(Generic[Value]):
    """Work that several threads want at once and one of them does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Hashable, _Flight[Value]] = {}

    def run(self, key: Hashable, ready: Callable[[], Value | None], make: Callable[[], Value]) -> Value:
        """What `ready` has; else what `make` gives, called by one thread at a time for a key.

        `make` keeps its value where `ready` finds it. Its HostbuildError is raised, a copy of its own, in
        each thread that waited; after any other exception (Ctrl-C in its thread) one of these tries in its
        place.
        """
        while True:
            with self._lock:
                value = ready()
                if value is not None:
                    return value
                flight = self._flights.get(key)
                mine = flight is None
                if flight is None:
                    flight = self._flights[key] = _Flight()
            if mine:
                return self._lead(key, flight, make)
            flight.landed.wait()
            if flight.value is not None:
                return flight.value
            if flight.error is not None:
                raise copy.copy(flight.error)

    def _lead(self, key: Hashable, flight: _Flight[Value], make: Callable[[], Value]) -> Value:
        try:
            flight.value = make()
        except HostbuildError as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                del self._flights[key]
            flight.landed.set()
        return flight.value

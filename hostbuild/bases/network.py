"""The registries that one build or one worker talks to: opened when the first is asked, closed at the end.

One for all that a build asks (what a base's tag is, its documents, whether a push may, the push), so that a
registry is greeted once and gives its token once.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hostbuild.model import Access, Event, EventCallback, ignore_event
from hostbuild.oci.reference import Reference

if TYPE_CHECKING:
    from hostbuild.registry import Registries, Repository


class Network:
    """A context manager; usable by several threads. Nothing is imported or asked before it is needed."""

    def __init__(self, access: Access, on_event: EventCallback = ignore_event) -> None:
        self.access = access
        self._on_event = on_event
        self._telling = threading.RLock()
        self._opening = threading.Lock()
        self._registries: Registries | None = None
        self._closed = False

    def on_event(self, event: Event) -> None:
        """Tell that something happened, one thread at a time."""
        with self._telling:
            self._on_event(event)

    @property
    def registries(self) -> Registries:
        """The client of all registries."""
        with self._opening:
            if self._registries is None:
                from hostbuild.registry import Registries

                self._registries = Registries(self.access, on_event=self.on_event)
                if self._closed:
                    self._registries.close()
            return self._registries

    def repository(self, reference: Reference) -> Repository:
        """The repository that a reference names. Raises OfflineError."""
        return self.registries.repository(reference)

    def close(self) -> None:
        """Break all that is under way, from any thread; what is asked later is refused."""
        with self._opening:
            self._closed = True
            if self._registries is not None:
                self._registries.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""Hashing on a thread, while whoever gives the data writes it. hashlib lets other threads run meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

Data = bytes | bytearray | memoryview


class HashingThread:
    """Calls `update` with each piece, in order, on a thread of its own, which the first piece starts.

    Used by one thread; `end` once it is not needed.
    """

    def __init__(self, update: Callable[[memoryview], object]) -> None:
        self._update = update
        self._given: SimpleQueue[memoryview | None] = SimpleQueue()
        self._done: SimpleQueue[bool] = SimpleQueue()
        self._thread: threading.Thread | None = None

    @contextmanager
    def hashing(self, data: Data) -> Iterator[None]:
        """Hash `data` while the block runs; both are over at its end, so that the data may change again."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="hashing", daemon=True)
            self._thread.start()
        self._given.put(memoryview(data).cast("B"))  # wrong kinds of data are told here, not on the thread
        try:
            yield
        finally:
            self._done.get()

    def end(self) -> None:
        """End the thread. A second call does nothing."""
        if self._thread is not None:
            self._given.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (data := self._given.get()) is not None:
            self._update(data)
            del data  # or it would be kept until the next one comes
            self._done.put(True)

"""Some jobs at once in threads that never hold up the end: daemons, stopped by a first error or a Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import TracebackType

#: Seconds that threads have to notice they are to stop, before their connections are broken, and again after
#: that.
_GRACE = 0.4

Job = Callable[[], object]


class Crew:
    """Runs jobs, at most `size` at once. `stop` is set when they shall end; `abort` breaks what they wait
    for.
    """

    def __init__(self, size: int, stop: threading.Event, abort: Callable[[], None]) -> None:
        self._size = max(1, size)
        self._stop = stop
        self._abort = abort

    def run(self, jobs: Iterable[Job]) -> None:
        """Run all jobs. The first error stops the others and is raised; so is what interrupts the calling
        thread.
        """
        with self.working(jobs):
            pass

    @contextmanager
    def working(self, jobs: Iterable[Job]) -> Iterator[None]:
        """Run all jobs while the block runs, and wait for them at its end. The first error stops the others
        and is raised there; an error of the block stops them too.
        """
        todo = deque(jobs)
        ends: SimpleQueue[BaseException | None] = SimpleQueue()
        threads = [
            threading.Thread(target=self._work, args=(todo, ends), name=f"crew-{number}", daemon=True)
            for number in range(min(self._size, len(todo)))
        ]
        try:
            for thread in threads:
                thread.start()
            yield
            first = None
            for _ in threads:
                first = ends.get()
                if first is not None:
                    break
            if first is None:
                return
        except BaseException:
            self._end(threads, now=True)
            raise
        self._end(threads, now=False)
        raise first

    def _work(self, todo: deque[Job], ends: SimpleQueue[BaseException | None]) -> None:
        with _Ending(ends):
            while not self._stop.is_set():
                try:
                    job = todo.popleft()
                except IndexError:
                    break
                job()

    def _end(self, threads: list[threading.Thread], *, now: bool) -> None:
        self._stop.set()
        if not now:
            _join(threads, _GRACE)
        if any(thread.is_alive() for thread in threads):
            self._abort()
            _join(threads, _GRACE)


class _Ending:
    """Tells how a thread ended: whatever it raises is for who waits, who raises it again."""

    def __init__(self, ends: SimpleQueue[BaseException | None]) -> None:
        self._ends = ends

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._ends.put(error)
        return True


def _join(threads: list[threading.Thread], seconds: float) -> None:
    end = time.monotonic() + seconds
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, end - time.monotonic()))

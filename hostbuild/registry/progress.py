"""How far a push is: bytes by blob, told a few times a second; and the way to stop what reads them."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, BinaryIO, cast

from hostbuild.errors import CancelledTaskError
from hostbuild.http.bodies import FileRange, file_range, skip
from hostbuild.model import Event, EventCallback
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from hostbuild.registry.bodies import Opener

STEP = "push"
#: Seconds between two `progress` events.
_INTERVAL = 0.2


def short(digest: Digest) -> str:
    """A digest as messages show it: `sha256:` and 12 of its digits; the whole one would break lines."""
    return f"{digest.algorithm}:{digest.hex[:12]}"


def summary(counts: Mapping[str, int], sent: int) -> str:
    """What became of a push's blobs, for people; `counts` by status, `sent` in bytes."""
    parts = []
    if counts["uploaded"]:
        blobs = "1 blob" if counts["uploaded"] == 1 else f"{counts['uploaded']} blobs"
        parts.append(f"{blobs} of {_size(sent)} sent")
    if counts["mounted"]:
        parts.append(f"{counts['mounted']} mounted")
    if counts["present"]:
        parts.append(f"{counts['present']} there already")
    return ", ".join(parts) or "all blobs there already"


def _size(count: int) -> str:
    """Bytes in powers of 1000: 999 B, 1.2 kB, 12.3 MB."""
    value = float(count)
    units = ["TB", "GB", "MB", "kB", "B"]
    while len(units) > 1 and value >= 999.95:
        value /= 1000
        units.pop()
    return f"{count} B" if units[-1] == "B" else f"{value:.1f} {units[-1]}"


class Progress:
    """The bytes of a push's blobs, from many threads. `done` never goes back, also when bytes are sent
    again.
    """

    def __init__(
        self, total: int, on_event: EventCallback, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total = total
        self.sent = 0  # bytes that left, those sent again included
        self._on_event = on_event
        self._clock = clock
        self._lock = threading.Lock()
        self._reached: dict[Digest, int] = {}
        self._done = 0
        self._told = clock()

    def read(self, digest: Digest, position: int, count: int) -> None:
        """`count` bytes of a blob were taken to be sent, the last one ends at `position`."""
        with self._lock:
            self.sent += count
            self._reach(digest, position)

    def complete(self, descriptor: Descriptor) -> None:
        """The registry has the blob."""
        with self._lock:
            self._reach(descriptor.digest, descriptor.size)

    def _reach(self, digest: Digest, position: int) -> None:
        gained = position - self._reached.get(digest, 0)
        if gained > 0:
            self._reached[digest] = position
            self._done += gained
        now = self._clock()
        if gained > 0 and (now - self._told >= _INTERVAL or self._done == self.total):
            self._told = now
            self._on_event(Event("progress", data={"step": STEP, "done": self._done, "total": self.total}))


def watched(opener: Opener, digest: Digest, progress: Progress, stop: threading.Event) -> Opener:
    """The opener, its streams counted, and ended with CancelledTaskError once `stop` is set."""

    def open_at(offset: int) -> BinaryIO:
        _check(stop, digest)
        return cast("BinaryIO", _Watched(opener(offset), offset, digest, progress, stop))

    return open_at


def _check(stop: threading.Event, digest: Digest) -> None:
    if stop.is_set():
        raise CancelledTaskError(f"pushing blob {digest} was stopped", why="another part of the push failed")


class _Watched(io.RawIOBase):
    def __init__(
        self, stream: BinaryIO, position: int, digest: Digest, progress: Progress, stop: threading.Event
    ) -> None:
        super().__init__()
        self._stream = stream
        self._position = position
        self._digest = digest
        self._progress = progress
        self._stop = stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        _check(self._stop, self._digest)
        view = memoryview(buffer).cast("B")
        if isinstance(self._stream, io.RawIOBase | io.BufferedIOBase):
            count = self._stream.readinto(view) or 0
        else:
            data = self._stream.read(len(view))
            count = len(data)
            view[:count] = data
        self._position += count
        self._progress.read(self._digest, self._position, count)
        return count

    def file_range(self) -> FileRange | None:
        _check(self._stop, self._digest)
        return file_range(self._stream)

    def skip(self, count: int) -> None:
        skip(self._stream, count)
        self._position += count
        self._progress.read(self._digest, self._position, count)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

"""What supervisor and worker say to each other: frames over two pipes.

A frame is one byte of kind, four bytes of length (big-endian) and the payload. Events are JSON, so that a
line in a log and a line on the pipe are the same thing; tasks, results and errors are pickles. Both ends are
the same program on the same machine, and the pipe is private to them: that is why a pickle may be trusted
here and nowhere else in hostbuild.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from hostbuild.errors import HostbuildError
from hostbuild.model import Event
from hostbuild.records import record

# From the supervisor.
SETUP = b"S"
TASK = b"T"
# From the worker.
READY = b"R"
EVENT = b"E"
RESULT = b"D"
ERROR = b"X"

_KINDS = frozenset((SETUP, TASK, READY, EVENT, RESULT, ERROR))
_HEADER = struct.Struct(">cI")
#: Longest payload, bytes: far above any event or result, so that garbage is known for what it is.
MAX_PAYLOAD = 1 << 30


class FrameError(Exception):
    """The bytes are not frames: something else wrote to the pipe."""


@record
class Frame:
    """One message: its kind and its payload."""

    kind: bytes
    payload: bytes

    def encode(self) -> bytes:
        """The bytes on the pipe. Raises FrameError where the payload is too long."""
        if len(self.payload) > MAX_PAYLOAD:
            raise FrameError(f"a frame of {len(self.payload)} bytes is too long")
        return _HEADER.pack(self.kind, len(self.payload)) + self.payload


class FrameDecoder:
    """Frames out of bytes as they come; what a killed writer began and did not end is never given."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add bytes, give the frames that are complete. Raises FrameError on what is no frame."""
        self._buffer += data
        start = 0
        try:
            while len(self._buffer) - start >= _HEADER.size:
                kind, length = _HEADER.unpack_from(self._buffer, start)
                if kind not in _KINDS or length > MAX_PAYLOAD:
                    raise FrameError(f"no frame starts with {bytes(self._buffer[start : start + 20])!r}")
                end = start + _HEADER.size + length
                if len(self._buffer) < end:
                    return
                payload = bytes(self._buffer[start + _HEADER.size : end])
                start = end
                yield Frame(kind, payload)
        finally:
            del self._buffer[:start]


def encode_event(event: Event) -> bytes:
    """An event as JSON; a value in its data that JSON does not have becomes its text."""
    record = {"kind": event.kind, "message": event.message, "platform": event.platform, "data": event.data}
    return json.dumps(record, default=str).encode("ascii")


def decode_event(payload: bytes) -> Event:
    """The event that `encode_event` wrote."""
    return Event(**json.loads(payload))


class _OwnUnpickler(pickle.Unpickler):
    """Reads only what came over a private pipe from a process of this very program."""


def encode_object(value: object) -> bytes:
    """A task, a result or an error as a pickle. Raises whatever pickling it raises."""
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def decode_object(payload: bytes) -> Any:
    """The value that `encode_object` wrote. Raises whatever its reading raises."""
    return _OwnUnpickler(io.BytesIO(payload)).load()


def encode_error(error: BaseException) -> bytes:
    """What a task raised, and its traceback as text; what does not pickle becomes a HostbuildError."""
    import traceback

    text = "".join(traceback.format_exception(error))
    if isinstance(error, Exception):
        # Any class may pickle badly, or pickle and not come back, each by an error of its own choice.
        with suppress(Exception):
            payload = encode_object((error, text))
            decode_object(payload)
            return payload
    what = traceback.format_exception_only(error)[-1].strip()
    return encode_object((HostbuildError(what, detail=text), text))


def decode_error(payload: bytes) -> Exception:
    """The error that `encode_error` wrote, with the worker's traceback as a note."""
    error, text = decode_object(payload)
    if not isinstance(error, Exception):
        raise FrameError(f"{error!r} is not an error")
    error.add_note("In the worker:\n" + str(text).rstrip())
    return error

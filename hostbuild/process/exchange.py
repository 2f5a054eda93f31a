"""What a small tool reads and writes, both sides at once, with a bound on what it may say."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import selectors
    from subprocess import Popen

#: Seconds that the output may stay open after the tool's end, held by what it left behind.
EOF_GRACE = 0.5

_PIECE = 64 * 1024
_TICK = 0.1


class TooMuchOutputError(Exception):
    """A tool said more than it may."""


def exchange(
    process: Popen[bytes], data: bytes | None, *, limit: int, timeout: float | None
) -> tuple[bytes, bytes]:
    """Give `data` to a tool that was started with pipes, and take its standard output and error to their end.

    Each of the two may have `limit` bytes. What the tool leaves behind may hold them open: `EOF_GRACE` after
    its own end that counts as their end. The tool is not ended here, and its pipes are left open.

    Raises TooMuchOutputError, and TimeoutError after `timeout` seconds.
    """
    import selectors

    end = None if timeout is None else time.monotonic() + timeout
    ended: float | None = None
    outputs = {stream.fileno(): bytearray() for stream in (process.stdout, process.stderr) if stream}
    with selectors.DefaultSelector() as selector:
        for descriptor in outputs:
            selector.register(descriptor, selectors.EVENT_READ)
        left = _feed(selector, process, memoryview(data or b""))
        while selector.get_map():
            for key, _ in selector.select(_TICK):
                if key.fd in outputs:
                    piece = os.read(key.fd, _PIECE)
                    outputs[key.fd] += piece
                    if not piece:
                        selector.unregister(key.fd)
                    if len(outputs[key.fd]) > limit:
                        raise TooMuchOutputError
                else:
                    left = _give(selector, process, left)
            now = time.monotonic()
            if ended is None and process.poll() is not None:
                ended = now
            if ended is not None and now - ended > EOF_GRACE:
                break
            if end is not None and now > end:
                raise TimeoutError
    _wait(process, end)
    out, err = (bytes(output) for output in outputs.values())
    return out, err


def _feed(selector: selectors.BaseSelector, process: Popen[bytes], data: memoryview) -> memoryview:
    """Begin to give, without waiting: the tool may wait meanwhile for its output to be read."""
    import selectors

    if process.stdin is not None:
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
    return data


def _give(selector: selectors.BaseSelector, process: Popen[bytes], data: memoryview) -> memoryview:
    """Write what the pipe takes; what is left. A tool that does not read the rest does not want it."""
    if process.stdin is None:
        return data
    with suppress(BlockingIOError):
        try:
            data = data[os.write(process.stdin.fileno(), data) :] if data else data
        except BrokenPipeError:
            data = data[:0]
    if not data:
        selector.unregister(process.stdin)
        with suppress(BrokenPipeError):
            process.stdin.close()
    return data


def _wait(process: Popen[bytes], end: float | None) -> None:
    import subprocess

    try:
        process.wait(None if end is None else max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None

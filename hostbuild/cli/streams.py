"""The three standard streams, as callers may leave them: closed, full, or with nobody at the other end."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from hostbuild.errors import HostbuildError


class Forgiving:
    """A text stream whose failures are nobody's business: what cannot be said is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written; the text's length."""
        try:
            self._stream.write(text)
        except BlockingIOError:  # a full pipe that does not wait: the next line may fit again
            pass
        except (OSError, ValueError):
            self._give_up()
        return len(text)

    def flush(self) -> None:
        """Write what was held back."""
        try:
            self._stream.flush()
        except BlockingIOError:
            pass
        except (OSError, ValueError):
            self._give_up()

    def _give_up(self) -> None:
        """Into nothing from now on: Python would else fail at its end, for what it still holds back."""
        try:
            discard(self._stream)
        except (OSError, ValueError):  # closed: nothing is held back
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def settle() -> None:
    """Make standard error safe to write to, and take the numbers 0 to 2, which no opened file may get."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    if sys.stderr is None:  # closed by the caller: what would be said there is lost
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", write_through=True)
    if not isinstance(sys.stderr, Forgiving):
        sys.stderr = cast("TextIO", Forgiving(sys.stderr))


def discard(stream: TextIO) -> None:
    """What this stream holds back, and all that is written to it later, goes nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    finally:
        os.close(null)


def write_output(text: str) -> None:
    """Write to standard output, at once or later. Raises as `finish_output` does."""
    with _refusal_explained():
        sys.stdout.write(text)


def finish_output() -> None:
    """Write out what standard output holds back: Python must not find at its end that it cannot be written.

    Raises BrokenPipeError where nobody reads, else HostbuildError.
    """
    with _refusal_explained():
        sys.stdout.flush()


@contextmanager
def _refusal_explained() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        discard(sys.stdout)
        raise HostbuildError(
            "cannot write to standard output",
            why=error.strerror or str(error),
            fix="what was to be done is done; see that what standard output goes to takes the answer",
        ) from None


def flush_or_discard(stream: TextIO) -> None:
    """After a failure: what cannot be written is dropped, or Python would fail for it at its end."""
    try:
        stream.flush()
    except (OSError, ValueError):
        discard(stream)

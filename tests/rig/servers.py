"""Servers that tests start: ready before use, and ended afterwards even when pytest itself is killed."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

_KEEPER = Path(__file__).with_name("keeper.py")
_READY_SECONDS = 60
_END_SECONDS = 20


class Server:
    """A program that serves; `log` is the file that takes all it prints. A context manager."""

    def __init__(
        self, argv: Sequence[str | Path], log: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self._ended = False
        with log.open("wb") as output:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", _KEEPER, *argv],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment,
                process_group=0,  # a Ctrl-C at the tests ends them, and their end ends this
            )

    @property
    def pid(self) -> int:
        """The keeper's pid; the program is its only child."""
        return self._keeper.pid

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the program has printed something that matches."""
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            code = self._keeper.poll()
            text = self.log.read_text(errors="replace")
            if found := re.search(pattern, text):
                return found
            assert code is None, f"the server ended with code {code}:\n{text}"
            assert time.monotonic() < deadline, f"the server did not print {pattern!r}:\n{text}"
            time.sleep(0.01)

    def stop(self) -> None:
        """End the program and wait until it is gone; again is harmless."""
        if self._ended:
            return
        self._ended = True
        assert self._keeper.stdin is not None
        with suppress(BrokenPipeError):
            self._keeper.stdin.close()
        self._keeper.wait(timeout=_END_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

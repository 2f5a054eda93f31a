"""`--progress rawjson`: one JSON object a line on standard error. docs/progress.md tells its form."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from hostbuild.cli.failures import clean
from hostbuild.cli.pace import Pace
from hostbuild.model import Event

#: Seconds between two `progress` lines of one step.
_BETWEEN = 0.2


class RawJsonDisplay:
    """Writes every event as it comes; `progress` at most a few times a second."""

    def __init__(
        self, stream: IO[str], *, quiet: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._quiet = quiet
        self._pace = Pace(_BETWEEN, clock)

    def show(self, event: Event) -> None:
        """Write the event's line."""
        if self._quiet or (event.kind == "progress" and not self._pace.lets(event)):
            return
        write_line(self._stream, event.kind, event.message, event.platform, event.data)

    def close(self) -> None:
        """Nothing is left to do."""


def write_line(
    stream: IO[str],
    kind: str,
    message: str,
    platform: str,
    data: Mapping[str, Any],
    *,
    now: Callable[[], float] = time.time,
) -> None:
    """Write one object in ASCII, whole, and nothing else on its line."""
    line = {
        "time": _rfc3339(now()),
        "kind": kind,
        "message": clean(message),
        "platform": platform,
        "data": _cleaned(data),
    }
    stream.write(json.dumps(line, default=str) + "\n")
    stream.flush()


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {str(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


def _rfc3339(seconds: float) -> str:
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1000):03}Z"

"""A disk that fails at a chosen call of a real run of the command, in its workers too.

By wrapping Python's own calls in hostbuild's processes (disk_shim/sitecustomize.py), not by a library to
preload: that needs no compiler, tells each call by the place in hostbuild that makes it, and leaves git and
the Go compiler alone, whose way with a broken disk is theirs.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_SHIM = Path(__file__).with_name("disk_shim")
Mode = Literal["once", "again", "stays"]


@dataclass(frozen=True, order=True)
class Call:
    """One kind of call: the function, where in hostbuild it is made, and a `path` it was made for."""

    function: str
    site: str
    path: str = ""

    @property
    def kind(self) -> tuple[str, str]:
        """What tells it from others."""
        return self.function, self.site


@dataclass(frozen=True)
class Fault:
    """The `nth` such call in a process fails with `code`.

    `mode`: "once" only this one; "again" each one at this place from then on; "stays" all that would change
    something on the disk from then on.
    """

    call: Call
    code: int = errno.ENOSPC
    mode: Mode = "once"
    nth: int = 1


@dataclass(frozen=True)
class FaultyDisk:
    """Faults on all that lies `below` these directories; `log` is a file that the runs write."""

    log: Path
    below: tuple[Path, ...]

    def environment(self, fault: Fault | None = None) -> dict[str, str]:
        """What to add to the command's environment: to record its calls, or to have one fail."""
        plan: dict[str, object] = {
            "log": str(self.log),
            "below": [os.path.realpath(each) for each in self.below],
        }
        if fault is not None:
            plan["fault"] = {
                "function": fault.call.function,
                "site": fault.call.site,
                "errno": fault.code,
                "mode": fault.mode,
                "nth": fault.nth,
            }
        self.log.unlink(missing_ok=True)
        return {"FAULTY_DISK": json.dumps(plan), "PYTHONPATH": str(_SHIM)}

    def calls(self) -> list[Call]:
        """The calls that the last run made, each kind once; with a fault, those that failed first."""
        found: dict[tuple[str, str], Call] = {}
        for call in self._read():
            found.setdefault(call.kind, call)
        return list(found.values())

    def _read(self) -> Iterable[Call]:
        text = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        for line in text.splitlines():
            yield Call(**json.loads(line))

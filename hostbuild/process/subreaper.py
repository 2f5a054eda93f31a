"""Adopting orphans: what a killed worker's tools left becomes a child of the command line, not of init.

For the command line only: a library does not change whose children the processes of its host program are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def become_subreaper() -> bool:
    """Let orphaned descendants become children of this process; whether the system can do that (Linux)."""
    if sys.platform != "linux":
        return False
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return bool(prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def reap(pids: Iterable[int]) -> set[int]:
    """Reap those of `pids` that ended and were adopted; returns them.

    Only the named ones, never "any child": that would steal the exit status of a child of somebody else.
    """
    reaped = set()
    for pid in pids:
        try:
            found, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # not adopted: init has it
            continue
        if found:
            reaped.add(pid)
    return reaped

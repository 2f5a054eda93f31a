"""A pid and a mount namespace for a whole run, so that it sees, judges and kills nothing else's processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence

from tests.rig.oci_tools import tool

_INSIDE = "HOSTBUILD_TORTURE_INSIDE"


def is_inside() -> bool:
    """Whether this process was started by `enter`."""
    return _INSIDE in os.environ


def enter(script: str, arguments: Sequence[str]) -> None:
    """Become the same command in namespaces of its own, with a /proc of its own. Does not return.

    All that is started there ends with it, however that happens.
    """
    user = () if os.geteuid() == 0 else ("--user", "--map-current-user")
    prefix = (tool("unshare"), *user, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
    argv = [*prefix, sys.executable, script, *arguments]
    os.execve(argv[0], argv, {**os.environ, _INSIDE: "1"})


def as_child_of_init(work: Callable[[], int]) -> int:
    """Run `work` in a child, and be the namespace's init meanwhile: what lost its parents is reaped here."""
    os.environ.pop(_INSIDE)
    child = os.fork()
    if child == 0:
        return work()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)

"""Runs the command line with a hook at one crash point, in this process and in its workers.

    python -P crash_hook.py PLAN ARGUMENT…

PLAN is a JSON object:

- `point`, the name, and `action`, what happens there: kill (SIGKILL to the process that reached it), group
  (to its whole process group), stop (SIGSTOP), or the number of an error to raise as OSError;
- `role`, "command" or "worker" where only one of them is meant, and `skip`, how often it is passed before;
- `witness`, a file that gets a line `NAME PID ROLE` when it happens; with the action "trace" of every point;
- `rename_only`, whether two names are renamed one by one, as where the system cannot exchange them.

Nothing of hostbuild knows of this: it is the test that runs the command by way of this file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any


def install(plan: dict[str, Any], role: str) -> None:
    """Have it happen in this process."""
    from hostbuild import points

    left = [int(plan["skip"])]
    lock = threading.Lock()
    action = plan["action"]

    def hook(name: str) -> None:
        if action == "trace":
            _witness(plan, name, role)
            return
        if name != plan["point"] or plan["role"] not in ("", role):
            return
        with lock:
            left[0] -= 1
            if left[0] != -1:  # passed over, or it has happened
                return
            _witness(plan, name, role)
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "group":
            os.killpg(0, signal.SIGKILL)
        elif action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            raise OSError(int(action), os.strerror(int(action)))

    points.set_hook(hook)


def _witness(plan: dict[str, Any], name: str, role: str) -> None:
    descriptor = os.open(plan["witness"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{name} {os.getpid()} {role}\n".encode())
    finally:
        os.close(descriptor)


def _reach_workers(plan: dict[str, Any]) -> None:
    """Workers are new interpreters: they run this file too, before they begin."""
    from hostbuild.process import workers

    path = os.path.abspath(__file__)
    first, separator, rest = workers._BOOTSTRAP.partition("; from hostbuild.process.worker import")
    assert separator, "the worker's bootstrap has another form: see hostbuild/process/workers.py"
    own = f"; scope = {{'__name__': 'crash_hook'}}; exec(open({path!r}).read(), scope)"
    own += f"; scope['install']({plan!r}, 'worker')"
    workers._BOOTSTRAP = first + own + separator + rest


def _rename_only() -> None:
    from hostbuild.store import publish, staging

    for module in (publish, staging):
        module.__dict__["exchange_names"] = lambda one, other: False


def main() -> int:
    """Be the command."""
    plan = json.loads(sys.argv.pop(1))
    install(plan, "command")
    _reach_workers(plan)
    if plan["rename_only"]:
        _rename_only()
    from hostbuild.__main__ import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())

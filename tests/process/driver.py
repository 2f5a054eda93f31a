# A program without `if __name__ == "__main__"` that uses the library, for the tests of signals.
# Arguments: how it takes signals (plain, handlers, subreaper), the name of the tasks' script, and the owner
# that its tools are marked with.
from __future__ import annotations

import os
import signal
import sys

from hostbuild.errors import HostbuildError
from hostbuild.model import Event
from hostbuild.process.marks import Marks
from hostbuild.process.supervisor import run_tasks
from tests.process import helpers
from tests.process.tasks import task

mode, script, owner = sys.argv[1:]


class Interrupted(BaseException):
    pass


def interrupt(number: int, _frame: object) -> None:
    raise Interrupted(number)


def on_event(event: Event) -> None:
    if event.kind == "output":
        print(event.message, flush=True)


if mode == "handlers":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
if mode == "subreaper":
    from hostbuild.process.subreaper import become_subreaper

    become_subreaper()

scripts = {
    "stubborn": helpers.STUBBORN,
    "polite": helpers.POLITE,
    "forking": helpers.FORKING,
    "quick": "echo tool is up",
}
tasks = [task("run_script", scripts[script], label) for label in ("linux/amd64", "linux/arm64")]
try:
    results = run_tasks(
        tasks,
        jobs=2,
        on_event=on_event,
        timeout=None,
        environment=dict(os.environ),
        marks=Marks(owner=owner),
    )
except (HostbuildError, KeyboardInterrupt, Interrupted) as error:
    print("outcome", type(error).__name__, error, flush=True)
else:
    print("outcome", results, flush=True)

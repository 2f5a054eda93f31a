"""A signal in the middle of an import must not leave a module's lock taken."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys
from hostbuild.cli import signals
signals.install()
sys.path.insert(0, sys.argv[1])
try:
    import slow
    import time
    time.sleep(30)
except signals.InterruptedBySignal as interruption:
    assert slow.finished, "raised inside the import"
    sys.exit(interruption.exit_code)
"""
MODULE = """
import os, signal, time
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.1)
finished = True
"""


def test_a_signal_waits_for_the_end_of_an_import(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(MODULE)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (143, "")


LATE = """
import os, signal, sys, threading
from hostbuild.cli import main, signals
from hostbuild.cli.main import run

def finish():
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))

if sys.argv[1] == "import":
    signals._importing = lambda frame: True  # the command ends before the signal is looked at again
    main.finish_output = finish
elif sys.argv[1] == "error":
    main.say, said = (lambda failure, as_json: (finish(), said(failure, as_json=as_json))), main.say
code = run(["status", sys.argv[3]])
finish()
sys.exit(code)
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_in_the_last_moments_is_too_late(number: str) -> None:
    """The timer that waits for the end of an import does not outlive the handlers."""
    done = subprocess.run(
        [sys.executable, "-c", LATE, "import", number, "/"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_signal_while_an_error_is_told_is_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE, "error", "SIGTERM", "/nowhere"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 143
    assert "interrupted by SIGTERM" in done.stderr
    assert "Traceback" not in done.stderr


FINALISED = """
import os, signal, sys, time
from hostbuild.cli import signals
signals.install()

class Dropped:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)

try:
    Dropped()
    time.sleep(30)
except signals.InterruptedBySignal as interruption:
    time.sleep(0.05)
    sys.exit(interruption.exit_code)
"""


def test_a_signal_is_not_lost_where_exceptions_are() -> None:
    """Python swallows what is raised in a finaliser, and so the Ctrl-C of a user."""
    argv = [sys.executable, "-c", FINALISED]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (143, "")


TWO = """
import os, signal, sys, time
from hostbuild.cli import signals
signals.install()
signal.pthread_sigmask(signal.SIG_BLOCK, signals._SIGNALS)
for name in ("SIGTERM", "SIGINT", "SIGHUP"):
    os.kill(os.getpid(), getattr(signal, name))
try:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals._SIGNALS)
    time.sleep(30)
except signals.InterruptedBySignal:
    time.sleep(0.05)
    sys.exit(3)
"""


def test_signals_that_come_together_are_one() -> None:
    argv = [sys.executable, "-c", TWO]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (3, "")

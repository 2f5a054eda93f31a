"""A signal in the middle of an import must not leave a module's lock taken."""

import subprocess
import sys
from pathlib import Path

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

from __future__ import annotations

import subprocess
import sys

from hostbuild.process.subreaper import reap

from .helpers import Word, wait_until

_CODE = """
import os, subprocess, sys, time
from hostbuild.process.subreaper import become_subreaper, reap
assert become_subreaper()
own = subprocess.Popen(["/bin/sh", "-c", "exit 7"])
middle = subprocess.Popen(["/bin/sh", "-c", "sleep 0.2 & echo $!"], stdout=subprocess.PIPE, text=True)
orphan = int(middle.communicate()[0])
end = time.monotonic() + 30
reaped = set()
while not reaped and time.monotonic() < end:
    reaped = reap([orphan, 1])
    time.sleep(0.01)
print(reaped == {orphan}, own.wait(), middle.wait())
"""


def test_adopted_orphans_are_reaped_by_pid_and_own_children_keep_their_status() -> None:
    output = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=False)
    assert output.stdout == "True 7 0\n", output.stderr


def test_what_still_runs_is_not_reaped() -> None:
    word = Word()
    process = subprocess.Popen(["sleep", "300"], env=word.environment())
    assert reap([process.pid]) == set()
    process.kill()
    wait_until(lambda: not word.carriers())
    assert process.wait() == -9

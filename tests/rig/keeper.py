"""Run a command that ends when whoever started this ends, however that happens.

`python keeper.py COMMAND …`: standard input is a pipe whose other end the starter holds. When it closes (on
purpose, or because the starter was killed) the command is killed. Only the standard library is used, so that
it starts in a moment and needs nothing of the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading


def main() -> None:
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=lambda: os._exit(child.wait() & 0xFF), daemon=True).start()
    sys.stdin.buffer.read()
    child.kill()
    child.wait()


if __name__ == "__main__":
    main()

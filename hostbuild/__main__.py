"""The command `hostbuild`, and `python -m hostbuild`."""

from __future__ import annotations

import gc
import sys

#: Objects until the garbage collector looks: what a command makes lives until it ends, nearly all of it, and
#: looking after every few hundred is a tenth of a build with nothing to do.
_OBJECTS = 20_000


def main() -> int:
    """Run the command line of this process; the exit code."""
    if sys.platform == "win32":
        sys.stderr.write("error: hostbuild does not run on Windows; use it in WSL\n")
        return 2
    if sys.argv[1:] == ["--version"] and _says_version():
        return 0
    gc.set_threshold(_OBJECTS)
    from hostbuild.cli.main import run

    return run(sys.argv[1:])


def _says_version() -> bool:
    """Asked by scripts, often: nothing else is loaded for it. Where it cannot be said, `run` tells why."""
    from hostbuild.version import VERSION

    if sys.stdout is None:
        return False
    try:
        sys.stdout.write(f"hostbuild {VERSION}\n")
        sys.stdout.flush()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())

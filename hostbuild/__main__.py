"""The command `hostbuild`, and `python -m hostbuild`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line of this process; the exit code."""
    if sys.platform == "win32":
        sys.stderr.write("error: hostbuild does not run on Windows; use it in WSL\n")
        return 2
    if sys.argv[1:] == ["--version"]:  # asked by scripts, often: nothing else is loaded for it
        from hostbuild.version import VERSION

        sys.stdout.write(f"hostbuild {VERSION}\n")
        return 0
    from hostbuild.cli.main import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

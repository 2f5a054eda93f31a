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

        try:
            sys.stdout.write(f"hostbuild {VERSION}\n")
            sys.stdout.flush()
        except OSError as error:
            from hostbuild.cli.streams import discard

            discard(sys.stdout)
            sys.stderr.write(f"error: standard output cannot be written: {error.strerror}\n")
            return 1
        return 0
    from hostbuild.cli.main import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

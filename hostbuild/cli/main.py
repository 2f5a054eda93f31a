"""Runs one command line: parses it, calls the command, turns errors into a few lines and an exit code."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable

from hostbuild.cli import signals
from hostbuild.cli.arguments import help_text, parse
from hostbuild.errors import EXIT_FAILED, EXIT_USAGE, HostbuildError

_BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell reports it


def run(argv: list[str]) -> int:
    """Run the command; the exit code. Nothing but SystemExit of argparse is raised."""
    signals.install()
    if sys.stderr is None:  # closed by the caller: what would be said there is lost
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
    if sys.stdout is None:
        _say("error: standard output is closed\n  fix: redirect it, as in >/dev/null")
        return EXIT_FAILED
    if not argv:
        sys.stderr.write(help_text())
        return EXIT_USAGE
    verbose = False
    try:
        arguments = parse(argv)
        verbose = arguments.verbose
        return _finished(_command(arguments.command)(arguments))
    except signals.InterruptedBySignal as interruption:
        _say(f"interrupted by {interruption.name}; nothing half-made is left")
        return interruption.exit_code
    except HostbuildError as error:
        say_error(error, verbose=verbose)
        return error.exit_code
    except BrokenPipeError:
        # What reads our output has gone; Python must not try to flush into it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except OSError as error:
        _say(f"error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        _say("  why: the system refused it")
        _say("  fix: see that the path is there, that you may use it, and that its disk is not full")
        if verbose:
            _traceback(error)
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the last resort: a defect of ours, said in one line
        _say(f"error: {type(error).__name__}: {error}")
        _say("  why: this is a defect of hostbuild")
        _say("  fix: run it again with -v and report what it prints")
        if verbose:
            _traceback(error)
        return EXIT_FAILED


def _finished(code: int) -> int:
    """Output that cannot be written is an error, and not one that Python finds when it ends."""
    sys.stdout.flush()
    return code


def say_error(error: HostbuildError, *, verbose: bool) -> None:
    """Print what happened, why, what a tool said, and what to do, on standard error."""
    named = error.platform and error.platform not in error.what
    where = f"{error.platform}: " if named else ""
    _say(f"error: {where}{error.what}")
    if error.why:
        _say(f"  why: {error.why}")
    if error.detail:
        _say(error.detail.rstrip("\n"))
    if error.fix:
        _say(f"  fix: {error.fix}")
    if verbose:
        _traceback(error)


def _command(name: str) -> Callable[[Namespace], int]:
    if name == "build":
        from hostbuild.cli.build_command import run_build

        return run_build
    if name == "status":
        from hostbuild.cli.status_command import run_status

        return run_status
    from hostbuild.cli.clean_command import run_clean

    return run_clean


def _say(line: str) -> None:
    sys.stderr.write(f"{printable(line)}\n")


def printable(text: str) -> str:
    """Text that any terminal can print: what is not UTF-8, or moves the cursor, is escaped."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    return "".join(char if char in "\n\t" or char.isprintable() else ascii(char)[1:-1] for char in safe)


def _traceback(error: BaseException) -> None:
    import traceback

    traceback.print_exception(error, file=sys.stderr)

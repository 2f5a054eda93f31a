"""Runs one command line: parses it, calls the command, turns errors into a few lines and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from hostbuild.cli import signals
from hostbuild.cli.failures import Failure, say, wants_json
from hostbuild.cli.streams import discard, finish_output, flush_or_discard, settle
from hostbuild.errors import EXIT_FAILED, EXIT_USAGE, HostbuildError

if TYPE_CHECKING:
    from argparse import Namespace

_BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell reports it


def run(argv: list[str]) -> int:
    """Run the command; the exit code. Nothing but SystemExit of argparse is raised."""
    signals.install()
    try:
        code = _run(argv)
        signals.end()
    except signals.InterruptedBySignal as interruption:  # as an error was being told, or in the last moment
        say(_interrupted(interruption), as_json=wants_json(argv, os.environ))
        return interruption.exit_code
    return code


def _run(argv: list[str]) -> int:
    settle()
    as_json = wants_json(argv, os.environ)
    if sys.stdout is None:
        say(Failure("standard output is closed", fix="redirect it, as in >/dev/null"), as_json=as_json)
        return EXIT_FAILED
    if not argv:
        from hostbuild.cli.arguments import help_text

        sys.stderr.write(help_text())
        return EXIT_USAGE
    failure: Failure | None = None
    verbose = False
    try:
        from hostbuild.cli.arguments import parse

        arguments = parse(argv)
        verbose = arguments.verbose
        code = _runner(arguments.runner)(arguments)
        finish_output()
    except signals.InterruptedBySignal as interruption:
        failure = _interrupted(interruption)
    except BrokenPipeError:
        discard(sys.stdout)  # what reads our output has gone; Python must not try to flush into it once more
        return _BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the last resort: a defect of ours, said in one line
        failure = _failure(error, verbose=verbose)
    if failure is None:
        return code
    flush_or_discard(sys.stdout)
    say(failure, as_json=as_json)
    return failure.exit_code


def _interrupted(interruption: signals.InterruptedBySignal) -> Failure:
    return Failure(
        f"interrupted by {interruption.name}",
        why="nothing half-made is left",
        exit_code=interruption.exit_code,
        interrupted=True,
    )


def _failure(error: Exception, *, verbose: bool) -> Failure:
    if isinstance(error, HostbuildError):
        failure = Failure.of(error)
    elif isinstance(error, OSError):
        from hostbuild.store.failures import explain_any

        failure = Failure.of(explain_any(error))
    else:
        failure = Failure(
            f"{type(error).__name__}: {error}",
            why="this is a defect of hostbuild",
            fix="run it again with -v and report what it prints",
        )
    if not verbose:
        return failure
    import traceback

    return failure._replace(trace="".join(traceback.format_exception(error)))


def _runner(place: str) -> Callable[[Namespace], int]:
    """The function that `module:function` names."""
    from importlib import import_module

    module, _, function = place.partition(":")
    runner: Callable[[Namespace], int] = getattr(import_module(module), function)
    return runner

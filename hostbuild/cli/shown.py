"""The display that a command line asks for, with what every command says first."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hostbuild.cli.commands import PROGRESS
from hostbuild.cli.progress import Display, OnceDisplay, choose
from hostbuild.errors import UsageError
from hostbuild.model import Event
from hostbuild.settings.load import unknown_variables

if TYPE_CHECKING:
    from argparse import Namespace


def progress_of(arguments: Namespace) -> str:
    """--progress, else HOSTBUILD_PROGRESS, else auto. Raises UsageError for what is none of them."""
    progress: str = arguments.progress or os.environ.get("HOSTBUILD_PROGRESS") or "auto"
    if progress not in PROGRESS:
        raise UsageError(f"HOSTBUILD_PROGRESS is {progress!r}", fix=f"set it to one of {', '.join(PROGRESS)}")
    return progress


def is_json(arguments: Namespace) -> bool:
    """Whether standard error is for programs: nothing but JSON lines goes there. Raises UsageError."""
    return progress_of(arguments) == "rawjson"


@contextmanager
def shown(arguments: Namespace) -> Iterator[Display]:
    """The display, which is closed at the end; unknown variables are warned of first. Raises UsageError."""
    display = OnceDisplay(
        choose(
            progress_of(arguments),
            sys.stderr,
            quiet=arguments.quiet,
            verbose=arguments.verbose,
            environ_term=os.environ.get("TERM", ""),
        )
    )
    for warning in unknown_variables(os.environ):
        display.show(Event("warning", warning))
    try:
        yield display
    finally:
        display.close()

"""`hostbuild build`: a request out of flags and files, a display, and one line on standard output."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from dataclasses import replace

from hostbuild.build import build
from hostbuild.cli.arguments import given_settings
from hostbuild.cli.progress import Display, choose
from hostbuild.errors import UsageError
from hostbuild.model import Event
from hostbuild.settings.load import load_request


def run_build(arguments: Namespace) -> int:
    """Build, print `NAME@sha256:…`, and return 0. Raises HostbuildError."""
    request = load_request(arguments.directory, given_settings(arguments), os.environ)
    request = replace(request, log_entries=arguments.verbose)
    display = _display(arguments)
    try:
        result = build(request, _Teller(display))
    finally:
        display.close()
    sys.stdout.write(f"{result.reference}\n")
    return 0


class _Teller:
    """Passes events on; when there is work, this process adopts what its workers may leave."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def __call__(self, event: Event) -> None:
        if event.data.get("step") == "build":
            from hostbuild.process.subreaper import become_subreaper

            become_subreaper()
        self._display.show(event)


def _display(arguments: Namespace) -> Display:
    progress = arguments.progress or os.environ.get("HOSTBUILD_PROGRESS") or "auto"
    if progress not in {"auto", "plain", "quiet"}:
        raise UsageError(f"HOSTBUILD_PROGRESS is {progress!r}", fix="set it to auto, plain or quiet")
    return choose(
        progress,
        sys.stderr,
        quiet=arguments.quiet,
        verbose=arguments.verbose,
        environ_term=os.environ.get("TERM", ""),
    )

"""`hostbuild check`: what the image would lack, before anything is built."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hostbuild.cli.arguments import given_settings
from hostbuild.cli.parsed import ParsedFiles
from hostbuild.cli.shown import shown
from hostbuild.cli.streams import write_output
from hostbuild.errors import EXIT_FAILED
from hostbuild.settings.load import load_request

if TYPE_CHECKING:
    from argparse import Namespace

    from hostbuild.languages.base import Report


def run_check(arguments: Namespace) -> int:
    """Print what was found; 0, or 1 where something would not work. Raises HostbuildError."""
    from hostbuild.checking import check

    request = load_request(arguments.directory, given_settings(arguments), os.environ, parsed=ParsedFiles)
    with shown(arguments) as display:
        report = check(request, display.show)
    if arguments.json:
        import json

        document = {"ok": not report.findings, "summary": report.summary, **report.document}
        write_output(json.dumps(document, indent=2) + "\n")
    else:
        write_output(_text(report))
    return EXIT_FAILED if report.findings else 0


def _text(report: Report) -> str:
    lines = [report.summary, *(f"  {line}" for line in report.lines)]
    if report.document.get("missing"):
        return "".join(f"{line}\n" for line in lines)  # they say it, and what to do
    if report.findings:
        lines += ["", "would not work:"]
        lines += [f"  {each.subject}, {each.platform}: {each.message}" for each in report.findings]
    else:
        lines.append("nothing is missing")
    return "".join(f"{line}\n" for line in lines)

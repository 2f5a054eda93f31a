"""`hostbuild build`: a request out of flags and files, a display, and one line on standard output."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from hostbuild.build import build
from hostbuild.cli.arguments import given_settings
from hostbuild.cli.parsed import ParsedFiles
from hostbuild.cli.progress import Display
from hostbuild.cli.shown import is_json, shown
from hostbuild.cli.streams import write_output
from hostbuild.errors import UsageError
from hostbuild.model import BuildRequest, BuildResult, Event
from hostbuild.records import replace
from hostbuild.settings.load import load_request

if TYPE_CHECKING:
    from argparse import Namespace

    from hostbuild.cli.results import ResultFiles

_STANDARD_OUTPUT = "-"


def run_build(arguments: Namespace) -> int:
    """Build, print `NAME@sha256:…`, and return 0. Raises HostbuildError."""
    if arguments.json and not arguments.dry_run:
        raise UsageError(
            "--json goes with --dry-run only",
            fix="for what was built as JSON use --metadata-file FILE, for progress --progress rawjson",
        )
    request = load_request(arguments.directory, given_settings(arguments), os.environ, parsed=ParsedFiles)
    request = replace(request, log_entries=arguments.verbose)
    if arguments.dry_run:
        return _explain(request, arguments)
    to_stdout = any(output.destination == _STANDARD_OUTPUT for output in request.outputs)
    _refuse_streams(request)
    with shown(arguments) as display:
        files = _result_files(request, arguments)
        result = build(request, _Teller(display), stdout=sys.stdout.buffer if to_stdout else None)
    if files is not None:
        from hostbuild.cli.results import image_id_of, metadata_of

        files.write(
            metadata=metadata_of(result, request.outputs),
            image_id=image_id_of(result),
            digest=result.index_digest,
        )
    as_json = is_json(arguments)
    if as_json:
        _say_as_json(result, request)
    if not to_stdout:
        write_output(f"{result.reference}\n")
    elif not as_json:
        sys.stderr.write(f"{result.reference}\n")
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


def _say_as_json(result: BuildResult, request: BuildRequest) -> None:
    from hostbuild.cli.rawjson import write_line
    from hostbuild.cli.results import metadata_of

    write_line(sys.stderr, "result", result.reference, "", metadata_of(result, request.outputs))


def _explain(request: BuildRequest, arguments: Namespace) -> int:
    from hostbuild.build import explain

    with shown(arguments) as display:
        explanation = explain(request, display.show)
    if arguments.json:
        import json

        write_output(json.dumps(explanation.to_json(), indent=2) + "\n")
    else:
        write_output(explanation.to_text())
    return 0


def _refuse_streams(request: BuildRequest) -> None:
    """Refuse a terminal, and descriptors that are not open: later their numbers may be our own files'."""
    from hostbuild.descriptors import descriptor_of

    outputs = [
        output
        for output in request.outputs
        if output.destination == _STANDARD_OUTPUT
        or (output.destination and descriptor_of(output.destination) is not None)
    ]
    if outputs:
        from hostbuild.outputs import check_destinations

        check_destinations(outputs, stdout_is_terminal=sys.stdout.isatty())


def _result_files(request: BuildRequest, arguments: Namespace) -> ResultFiles | None:
    if not (arguments.metadata_file or arguments.iidfile or arguments.digestfile):
        return None
    from hostbuild.cli.results import ResultFiles

    files = ResultFiles.of(arguments)
    own = request.build_dir or os.path.join(request.root, ".func")
    files.prepare(request.outputs, private=(request.cache_dir, own))
    return files

"""`hostbuild push`: what lies on this machine, to registries, without building."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from hostbuild.cli.arguments import given_settings
from hostbuild.cli.results import ResultFiles
from hostbuild.cli.shown import is_json, shown
from hostbuild.cli.streams import write_output
from hostbuild.settings.load import load_access


def run_push(arguments: Namespace) -> int:
    """Push, print `NAME@sha256:…` of the first reference, and return 0. Raises HostbuildError."""
    from hostbuild.pushing import push_place

    # The source's own settings hold, as when it was built; a layout or an archive has none.
    is_source = os.path.isdir(arguments.place) and not os.path.lexists(
        os.path.join(arguments.place, "oci-layout")
    )
    references = tuple(arguments.references)
    access = load_access(
        references[0], given_settings(arguments), os.environ, root=arguments.place if is_source else ""
    )
    files = ResultFiles.of(arguments)
    with shown(arguments) as display:
        files.prepare()
        pushed = push_place(
            arguments.place, references, access, by_digest=arguments.push_by_digest, on_event=display.show
        )
    first = pushed[0]
    digest = str(first.digest)
    files.write(metadata={}, image_id="", digest=digest)
    line = f"{first.reference.familiar_name}@{digest}"
    if is_json(arguments):
        from hostbuild.cli.rawjson import write_line

        data = [
            {
                "reference": str(each.reference),
                "digest": str(each.digest),
                "status": each.status,
                "sent": each.bytes_sent,
            }
            for each in pushed
        ]
        write_line(sys.stderr, "result", line, "", {"pushed": data})
    write_output(f"{line}\n")
    return 0

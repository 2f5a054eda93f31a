"""`hostbuild index create`: one index of images that registries have, as `buildx imagetools create` makes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from hostbuild.cli.arguments import given_settings
from hostbuild.cli.directories import own_places
from hostbuild.cli.results import ResultFiles
from hostbuild.cli.shown import is_json, shown
from hostbuild.cli.streams import write_output
from hostbuild.errors import UsageError
from hostbuild.settings.load import default_cache_dir, load_access

if TYPE_CHECKING:
    from argparse import Namespace


def run_index_create(arguments: Namespace) -> int:
    """Join, push, print `NAME@sha256:…` (with --dry-run the index), and return 0. Raises HostbuildError."""
    target, tags, sources = targets_and_sources(arguments)
    from hostbuild.joining import create_index
    from hostbuild.oci.reference import Reference

    access = load_access(target, given_settings(arguments), os.environ)
    files = ResultFiles.of(arguments)
    with shown(arguments) as display:
        if not arguments.dry_run:
            files.prepare(private=own_places())
        joined = create_index(
            target,
            sources,
            access,
            tags=tags,
            annotations=tuple(arguments.annotations),
            dry_run=arguments.dry_run,
            cache_dir=os.environ.get("HOSTBUILD_CACHE_DIR") or default_cache_dir(os.environ),
            on_event=display.show,
        )
    if arguments.dry_run:
        write_output(joined.data.decode("utf-8") + "\n")
        return 0
    digest = str(joined.digest)
    files.write(metadata={}, image_id="", digest=digest)
    line = f"{Reference.parse_tagged(target).familiar_name}@{digest}"
    if is_json(arguments):
        from hostbuild.cli.rawjson import write_line

        names = [str(each.reference) for each in joined.pushed]
        write_line(sys.stderr, "result", line, "", {"digest": digest, "references": names})
    write_output(f"{line}\n")
    return 0


def targets_and_sources(arguments: Namespace) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The index's name, its further names, and the images: with --tag every word is an image.

    Raises UsageError where no image is named.
    """
    words = tuple(arguments.words)
    target, *tags = arguments.names or words[:1]
    sources = words if arguments.names else words[1:]
    if not sources:
        raise UsageError(
            f"hostbuild index create: {target!r} would be an index of nothing",
            fix="name the images after it: hostbuild index create TARGET SOURCE…",
        )
    return target, tuple(tags), sources

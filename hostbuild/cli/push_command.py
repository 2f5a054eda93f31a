"""`hostbuild push`: what lies on this machine, to registries, without building."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hostbuild.cli.arguments import given_settings
from hostbuild.cli.directories import own_places
from hostbuild.cli.results import ResultFiles
from hostbuild.cli.shown import is_json, shown
from hostbuild.cli.streams import write_output
from hostbuild.errors import LocalImageError, UsageError
from hostbuild.settings.load import load_access, load_cache
from hostbuild.settings.outputs import has_tag, without_tag

if TYPE_CHECKING:
    from argparse import Namespace

_KINDS = ("oci", "oci-archive", "docker-archive")


def run_push(arguments: Namespace) -> int:
    """Push, print `NAME@sha256:…` of the first reference, and return 0. Raises HostbuildError."""
    from hostbuild.pushing import push_place

    place, is_image = place_of(arguments.place)
    # The source's own settings hold, as when it was built; a layout or an archive has none.
    is_source = (
        not is_image and os.path.isdir(place) and not os.path.lexists(os.path.join(place, "oci-layout"))
    )
    references = tuple(arguments.references)
    if arguments.push_by_digest:
        _refuse_tagged(references)
    access = load_access(
        references[0], given_settings(arguments), os.environ, root=place if is_source else ""
    )
    files = ResultFiles.of(arguments)
    with shown(arguments) as display:
        files.prepare(private=own_places(place if is_source else ""))
        cache_dir, _, _ = load_cache({}, os.environ, place) if is_source else ("", None, None)
        pushed = push_place(
            place,
            references,
            access,
            by_digest=arguments.push_by_digest,
            cache_dir=cache_dir,
            on_event=display.show,
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


def place_of(text: str) -> tuple[str, bool]:
    """PLACE without the prefix that --base has, and whether there was one: then it is an image, no source.

    Raises LocalImageError where the prefix says something else than what is there.
    """
    kind, colon, rest = text.partition(":")
    if not colon or not rest or kind not in _KINDS:
        return text, False
    from hostbuild.local import guess_kind

    # An archive of both kinds is taken for that of a layout, which has all platforms.
    if (found := guess_kind(rest)) != kind and (found, kind) != ("oci-archive", "docker-archive"):
        raise LocalImageError(f"{rest!r} is no {kind}", fix=f"write {found}:{rest}, or {rest} alone")
    return rest, True


def _refuse_tagged(references: Sequence[str]) -> None:
    for name in references:
        if has_tag(name):
            raise UsageError(
                f"--push-by-digest gives the image no tag, and {name!r} names one",
                fix=f"write {without_tag(name)}; `hostbuild index create {name} …` gives the tag later",
            )

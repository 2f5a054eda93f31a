"""`hostbuild clean`: what dead builders left, and old builds, go; living ones stay."""

from __future__ import annotations

import os
from argparse import Namespace

from hostbuild.cli.directories import build_directory, own_places
from hostbuild.cli.sizes import human_size
from hostbuild.cli.streams import write_output
from hostbuild.errors import UsageError
from hostbuild.housekeeping import clean_cache, is_free, ran_here
from hostbuild.process.liveness import end_orphans, find_orphans
from hostbuild.store.cache import Cache
from hostbuild.store.report import Removal


def run_clean(arguments: Namespace) -> int:
    """Clean, print what was removed and why; 0. Raises HostbuildError."""
    if arguments.keep < 0:
        raise UsageError(f"--keep {arguments.keep} is negative", fix="write 0 or more")
    dry = arguments.dry_run
    builds = build_directory(arguments)
    lines = []
    for orphan in find_orphans(is_free) if dry else end_orphans(is_free):
        verb = "would end" if dry else "ended"
        lines.append(f"{verb} {orphan.command} (pid {orphan.identity.pid}): a killed build had left it")
    removed = _clean_cache(dry=dry)
    report = builds.clean(ran_here, keep=arguments.keep, dry_run=dry)
    verb = "would remove" if dry else "removed"
    removed += report.removed
    lines += [f"{verb} {each.path} ({human_size(each.size)}): {each.why}" for each in removed]
    lines += [f"left {each.path} ({human_size(each.size)}): {each.why}" for each in report.left]
    free = "would come free" if dry else "came free"
    size = sum(each.size for each in removed)
    lines.append(f"{human_size(size)} {free}" if removed else "nothing to remove")
    if not arguments.quiet:
        write_output("".join(f"{line}\n" for line in lines))
    return 0


def _clean_cache(*, dry: bool) -> list[Removal]:
    """What killed writers left in the cache that this environment names."""
    (root,) = own_places()
    return list(clean_cache(Cache(root), dry_run=dry)) if os.path.isdir(root) else []

"""`hostbuild clean`: what dead builders left, and old builds, go; living ones stay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from hostbuild.cli.directories import Skipped, build_directories, own_places, plain
from hostbuild.cli.sizes import human_size
from hostbuild.cli.streams import write_output
from hostbuild.errors import EXIT_FAILED, HostbuildError, UsageError
from hostbuild.housekeeping import clean_cache, is_free, ran_here
from hostbuild.process.liveness import Marked, end_orphans, find_orphans
from hostbuild.settings.quantities import parse_age
from hostbuild.store.cache import Cache
from hostbuild.store.finding import stranger_of
from hostbuild.store.report import CleanReport, Removal

if TYPE_CHECKING:
    from argparse import Namespace

_KEEP = 5


class Rule(NamedTuple):
    """What the flags ask for: the arguments of `BuildDir.clean`."""

    keep: int
    older_than: float | None
    everything: bool


class Cleaned(NamedTuple):
    """All that was done. `failed` are build directories that could not be cleaned, `skipped` others."""

    ended: list[Marked]
    cache: list[Removal]
    reports: dict[str, CleanReport]
    failed: list[Skipped]
    skipped: list[Skipped]

    @property
    def removed(self) -> list[Removal]:
        """What is gone, or would be."""
        return self.cache + [each for report in self.reports.values() for each in report.removed]

    @property
    def size(self) -> int:
        """Bytes that came free."""
        return sum(each.size for each in self.removed)


def run_clean(arguments: Namespace) -> int:
    """Clean, print what was removed and why; 0, or 1 where one of several directories could not be cleaned.

    Raises HostbuildError.
    """
    rule = _rule(arguments)
    directories, skipped = build_directories(arguments)
    dry = arguments.dry_run
    ended = find_orphans(is_free) if dry else end_orphans(is_free)
    done = Cleaned(ended, _clean_cache(dry=dry), {}, [], skipped)
    for builds in directories:
        root = builds.places.root
        try:
            if arguments.under and (uid := stranger_of(builds.places)) is not None:
                why = f"it belongs to another user (uid {uid}), who cleans it"
                done.skipped.append(Skipped(root, why))
                continue
            done.reports[root] = builds.clean(ran_here, **rule._asdict(), dry_run=dry)
        except (HostbuildError, OSError) as error:
            if not arguments.under:
                raise
            done.failed.append(Skipped(root, str(error)))
    if arguments.json:
        import json

        write_output(json.dumps(_document(done, dry=dry), indent=2) + "\n")
    elif not arguments.quiet:
        lines = _lines(done, dry=dry, headings=bool(arguments.under))
        write_output("".join(f"{line}\n" for line in lines))
    return EXIT_FAILED if done.failed else 0


def _rule(arguments: Namespace) -> Rule:
    """With an age or --all no build stays for being among the newest, unless --keep says how many."""
    keep, everything = arguments.keep, arguments.all
    if keep is not None and keep < 0:
        raise UsageError(f"--keep {keep} is negative", fix="write 0 or more")
    if keep and everything:
        raise UsageError(f"--all and --keep {keep} exclude each other", fix="leave one of them out")
    age = None if arguments.older_than is None else parse_age(arguments.older_than, "--older-than")
    if keep is None:
        keep = 0 if everything or age is not None else _KEEP
    return Rule(keep, age, everything)


def _clean_cache(*, dry: bool) -> list[Removal]:
    """What killed writers left in the cache that this environment names."""
    (root,) = own_places()
    if not os.path.isdir(root):
        return []
    with Cache(root) as cache:
        return list(clean_cache(cache, dry_run=dry))


def _lines(done: Cleaned, *, dry: bool, headings: bool) -> Iterator[str]:
    verb, end = ("would remove", "would end") if dry else ("removed", "ended")
    for orphan in done.ended:
        pid = orphan.identity.pid
        yield f"{end} {plain(orphan.command)} (pid {pid}): a killed build had left it"
    for each in done.cache:
        yield _line(verb, each)
    for directory, report in done.reports.items():
        if headings:
            yield f"{plain(directory)}:"
        indent = "  " if headings else ""
        for each in report.removed:
            yield indent + _line(verb, each)
        for each in report.left:
            yield f"{indent}left {plain(each.path)}: {plain(each.why)}"
        if headings and not report.removed and not report.left:
            yield f"{indent}nothing to remove"
    for skip in done.failed:
        yield f"failed {plain(skip.path)}: {plain(skip.why)}"
    for skip in done.skipped:
        yield f"skipped {plain(skip.path)}: {plain(skip.why)}"
    if done.removed:
        yield f"{human_size(done.size)} {'would come free' if dry else 'came free'}"
    elif not any(report.left for report in done.reports.values()):
        yield "nothing to remove"


def _line(verb: str, removal: Removal) -> str:
    return f"{verb} {plain(removal.path)} ({human_size(removal.size)}): {plain(removal.why)}"


def _document(done: Cleaned, *, dry: bool) -> dict[str, Any]:
    return {
        "dryRun": dry,
        "directories": list(done.reports),
        "ended": [
            {"command": each.command, "pid": each.identity.pid, "owner": each.marks.owner}
            for each in done.ended
        ],
        "removed": [each._asdict() for each in done.removed],
        "left": [each._asdict() for report in done.reports.values() for each in report.left],
        "failed": [each._asdict() for each in done.failed],
        "skipped": [each._asdict() for each in done.skipped],
        "size": done.size,
    }

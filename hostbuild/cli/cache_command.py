"""`hostbuild cache dir`, `info`, `verify` and `prune`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hostbuild.cli.arguments import given_settings
from hostbuild.cli.directories import plain
from hostbuild.cli.sizes import human_size
from hostbuild.cli.streams import write_output
from hostbuild.errors import UsageError
from hostbuild.housekeeping import clean_cache, goals_of
from hostbuild.settings.load import load_cache
from hostbuild.store.cache import Cache

if TYPE_CHECKING:
    from argparse import Namespace

    from hostbuild.store.inventory import Inventory, Tally
    from hostbuild.store.pruning import Goals, Pruned, PruneReport
    from hostbuild.store.report import Removal
    from hostbuild.store.verifying import Damage, VerifyReport

_AGES = (("days", 86400), ("hours", 3600), ("minutes", 60))


def run_dir(arguments: Namespace) -> int:
    """Print the path; 0. Raises SettingsError."""
    directory, _, _ = load_cache(given_settings(arguments))
    write_output(f"{os.path.abspath(directory)}\n")
    return 0


def run_info(arguments: Namespace) -> int:
    """Print what the cache holds; 0. Raises HostbuildError."""
    from hostbuild.store.inventory import take_inventory

    directory, max_used, min_free = load_cache(given_settings(arguments))
    cache = _open(directory, arguments)
    if cache is None:
        return 0
    found = take_inventory(cache)
    goals = goals_of(max_used, min_free, cache.root)
    if arguments.json:
        _write_json(_info_object(cache.root, found, goals))
    else:
        write_output("".join(f"{line}\n" for line in _info_lines(cache.root, found, goals)))
    return 0


def run_verify(arguments: Namespace) -> int:
    """Print what is damaged; 0 when nothing damaged is left, else 1. Raises HostbuildError."""
    from hostbuild.images import processors
    from hostbuild.store.verifying import verify

    directory, _, _ = load_cache(given_settings(arguments))
    cache = _open(directory, arguments)
    if cache is None:
        return 0
    report = verify(cache, threads=processors(), repair=arguments.repair)
    if arguments.json:
        _write_json(_verify_object(cache.root, report))
    elif not arguments.quiet or report.damaged:
        write_output("".join(f"{line}\n" for line in _verify_lines(report)))
    return 0 if report.is_good else 1


def run_prune(arguments: Namespace) -> int:
    """Print what went, and why; 0. Raises HostbuildError."""
    from hostbuild.store.pruning import prune

    directory, max_used, min_free = load_cache(given_settings(arguments))
    asked = _asked_goals(arguments)
    cache = _open(directory, arguments)
    if cache is None:
        return 0
    dry = arguments.dry_run
    leftovers = clean_cache(cache, dry_run=dry)
    report = prune(cache, asked or goals_of(max_used, min_free, cache.root), dry_run=dry)
    if arguments.json:
        _write_json(_prune_object(cache.root, report, leftovers, dry=dry))
    elif not arguments.quiet:
        write_output("".join(f"{line}\n" for line in _prune_lines(report, leftovers, dry=dry)))
    return 0


def _open(directory: str, arguments: Namespace) -> Cache | None:
    """The cache, if there is one; else that is said. Nothing is created."""
    path = os.path.abspath(directory)
    if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
        return Cache(path)  # which refuses what is no cache
    if arguments.json:
        _write_json({"path": path, "exists": False})
    elif not arguments.quiet:
        write_output(f"there is no cache in {path}\n")
    return None


def _asked_goals(arguments: Namespace) -> Goals | None:
    """The goals of the flags; None without any. Raises SettingsError and UsageError."""
    from hostbuild.settings.quantities import parse_age
    from hostbuild.settings.table import size_or_none
    from hostbuild.store.pruning import Goals

    sizes = {
        name: size_or_none(text, f"--{name}")
        for name in ("max-used-space", "min-free-space")
        if (text := getattr(arguments, name.replace("-", "_"))) is not None
    }
    age = None if arguments.older_than is None else parse_age(arguments.older_than, "--older-than")
    if arguments.all and (sizes or age is not None):
        raise UsageError("--all removes all that is not in use", fix="leave the other goals out")
    if not (arguments.all or sizes or age is not None):
        return None
    return Goals(sizes.get("max-used-space", 0), sizes.get("min-free-space", 0), age, arguments.all)


def _info_lines(root: str, found: Inventory, goals: Goals) -> list[str]:
    used = f"{human_size(found.blobs.size + found.records.size)} used"
    most = f", at most {human_size(goals.max_used)} after a prune" if goals.max_used else ""
    least = f", at least {human_size(goals.min_free)} after a prune" if goals.min_free else ""
    pids = f" (pid {', '.join(found.claims)})" if found.claims else ""
    dead = f", and {found.dead_claims} of dead ones" if found.dead_claims else ""
    when = "never" if found.pruned is None else f"{_age(time.time() - found.pruned)} ago"
    return [
        f"{root}",
        f"  {used}{most}",
        f"  {human_size(found.free)} free on its disk{least}",
        f"  {_tally(found.blobs, 'blobs')}; image layouts share {_tally(found.linked, 'of them')}",
        f"  {_tally(found.records, 'records')}",
        f"  {_tally(found.temp, 'temporary files')}",
        f"  {len(found.claims)} claims of running processes{pids}{dead}",
        f"  last pruned: {when}",
    ]


def _tally(found: Tally, what: str) -> str:
    return f"{found.number} {what}, {human_size(found.size)}"


def _info_object(root: str, found: Inventory, goals: Goals) -> dict[str, Any]:
    return {
        "path": root,
        "exists": True,
        "used": found.blobs.size + found.records.size,
        "free": found.free,
        "blobs": {"count": found.blobs.number, "size": found.blobs.size},
        "linked": {"count": found.linked.number, "size": found.linked.size},
        "records": {"count": found.records.number, "size": found.records.size},
        "temp": {"count": found.temp.number, "size": found.temp.size},
        "claims": {"live": list(found.claims), "dead": found.dead_claims},
        "budget": {"maxUsedSpace": goals.max_used or None, "minFreeSpace": goals.min_free or None},
        "pruned": None if found.pruned is None else _utc(found.pruned),
    }


def _verify_lines(report: VerifyReport) -> list[str]:
    lines = []
    for each in report.damaged:
        verb = "dropped" if each.dropped else "damaged"
        lines.append(f"{verb} {plain(each.path)} ({human_size(each.size)}): {each.why}{_shared(each)}")
    lines.append(
        f"{report.blobs} blobs, {human_size(report.size)}, read: "
        + (f"{len(report.damaged)} damaged" if report.damaged else "all are good")
    )
    if report.absent:
        lines.append(f"{report.absent} records name blobs that are not here; their builds make them anew")
    if report.records_dropped:
        lines.append(f"{report.records_dropped} records that named what was dropped were dropped too")
    if report.damaged:
        lines.append(
            "the next build makes what it needs of it anew"
            if report.is_good
            else "drop what is damaged with `hostbuild cache verify --repair`"
        )
    return lines


def _shared(damage: Damage) -> str:
    if not damage.links:
        return ""
    return f"; image layouts have {damage.links} hard links to these bytes: build those with --no-cache"


def _verify_object(root: str, report: VerifyReport) -> dict[str, Any]:
    return {
        "path": root,
        "exists": True,
        "blobs": report.blobs,
        "size": report.size,
        "damaged": [
            {
                "path": each.path,
                "digest": str(each.digest) if each.digest else None,
                "why": each.why,
                "size": each.size,
                "links": each.links,
                "dropped": each.dropped,
            }
            for each in report.damaged
        ],
        "recordsOfAbsentBlobs": report.absent,
        "recordsDropped": report.records_dropped,
    }


def _prune_lines(report: PruneReport, leftovers: Sequence[Removal], *, dry: bool) -> list[str]:
    verb = "would remove" if dry else "removed"
    now = time.time()
    lines = [f"{verb} {plain(each.path)} ({human_size(each.size)}): {each.why}" for each in leftovers]
    for each in report.removed:
        used = _age(now - each.used)
        lines.append(f"{verb} {each.path} ({human_size(each.size)}, last used {used} ago): {each.why}")
    size = report.size + sum(each.size for each in leftovers)
    freed = report.freed + sum(each.size for each in leftovers)
    if not (report.removed or leftovers):
        lines.append("nothing to remove")
    else:
        free = "would come free" if dry else "came free"
        shared = f"; image layouts hold {human_size(size - freed)} on" if size > freed else ""
        lines.append(f"{verb} {human_size(size)}, {human_size(freed)} {free}{shared}")
    if report.in_use:
        lines.append(f"{human_size(report.in_use)} stay: running builds use them")
    if "max-used-space" in report.unmet:
        lines.append(f"the cache still has {human_size(report.used)}: the rest is in use")
    if "min-free-space" in report.unmet:
        lines.append(f"still only {human_size(report.free)} of the disk are free: the cache cannot free more")
    return lines


def _prune_object(
    root: str, report: PruneReport, leftovers: Sequence[Removal], *, dry: bool
) -> dict[str, Any]:
    spare = [
        {"path": each.path, "kind": "leftover", "size": each.size, "freed": each.size, "why": each.why}
        for each in leftovers
    ]
    return {
        "path": root,
        "exists": True,
        "dryRun": dry,
        "removed": spare + [_removed(each) for each in report.removed],
        "size": report.size + sum(each.size for each in leftovers),
        "freed": report.freed + sum(each.size for each in leftovers),
        "used": report.used,
        "free": report.free,
        "inUse": report.in_use,
        "unmet": list(report.unmet),
    }


def _removed(each: Pruned) -> dict[str, Any]:
    return {
        "path": each.path,
        "kind": each.kind,
        "size": each.size,
        "freed": each.freed,
        "lastUsed": _utc(each.used),
        "why": each.why,
    }


def _age(seconds: float) -> str:
    """An age for people: 3 days, 5 hours, 90 minutes."""
    for unit, length in _AGES:
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} seconds"


def _utc(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def _write_json(document: dict[str, Any]) -> None:
    write_output(json.dumps(document, indent=2) + "\n")

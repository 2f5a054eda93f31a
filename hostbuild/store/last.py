"""The link `last`: it names the complete build that was started last, also when processes die.

Order is told by sequence numbers, given out under the short lock when a build starts (or when one is
found to be up to date: then it is the user's latest wish). Two things change: the link, and the number
of the build that it names. A crash can come between the two writes.

- Link first: the link names the new build, the number is the older one's. A build that was started in
  between would then move `last` back. That breaks the promise.
- Number first (what is done): the record names the new build, the link still the older one. The record
  names build and number together, and the build was published before, so whoever comes next under the
  lock sees a link that does not match the record and moves it to what the record says first.

The record is synced before the link changes, so that the order also holds when the machine crashes. A
record whose build is gone or damaged binds nobody: then `last` names nothing, and any build may take it.
"""

from __future__ import annotations

import json
import os

from hostbuild.errors import StoreError
from hostbuild.points import reach
from hostbuild.store.failures import Explaining
from hostbuild.store.locks import remove_file
from hostbuild.store.places import BUILD_ID, Places, number_of, read_json
from hostbuild.store.record import is_foreign, why_incomplete
from hostbuild.store.syncing import replace_file, swap_link


def named_build(places: Places) -> str:
    """The build ID that the link names, "" when none; whether that build is there is not looked at."""
    try:
        text = os.readlink(places.last)
    except OSError:  # absent, or not a link
        return ""
    directory, build_id = os.path.split(text)
    return build_id if directory == "by-hash" and BUILD_ID.match(build_id) else ""


def recorded_build(places: Places) -> tuple[str, int]:
    """The build ID and the number that `last` is to have: ("", 0) when none was recorded."""
    record = read_json(places.last_record)
    build_id = (record or {}).get("buildId")
    if not isinstance(build_id, str) or not BUILD_ID.match(build_id):
        return "", 0
    return build_id, number_of(record)


def set_last(places: Places, build_id: str, sequence: int) -> bool:
    """Make `last` name the complete build `build_id`, unless it names one that was started later.

    Whether it does name it now. Takes the short lock. Raises `StoreError`.
    """
    with places.short_lock(), Explaining("set the link to the last build", places.builds):
        return _set_locked(places, build_id, sequence)


def touch_last(places: Places, build_id: str) -> bool:
    """Make `last` name `build_id`, which the caller just found complete (`BuildDir.find`).

    When it does already and nothing is being built, nothing is written and no lock is taken: a build
    that starts after this look is a later one. Otherwise `build_id` gets a number of its own, so that
    a build that is still running does not take `last` from it. Raises `StoreError`.
    """
    with Explaining("look at the last build", places.builds):
        settled = named_build(places) == build_id == recorded_build(places)[0]
        if settled and not places.staged():
            return True
    places.prepare()
    with places.short_lock(), Explaining("set the link to the last build", places.builds):
        return _set_locked(places, build_id, places.next_sequence())


def settle(places: Places) -> None:
    """Finish what a process that was killed between record and link left, and drop a link to nothing.

    Only under the short lock. Raises `OSError`, `StoreError`.
    """
    wanted, _ = recorded_build(places)
    named = named_build(places)
    if wanted and wanted != named and not why_incomplete(places.build(wanted), wanted):
        swap_link(places.last, f"by-hash/{wanted}")
    elif named and why_incomplete(places.build(named), named) and not is_foreign(places.build(named)):
        remove_file(places.last)


def _set_locked(places: Places, build_id: str, sequence: int) -> bool:
    if reason := why_incomplete(places.build(build_id), build_id):
        raise StoreError(
            f"build {build_id[:12]} cannot become the last build",
            why=reason,
            fix="build again; another process may have cleaned it away",
        )
    settle(places)
    recorded, newest = recorded_build(places)
    if named_build(places) == recorded != "" and newest > sequence:
        return False
    record = {"buildId": build_id, "sequence": sequence}
    replace_file(places.last_record, json.dumps(record, sort_keys=True).encode() + b"\n")
    reach("last-before-link")
    if named_build(places) != build_id:
        swap_link(places.last, f"by-hash/{build_id}")
    os.utime(places.build(build_id))  # the newest builds are kept: newest by use, not by making
    return True

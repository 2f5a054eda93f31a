"""What lies in a build directory: looked at without a lock, and nothing is created or changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from hostbuild.oci.quoting import quote
from hostbuild.records import field, record
from hostbuild.store.failures import Explaining, explain_os_error
from hostbuild.store.last import named_build
from hostbuild.store.places import BUILD_ID, OWNER_LIMIT, Places, list_names, owner_is_alive, read_json
from hostbuild.store.record import is_foreign, why_incomplete
from hostbuild.store.trees import tree_size

State = Literal["running", "stale", "complete", "sparse", "damaged"]
#: No system gives a process a higher number.
_MAX_PID = 1 << 31


@record
class BuildState:
    """One build: `identity` is its builder's record (running, stale), `size` bytes, `since` epoch seconds.

    `last` tells that the link names it, `why` what is damaged. A record is what somebody wrote: it may lie.
    """

    state: State
    build_id: str
    path: str
    size: int
    since: float
    identity: Mapping[str, Any] = field(default_factory=dict)
    last: bool = False
    why: str = ""


def status(places: Places) -> list[BuildState]:
    """Running and stale builds, then complete, sparse and damaged ones, newest first. Creates nothing.

    What vanishes meanwhile is not told of. Raises `StoreError` where links or files stand in the place of
    hostbuild's directories, and where they cannot be read.
    """
    places.check(only_look=True)
    with Explaining("look into the build directory", places.builds):
        staged = [_staged_state(path) for path in places.staged()]
        named = named_build(places)
        built = [_built_state(used, build_id, path, named) for used, build_id, path in published(places)]
    return [state for state in staged + built if state is not None]


def _staged_state(path: str) -> BuildState | None:
    held = owner_is_alive(path)
    build_id, identity = owner_of(path)
    since = mtime_of(os.path.join(path, "owner.json"))
    if since is None:
        since = mtime_of(path)
    if since is None or not os.path.isdir(path):
        return None
    why = "" if held is not None else NO_LOCK
    return BuildState("running" if held else "stale", build_id, path, _size(path), since, identity, why=why)


def _built_state(since: float, build_id: str, path: str, named: str) -> BuildState | None:
    why = fault_of(path, build_id)
    whole = not why and not why_incomplete(path, build_id)
    if not os.path.isdir(path) or is_foreign(path):
        return None
    state: State = "damaged" if why else "complete" if whole else "sparse"
    return BuildState(state, build_id, path, _size(path), since, last=build_id == named, why=why)


def _size(path: str) -> int:
    """A tree's size; 0 for one that may not be looked into, which is no reason to show nothing."""
    try:
        return tree_size(path)
    except PermissionError:
        return 0


#: Why a build is left that cannot be judged.
UNREADABLE = "it may not be read"
#: Why a staged directory is left that no builder of ours can have made.
NO_LOCK = "its owner.lock is no plain file: not made by hostbuild"


def owner_of(staged: str) -> tuple[str, Mapping[str, Any]]:
    """The build ID and the builder's identity in `owner.json`; ("", {}) where it is no such record."""
    try:
        record = read_json(os.path.join(staged, "owner.json"), OWNER_LIMIT) or {}
    except OSError:  # a link, or another user's: whose it is stays unknown
        record = {}
    build_id, identity = record.get("buildId"), record.get("identity")
    return (
        build_id if isinstance(build_id, str) and BUILD_ID.match(build_id) else "",
        identity if isinstance(identity, dict) else {},
    )


def pid_of(identity: Mapping[str, Any]) -> int:
    """The pid in a builder's record, 0 where it is none."""
    pid = identity.get("pid")
    return pid if type(pid) is int and 0 < pid < _MAX_PID else 0


def host_of(identity: Mapping[str, Any]) -> str:
    """The host name in a builder's record, fit for a terminal."""
    host = identity.get("host")
    if not isinstance(host, str) or not host:
        return "unknown"
    return host if host.isprintable() and len(host) <= 64 else quote(host)


def fault_of(path: str, build_id: str) -> str:
    """Why the build at `path` is damaged, "" when it is not. Raises `OSError` where that cannot be known."""
    try:
        return why_incomplete(path, build_id, sparse=True)
    except PermissionError:
        return UNREADABLE
    except OSError as error:
        # A link in the place of one of its files, a name that no disk takes: nothing that hostbuild writes.
        return explain_os_error(error, "read", path).why


def published(places: Places) -> list[tuple[float, str, str]]:
    """(time of last use, build ID, path) of what lies in by-hash/, newest first."""
    found = []
    for name in list_names(places.by_hash):
        path = os.path.join(places.by_hash, name)
        used = mtime_of(path)
        if BUILD_ID.match(name) and used is not None:
            found.append((used, name, path))
    return sorted(found, reverse=True)


def mtime_of(path: str) -> float | None:
    """When it was changed, seconds since the epoch; None when it is not there."""
    try:
        return os.lstat(path).st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None

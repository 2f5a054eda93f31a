"""All build directories below a directory: for those who look after many sources on one machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from hostbuild.store.places import Places

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def find_build_directories(tree: str, on_skip: Callable[[str, str], object]) -> Iterator[Places]:
    """The build directories that hostbuild made below `tree` (a real path), or at it, sorted by their paths.

    They are told by what lies in them, whatever they are called. Links are not followed, other file systems
    not entered, nor `.git`, nor what lies in a build directory. `on_skip(path, why)` is called for each
    directory that cannot be looked into; what vanishes meanwhile is passed over.
    """
    device = os.stat(tree).st_dev
    pending = [tree]
    while pending:
        current = pending.pop()
        try:
            names = _directories_in(current, device)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:  # ELOOP: a link has taken its place since
            on_skip(current, error.strerror or str(error))
            continue
        if "builds" in names and (places := Places(current)).exist():
            yield places
            continue
        pending.extend(os.path.join(current, name) for name in sorted(names, reverse=True) if name != ".git")


def _directories_in(path: str, device: int) -> list[str]:
    """The names of the directories in `path`; none where it is on another device. Raises `OSError`."""
    descriptor = os.open(path, _OPEN)
    try:
        if os.fstat(descriptor).st_dev != device:
            return []
        with os.scandir(descriptor) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    finally:
        os.close(descriptor)


def stranger_of(places: Places) -> int | None:
    """The first other user (a uid) to whom one of its directories belongs, None where all are this user's.

    Who owns a directory can exchange what lies in it between a look and a removal. Raises `OSError`.
    """
    for path in (places.root, places.builds, places.by_hash, places.by_pid, places.staging, places.trash):
        try:
            uid = os.lstat(path).st_uid
        except FileNotFoundError:
            continue
        if uid != os.geteuid():
            return uid
    return None

"""Whether files are still what they were when somebody looked, judged after a tool has read them.

A tool reads the source by itself, later than the digests were taken out of which the key of its result is
made. What it made of an edited file must not be recorded under the key of the file as it was: it would be
taken out again when the edit is undone, a wrong image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from hostbuild.errors import SourceChangedError, SourceError
from hostbuild.source.digests import RACY_NS, FileDigests

#: What builds themselves make in the source.
_OURS = ".func"


def is_unchanged(root: str, files: Iterable[tuple[str, str]], since: int) -> bool:
    """Whether it is certain that a tool which read `files` since then found them as they were.

    `files` are paths relative to `root` and SHA-256 in hex, "" for what must be absent; `since` is when the
    first of them was looked at, in nanoseconds since the epoch. False where it cannot be told: one was
    written about that time, or something has come beside them that may mean something to the tool.

    Raises SourceChangedError where one of them is another or was written since, also where an edit was
    undone: the tool may have read it in between.
    """
    known = {os.path.normpath(os.path.join(root, name)): (name, digest) for name, digest in files}
    latest = 0
    digests = FileDigests()
    for path, (name, digest) in known.items():
        try:
            written = os.stat(path).st_ctime_ns if os.path.lexists(path) else 0
            same = bool(written) == bool(digest) and (not digest or digests.of(path) == digest)
        except (OSError, SourceError):
            same = False
        if not same or written > since + RACY_NS:
            raise SourceChangedError(
                f"{name} was edited while it was being built",
                why="a tool may have read it before or after",
                fix="build again when the source is at rest",
            )
        latest = max(latest, written)
    if latest >= since - RACY_NS:
        return False
    try:
        return all(_is_settled(folder, known, root, since) for folder in set(map(os.path.dirname, known)))
    except OSError:
        return False


def _is_settled(folder: str, known: Iterable[str], root: str, since: int) -> bool:
    """Nothing came to the directory: told by its time; in `root`, where builds make their own, by each's."""
    earliest = since - RACY_NS
    if os.stat(folder).st_ctime_ns < earliest:
        return True
    if folder != os.path.normpath(root):
        return False
    with os.scandir(folder) as entries:
        return all(
            entry.name == _OURS
            or entry.path in known
            or entry.stat(follow_symlinks=False).st_ctime_ns < earliest
            for entry in entries
        )

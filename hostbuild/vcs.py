"""What git knows of the source: when it was last changed, its version, and whether it is clean.

The facts are those of the last commit that touches the source directory, so that a commit elsewhere in
the repository changes nothing in the image. One exception: a tag on HEAD itself is the version, because
that is what a release is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

#: Runs a command in the source directory; its output, or None when it fails or is not there.
Capture = Callable[[Sequence[str]], "str | None"]

#: git refuses a repository of another owner, and must neither start a monitor nor write the index.
_SAFE = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false", "--no-optional-locks")


class History(NamedTuple):
    """`committed` is seconds since the epoch (None: no commit); the texts are "" where git knows none.

    `version` is as `git describe --tags` gives it; `revision` the short commit, with `-dirty` when the
    source differs from it.
    """

    committed: int | None = None
    version: str = ""
    revision: str = ""


def read_history(capture: Capture, *, git: str = "git", stamp: bool) -> History:
    """The history of the directory that `capture` runs in; without `stamp` the time only.

    No repository, no commit, no git: an empty history, never an error.
    """
    log = capture([git, *_SAFE, "log", "-1", "--no-show-signature", "--format=%ct %H %D", "--", "."])
    time, _, rest = (log or "").strip().partition(" ")
    if not time.isdigit():
        return History()
    commit, _, names = rest.partition(" ")
    if not stamp:
        return History(committed=int(time))
    version = ""
    if not names.startswith("HEAD"):
        version = _describe(capture, git, "--exact-match", "HEAD")
    version = version or _describe(capture, git, commit)
    status = capture([git, *_SAFE, "status", "--porcelain", "--untracked-files=normal", "--", "."])
    dirty = "-dirty" if status and status.strip() else ""
    return History(int(time), version, commit[:7] + dirty)


def _describe(capture: Capture, git: str, *what: str) -> str:
    found = capture([git, *_SAFE, "describe", "--tags", "--abbrev=7", *what])
    return (found or "").strip()

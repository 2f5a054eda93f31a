"""Named crash points: where a test stops or kills the process, and where nothing happens otherwise.

Every step between two states of the disk that a crash could separate calls `reach` with a name out of
`POINTS`. In production that is one comparison. There is no variable or file that turns it on: only a
test that calls `set_hook` inside the process does.
"""

from __future__ import annotations

from collections.abc import Callable

#: All names, with what the disk holds when the point is reached.
POINTS: dict[str, str] = {
    "blob-before-sync": "a temp file holds the whole blob, not synced",
    "blob-before-rename": "a temp file holds the verified, synced blob; its final name does not exist",
    "blob-after-rename": "the blob has its final name; the directory is not synced",
    "key-before-produce": "the lock of a key is held; nothing is made yet",
    "key-before-rename": "the blob is there, its key's record is in a temp file",
    "layout-before-index": "the layout holds its blobs, no index.json",
    "layout-complete": "the staged layout is whole and synced, not published",
    "publish-before-swap": "a complete staged directory beside its destination, the older one in place",
    "publish-after-swap": "the new directory in place, the older one under the staged name",
    "link-before-swap": "the new link has a temp name, the old link is in place",
    "build-locked": "the lock of a build ID is held; no staged directory",
    "stage-before-rename": "a staged directory has its lock and its owner's record, not yet its name",
    "stage-before-pid-link": "a staged directory has its name, the pid link is missing",
    "build-before-publish": "a complete build is staged, synced, not published",
    "build-after-aside": "a damaged older build of this ID is in the trash, the new one not yet in place",
    "publish-before-last": "the build is published, `last` names an older one",
    "last-before-link": "the record of `last` names the new build, the link the older one",
    "stage-before-removal": "the build is over, its staged directory and pid link are still there",
    "output-before-rename": "a tar that was asked for is whole and synced under a temporary name",
    "clean-before-trash": "clean decided to remove a directory and did not touch it yet",
    "clean-before-delete": "what clean removes is in the trash, whole",
}

_hooks: list[Callable[[str], None]] = []


def reach(name: str) -> None:
    """Tell the test that listens, if any, that the point `name` was reached."""
    for hook in _hooks:
        hook(name)


def set_hook(hook: Callable[[str], None] | None) -> None:
    """Call `hook` with the name of each point that is reached from now on; None ends it. For tests."""
    _hooks[:] = [] if hook is None else [hook]

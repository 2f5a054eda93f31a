"""Named crash points: where a test stops or kills the process, and where nothing happens otherwise.

Every step between two states of the disk that a crash could separate calls `reach` with a name out of
`POINTS`. In production that is one comparison. There is no variable or file that turns it on: only a
test that calls `set_hook` inside the process does.
"""

from __future__ import annotations

from collections.abc import Callable

#: All names, with what the disk holds when the point is reached.
POINTS: dict[str, str] = {
    # The cache.
    "cache-before-version": "a new cache has its directories, not its version file",
    "blob-partly-written": "a temp file holds the beginning of a blob",
    "blob-before-sync": "a temp file holds the whole blob, not synced",
    "blob-before-rename": "a temp file holds the verified, synced blob; its final name does not exist",
    "blob-after-rename": "the blob has its final name; the directory is not synced",
    "claim-made": "a process has its locked file in claims/ and has claimed nothing yet",
    "prune-before-remove": "prune holds the cache's lock and has decided to remove a blob or record",
    "prune-after-remove": "prune holds the cache's lock and has removed a blob or record",
    "repair-before-discard": "a damaged blob was found; neither it nor the records that name it are dropped",
    "key-before-produce": "the lock of a key is held; nothing is made yet",
    "key-before-rename": "the blob is there, its key's record is in a temp file",
    "base-layer-partly-fetched": (
        "a temp file holds the beginning of a base's layer; the registry sends the rest"
    ),
    "wheel-partly-fetched": "a temp file holds the beginning of a wheel; the index sends the rest",
    # Small files and links, wherever they are.
    "file-before-rename": (
        "a small file (version, sequence, last.json) has a temp name, an older one its name"
    ),
    "link-before-swap": "the new link has a temp name, the old link is in place",
    "link-after-swap": "the new link has its name; the directory is not synced",
    # The build directory.
    "build-locked": "the lock of a build ID is held; no staged directory",
    "stage-before-rename": "a staged directory has its lock and its owner's record, not yet its name",
    "stage-before-pid-link": "a staged directory has its name, the pid link is missing",
    "pid-link-before-rename": "the pid link has a temp name",
    "layout-partly-written": "the layout holds some of its blobs",
    "layout-before-index": "the layout holds its blobs, no index.json",
    "layout-complete": "the staged layout is whole and synced, not published",
    "build-before-publish": "a complete build is staged, synced, not published",
    "build-after-aside": "a damaged older build of this ID is in the trash, the new one not yet in place",
    "build-after-rename": (
        "the build has its name; the directory is not synced, an older one is where it was staged"
    ),
    "publish-before-last": "the build is published, `last` names an older one",
    "last-before-link": "the record of `last` names the new build, the link the older one",
    "stage-before-removal": "the build is over, its staged directory and pid link are still there",
    "stage-in-trash": "the build is over, what was staged is in the trash, its pid link is gone",
    "clean-before-trash": "clean decided to remove a directory and did not touch it yet",
    "clean-after-last": "clean removed the link `last`; the build that it named is in place, with its record",
    "clean-before-delete": "what clean removes is in the trash, whole",
    # Workers.
    "worker-started": "a worker process runs, and the supervisor gave it nothing to do yet",
    "worker-before-task": "a worker has its task and did nothing of it",
    "worker-before-answer": "all of a platform is in the cache, and only its worker knows",
    # What a user is given.
    "output-partly-written": "a file under a temporary name, or a pipe, has the beginning of a tar",
    "output-before-rename": "a tar that was asked for is whole and synced under a temporary name",
    "output-after-rename": "a tar has its name; the directory in which it was written is still beside it",
    "publish-before-swap": "a complete staged directory beside its destination, the older one in place",
    "publish-after-aside": (
        "where names cannot be exchanged: the older directory has a temporary name, the new "
        "one not yet its own"
    ),
    "publish-after-swap": "the new directory in place, the older one under the staged name",
    "user-file-before-rename": (
        "a small file of the user's (hostbuild.lock, a metadata or digest file) has a temporary name"
    ),
    "lockfile-after-write": "hostbuild.lock tells what the base's name means; nothing of the build is made",
    "login-before-rename": "the file of logins has a temporary name, an older one its name",
    # A registry.
    "upload-begun": "the registry has an upload with nothing in it",
    "upload-body-partly-sent": "some bytes of a blob are on their way in an upload",
    "upload-chunk-sent": "an upload has some chunks of a blob",
    "upload-before-commit": "an upload is open; the request that completes it was not sent",
    "upload-after-commit": "the repository has the blob; no manifest there names it",
    "upload-mounted": "the repository has the blob from another one; no manifest there names it",
    "manifest-before-put": "the repository has all that a manifest names, not the manifest",
    "manifest-after-put": "the repository has the manifest; what it stored is not checked",
    "push-before-root": "every repository has all but the image's root; no tag has moved",
    "tag-before-put": "the repository has the root by its digest, the tag is an older image's or nobody's",
    "tag-after-put": "the tag names the image; further tags do not yet",
    "referrers-before-put": (
        "a manifest with a subject is there, the index of the subject's referrers lacks it"
    ),
    "referrers-after-put": (
        "the index of the subject's referrers was written; whether another writer lost it is unknown"
    ),
}

_hooks: list[Callable[[str], None]] = []


def reach(name: str) -> None:
    """Tell the test that listens, if any, that the point `name` was reached."""
    for hook in _hooks:
        hook(name)


def set_hook(hook: Callable[[str], None] | None) -> None:
    """Call `hook` with the name of each point that is reached from now on; None ends it. For tests."""
    _hooks[:] = [] if hook is None else [hook]

"""What an operating system's refusal means to the user of the store."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from hostbuild.errors import StoreError

_FREE_SPACE = "free some space there, or choose another place with --cache-dir or --build-dir"
_OTHER_PLACE = "choose a directory that you can write with --cache-dir or --build-dir"
LOCAL_PLACE = "choose a directory on a local file system with --cache-dir or --build-dir"

#: errno -> (why, what to do)
_MEANING: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("no space is left on this file system", _FREE_SPACE),
    errno.EDQUOT: ("the disk quota is used up", _FREE_SPACE),
    errno.EFBIG: ("the file would be larger than the file size limit", "raise the limit (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", _OTHER_PLACE),
    errno.EACCES: ("permission is denied", _OTHER_PLACE),
    errno.EPERM: ("the operation is not permitted", _OTHER_PLACE),
    errno.EIO: ("the disk reported an input/output error", "check the disk (dmesg), then try again"),
    errno.ESTALE: ("the network file system lost this file", "try again, or use a local file system"),
    errno.EMFILE: ("this process has too many open files", "raise the limit (ulimit -n)"),
    errno.ENFILE: ("the system has too many open files", "close other programs, then try again"),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "choose a shorter path"),
    errno.ELOOP: ("a symbolic link stands where hostbuild's own file belongs", "remove the link"),
    errno.ENOTDIR: ("a file stands where a directory belongs", "remove the file, or choose another place"),
    errno.EISDIR: ("a directory stands where a file belongs", "remove it, or choose another place"),
    errno.EBUSY: ("it is a mount point or in use", "choose a directory inside it"),
    errno.ENOLCK: ("the file system has no working file locks", LOCAL_PLACE),
    errno.ENOSYS: ("the file system does not support this operation", LOCAL_PLACE),
    errno.ENOTSUP: ("the file system does not support this operation", LOCAL_PLACE),
    errno.ENOENT: (
        "it does not exist any more; another program may have removed it",
        "try again, and do not remove hostbuild's directories while it runs",
    ),
}


def explain_os_error(error: OSError, doing: str, path: str) -> StoreError:
    """The `StoreError` for `error`, which came while hostbuild was `doing` ("write a blob") at `path`.

    It names the path, the reason in plain words and what to do. `extra['errno']` and `extra['path']`
    keep the raw facts.
    """
    code = error.errno or 0
    why, fix = _MEANING.get(code, (error.strerror or str(error), "see that you may use it, then try again"))
    name = errno.errorcode.get(code, "")
    return StoreError(
        f'cannot {doing} in "{path}"', why=f"{why} ({name})" if name else why, fix=fix, errno=code, path=path
    )


def explain_any(error: OSError) -> StoreError:
    """The same for an error that nobody expected: all that is known is what it says itself."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if not name:
        what = error.strerror or str(error)
        return StoreError(what, why="the system refused it", fix="run it again with -v", errno=error.errno)
    found = explain_os_error(error, "use", name)
    found.what = f'cannot use "{name}"'
    return found


class Explaining:
    """Context manager that turns an `OSError` inside it into the `StoreError` of `explain_os_error`."""

    def __init__(self, doing: str, path: str | os.PathLike[str]) -> None:
        self._doing = doing
        self._path = os.fspath(path)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise explain_os_error(error, self._doing, self._path) from error

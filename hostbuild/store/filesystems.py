"""Whether a file system can hold a cache or a build directory: its locks must work, and reach everybody.

Without locks that exclude, two builders write to one name and a cleaner takes a live build for a dead one.
Two things go wrong in practice, and both are refused where a directory is made:

- Locks that are refused, or granted to two at once (some FUSE and cluster file systems): tried out.
- Locks that work among the processes of this machine only, on a file system that other machines mount too
  (NFS with `nolock`): no trial on one machine shows that, so the mount's options are read.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

from hostbuild.errors import StoreError
from hostbuild.store.failures import LOCAL_PLACE, Explaining

#: File system type -> options that keep flock(2) on this machine (nfs(5), mount.cifs(8), and the mount
#: options of lustre, gfs2 and ocfs2).
_LOCAL_LOCKS = {
    "nfs": ("nolock", "local_lock=flock", "local_lock=all"),
    "nfs4": ("local_lock=flock", "local_lock=all"),
    "cifs": ("nobrl",),
    "smb3": ("nobrl",),
    "lustre": ("localflock",),
    "gfs2": ("localflocks",),
    "ocfs2": ("localflocks",),
}
_MOUNTS = "/proc/self/mountinfo"


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo (proc(5)): device "major:minor", where, type, and all options."""

    device: str
    point: str
    kind: str
    options: frozenset[str]


def check_locks(directory: str) -> None:
    """Refuse `directory`, which exists, where locks in it would not do. Leaves nothing there.

    Raises `StoreError`, with the reason; also where nothing can be written.
    """
    option = local_locks(directory, read_mounts())
    if option:
        raise _refusal(directory, f"its file system is mounted with {option}: locks stay on this machine")
    with Explaining("try locks", directory):
        if not locks_exclude(directory):
            raise _refusal(directory, "its file system grants one lock to two at once")


def _refusal(directory: str, why: str) -> StoreError:
    return StoreError(f'cannot use "{directory}"', why=why, fix=LOCAL_PLACE, path=directory)


def locks_exclude(directory: str) -> bool:
    """Whether two open descriptions of one file exclude each other here, and free each other again.

    Raises `OSError` (ENOLCK: there are no locks).
    """
    import fcntl

    path = os.path.join(directory, f".locks.{os.urandom(8).hex()}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    one = os.open(path, flags, 0o600)
    try:
        other = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}:
                    raise
            else:
                return False
            fcntl.flock(one, fcntl.LOCK_UN)
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        finally:
            os.close(other)
    finally:
        os.close(one)
        os.unlink(path)


def local_locks(directory: str, mounts: Iterable[Mount]) -> str:
    """The mount option that keeps locks in `directory` on this machine; "" for none. Raises `StoreError`."""
    with Explaining("look at the file system", directory):
        number = os.stat(directory).st_dev
        real = os.path.realpath(directory)
    device = f"{os.major(number)}:{os.minor(number)}"
    # Where two were mounted over each other, the later line is what is seen.
    here = None
    for each in mounts:
        if each.device == device and _is_below(real, each.point):
            here = each if here is None or len(each.point) >= len(here.point) else here
    if here is None:
        return ""
    return next((option for option in _LOCAL_LOCKS.get(here.kind, ()) if option in here.options), "")


def mount_of(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount on which `path` lies, absolute and resolved; None where the list has none."""
    here = None
    for each in mounts:
        if _is_below(path, each.point) and (here is None or len(each.point) >= len(here.point)):
            here = each
    return here


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def read_mounts(path: str = _MOUNTS) -> list[Mount]:
    """The mounts that this process sees; none on systems without such a list."""
    if sys.platform != "linux":
        return []
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            lines = stream.readlines()
    except OSError:  # no /proc: the trial must do
        return []
    return [mount for line in lines if (mount := parse_mount(line)) is not None]


def parse_mount(line: str) -> Mount | None:
    """One line of mountinfo; None where it is not one.

    `36 35 98:0 /root /point rw,noatime shared:1 - nfs4 server:/share rw,local_lock=none`
    """
    words = line.split()
    if len(words) < 10 or "-" not in words[6:]:
        return None
    at = words.index("-", 6)
    if len(words) < at + 4:
        return None
    options = frozenset((*words[5].split(","), *words[at + 3].split(",")))
    return Mount(words[2], _unescaped(words[4]), words[at + 1], options)


def _unescaped(text: str) -> str:
    """With blanks, which the kernel writes as octal numbers."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text

"""Whose a directory is, and who else can change what is in it.

What hostbuild makes carries no group's or other's write permission, whatever the umask. So where others
can write, or are the owners, somebody else made the directory, or opened it.
"""

from __future__ import annotations

import os
import stat

from hostbuild.errors import StoreError


def check_owner(path: str, found: os.stat_result) -> None:
    """Refuse the directory `path` that another user owns, and take back what others may write.

    For directories in a project: the project is the user's, or what is built there is another's anyway. A
    file system that gives all files to one user or one mode (vboxsf, NFS with all_squash, a mounted Windows
    disk) is known by a trial, and is all right. Raises `StoreError`, `OSError`.
    """
    if found.st_uid != os.geteuid() and not _is_given_away(path, found.st_uid):
        raise StoreError(
            f'will not use "{path}"',
            why=f"it belongs to another user (uid {found.st_uid}, you are {os.geteuid()})",
            fix="remove it, or keep your builds elsewhere with --build-dir",
            path=path,
        )
    if found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX:
        os.chmod(path, stat.S_IMODE(found.st_mode) & ~0o022)


def _is_given_away(path: str, owner: int) -> bool:
    """Whether a new file there has this owner, too. A directory that cannot be written is another's."""
    trial = os.path.join(path, f".owner.{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(trial, flags, 0o600)
    except PermissionError:
        return False
    try:
        return os.fstat(descriptor).st_uid == owner
    finally:
        os.close(descriptor)
        os.unlink(trial)


def open_parent(path: str) -> str:
    """Another user's directory above `path` (links resolved) in which anybody may replace it; "" for none.

    Anybody who can write a directory that is not sticky can rename what is in it and put their own there.
    One's own such directory, and root's, were opened on purpose: continuous integration does that so that
    jobs of any user can work. Groups are trusted: many systems give each user one of their own. Raises
    `OSError`.
    """
    current = os.path.dirname(os.path.realpath(path))
    while True:
        found = os.stat(current)
        is_open = found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX
        if is_open and found.st_uid not in (0, os.geteuid()):
            return current
        above = os.path.dirname(current)
        if above == current:
            return ""
        current = above

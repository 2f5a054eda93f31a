"""Small durable writes: files that exist whole or not at all, links and directories that stay."""

from __future__ import annotations

import os
import stat

from hostbuild.points import reach
from hostbuild.store.failures import Explaining
from hostbuild.store.locks import remove_file


def sync_directory(directory: str) -> None:
    """Sync `directory`, so that a name in it survives a crash of the machine. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_small(path: str, limit: int) -> bytes | None:
    """The first `limit` bytes of the plain file `path`; None when it is absent or no plain file.

    Raises `OSError` otherwise, also (ELOOP) when it is a symbolic link.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        pieces = []
        while limit > 0 and (piece := os.read(descriptor, min(limit, 1 << 20))):
            pieces.append(piece)
            limit -= len(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def write_new_file(path: str, data: bytes, *, mode: int = 0o644, sync: bool = True) -> None:
    """Create `path` with `data`; it must not exist. The umask applies to `mode`. Raises `OSError`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if sync:
            os.fsync(descriptor)
    except BaseException:
        remove_file(path)
        raise
    finally:
        os.close(descriptor)


def replace_file(path: str, data: bytes, *, mode: int = 0o644, sync: bool = True) -> None:
    """Give `path` the content `data` at once, by a temp name beside it and rename. Raises `OSError`."""
    temp = temporary_name(path)
    write_new_file(temp, data, mode=mode, sync=sync)
    try:
        reach("file-before-rename")
        os.rename(temp, path)
    except BaseException:
        remove_file(temp)
        raise
    if sync:
        sync_directory(os.path.dirname(path))


def temporary_name(path: str) -> str:
    """A name beside `path` that nobody has: `.NAME.<16 hex>`."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.{os.urandom(8).hex()}")


def swap_link(link: str, target_text: str) -> None:
    """Make the symbolic link `link` read `target_text`, replacing an older one at once, and sync.

    A reader sees the older text or the new one, never nothing. Raises `StoreError`, also when
    something that is no link has the name.
    """
    directory = os.path.dirname(link)
    with Explaining(f'replace the link "{os.path.basename(link)}"', directory):
        if os.path.lexists(link) and not os.path.islink(link):
            raise FileExistsError(f"{link} is not a symbolic link")
        temp = temporary_name(link)
        os.symlink(target_text, temp)
        try:
            reach("link-before-swap")
            os.replace(temp, link)
        except BaseException:
            remove_file(temp)
            raise
        reach("link-after-swap")
        sync_directory(directory)


def begin_writing_back(descriptor: int, offset: int, length: int) -> None:
    """Have the system begin to write these bytes to the disk, without waiting; only a hint.

    On Linux the advice that they are not needed does that: dirty pages are written, and stay cached
    because they are dirty now.
    """
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)

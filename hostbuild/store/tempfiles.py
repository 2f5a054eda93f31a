"""Temp files and directories: private, locked while they are used, and cleaned when their user died."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hostbuild.patterns import late
from hostbuild.store.failures import explain_os_error
from hostbuild.store.locks import lock_descriptor, lock_new_file
from hostbuild.store.report import Removal

_OWNER = late(r"[A-Za-z0-9_-]{1,64}\Z")
_NAME = late(r"tmp\.([A-Za-z0-9_-]{1,64})\.[0-9a-f]{16}\Z")


class TempFile:
    """A new file with a random name in `directory`, open for writing, mode 0600, locked.

    `owner` is a text of letters, digits, `_` and `-` that names the writing process. Exactly one of
    `rename` and `discard` ends it; `discard` after `rename` does nothing.
    """

    def __init__(self, directory: str, owner: str) -> None:
        if not _OWNER.match(owner):
            raise ValueError(f"not an owner's token: {owner!r}")
        descriptor = None
        path = ""
        try:
            while descriptor is None:
                path = os.path.join(directory, f"tmp.{owner}.{os.urandom(8).hex()}")
                descriptor = lock_new_file(path)
        except OSError as error:
            raise explain_os_error(error, "make a temporary file", directory) from error
        self.path = path
        self.directory = directory
        self.descriptor = descriptor
        self._open = True
        self._named = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`. Raises `StoreError`."""
        view = memoryview(data).cast("B")
        try:
            while view:
                view = view[os.write(self.descriptor, view) :]
        except OSError as error:
            raise explain_os_error(error, "write a file", self.directory) from error

    def rename(self, destination: str) -> None:
        """Give the file its name `destination`, replacing what has it, and close it. Raises `OSError`."""
        os.rename(self.path, destination)
        self._named = False
        self.close()

    def close(self) -> None:
        """Close the descriptor, which also frees the lock. The file stays where it is."""
        if self._open:
            self._open = False
            os.close(self.descriptor)

    def discard(self) -> None:
        """Remove the file if it still has its temp name. Raises `StoreError`."""
        try:
            if self._named:
                self._named = False
                os.unlink(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise explain_os_error(error, "remove a temporary file", self.directory) from error
        finally:
            self.close()


@contextmanager
def temp_directory(directory: str, owner: str) -> Iterator[str]:
    """A new empty directory in `directory`, mode 0700, locked, and removed at the end with all in it.

    `owner` is as for `TempFile`. Raises `StoreError`.
    """
    from shutil import rmtree

    path = os.path.join(directory, f"tmp.{owner}.{os.urandom(8).hex()}")
    try:
        os.mkdir(path, 0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise explain_os_error(error, "make a temporary directory", directory) from error
    try:
        lock_descriptor(descriptor, path)
        yield path
    finally:
        rmtree(path, ignore_errors=True)  # what is left is cleaned as a dead user's is
        os.close(descriptor)


def clean_temp_files(
    directory: str, is_alive: Callable[[str], bool | None], *, dry_run: bool = False
) -> list[Removal]:
    """Remove temp files and directories of the dead: nobody holds their lock, and `is_alive(owner)` is False.

    `is_alive` gets the owner's token; True keeps the file (a file system whose locks do not reach the
    owner's host), and so does None (cannot be told). Other files are left alone. Raises `StoreError`.
    """
    removed: list[Removal] = []
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return removed
    except OSError as error:
        raise explain_os_error(error, "look for temporary files", directory) from error
    for name in names:
        match = _NAME.match(name)
        if match is None or is_alive(match.group(1)) is not False:
            continue
        path = os.path.join(directory, name)
        try:
            size = _remove_if_free(path, dry_run=dry_run)
        except FileNotFoundError:
            continue  # its writer or another cleaner was faster
        except OSError as error:
            raise explain_os_error(error, "remove a temporary file", directory) from error
        if size is not None:
            removed.append(Removal(path, "a temporary file of a process that ended", size))
    return removed


def _remove_if_free(path: str, *, dry_run: bool) -> int | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        is_directory = stat.S_ISDIR(found.st_mode)
        if not (is_directory or stat.S_ISREG(found.st_mode)) or not lock_descriptor(descriptor, path):
            return None
        size = _size_below(path) if is_directory else found.st_size
        if not dry_run:
            _remove(path, is_directory=is_directory)
        return size
    finally:
        os.close(descriptor)


def _remove(path: str, *, is_directory: bool) -> None:
    if not is_directory:
        os.unlink(path)
        return
    from shutil import rmtree

    rmtree(path)


def _size_below(path: str) -> int:
    """The bytes of the files in a directory; links count as themselves."""
    total = 0
    for folder, _, names in os.walk(path):
        total += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
    return total

"""Temp files: private, locked while they are written, and cleaned when their writer died."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable

from hostbuild.store.failures import explain_os_error
from hostbuild.store.locks import lock_descriptor, lock_new_file
from hostbuild.store.report import Removal

_OWNER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_NAME = re.compile(r"tmp\.([A-Za-z0-9_-]{1,64})\.[0-9a-f]{16}\Z")


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


def clean_temp_files(
    directory: str, is_alive: Callable[[str], bool | None], *, dry_run: bool = False
) -> list[Removal]:
    """Remove temp files whose writer is dead: nobody holds their lock, and `is_alive(owner)` is False.

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
        if not stat.S_ISREG(found.st_mode) or not lock_descriptor(descriptor, path):
            return None
        if not dry_run:
            os.unlink(path)
        return found.st_size
    finally:
        os.close(descriptor)

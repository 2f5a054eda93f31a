"""Reading the small files that settings stand in: plain files of a bounded size, nothing else."""

from __future__ import annotations

import os
import stat

from hostbuild.errors import SettingsError

_LIMIT = 1 << 20


def read_file(path: str) -> bytes | None:
    """The bytes of a file of settings, or None where there is none.

    Raises SettingsError for what is no plain file (a pipe or a device would be read for ever), for more
    than 1 MiB, and where it cannot be read.
    """
    name = os.path.basename(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):  # that there is no directory is said by who looks at it
        return None
    except OSError as error:
        raise _unreadable(name, error.strerror or str(error)) from None
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _unreadable(name, "it is not a plain file")
        try:
            data = stream.read(_LIMIT + 1)
        except OSError as error:
            raise _unreadable(name, error.strerror or str(error)) from None
    if len(data) > _LIMIT:
        raise _unreadable(name, "it has more than 1 MiB")
    return data


def _unreadable(name: str, why: str) -> SettingsError:
    return SettingsError(f"cannot read {name}", why=why, fix="make it a plain file that you can read")

"""A wheel written anew: the same files in an archive whose bytes depend on them alone.

What a build backend writes depends on the machine too: on its umask, and on how its zlib packs.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import TYPE_CHECKING

from hostbuild.wheels.record import write_record

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

    from hostbuild.wheels.wheel import Wheel, WheelFile

#: The tag of a wheel for every machine and every Python 3.
PURE = "py3-none-any"

_TAGS = re.compile(rb"^(?:Tag|Root-Is-Purelib):.*\r?\n", re.MULTILINE)
_PIECE = 1 << 20


def rewrite_wheel(wheel: Wheel, directory: str, *, epoch: int, as_pure: bool = False) -> str:
    """Write the wheel into `directory`, by its own name; gives the path.

    `epoch` is the time of all files (seconds since 1970, from 1980 on). With `as_pure` it becomes one for
    every machine, in name and in what it says of itself: the caller knows that it is. Signatures are left
    out.

    Raises WheelError where a file is not what RECORD says.
    """
    from zipfile import ZipFile

    # NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM: what comes before the tags may have two parts or three.
    stem = wheel.filename.removesuffix(".whl").rsplit("-", 3)[0]
    filename = f"{stem}-{PURE}.whl" if as_pure else wheel.filename
    path = os.path.join(directory, filename)
    rows = []
    with ZipFile(path, "w") as archive:
        for file in wheel.files:
            if as_pure and file.path == f"{wheel.info_dir}/WHEEL":
                data = _as_pure(wheel.read(file))
                rows.append((file.path, hashlib.sha256(data).hexdigest(), len(data)))
                archive.writestr(_member(file.path, epoch, executable=False), data)
            else:
                rows.append((file.path, file.digest, file.size))
                _copy(wheel, file, archive, epoch)
        record = f"{wheel.info_dir}/RECORD"
        archive.writestr(_member(record, epoch, executable=False), write_record(rows, record))
    return path


def _as_pure(data: bytes) -> bytes:
    """The file WHEEL, of a pure wheel."""
    kept = _TAGS.sub(b"", data if data.endswith(b"\n") else data + b"\n").rstrip(b"\r\n")
    return kept + f"\nRoot-Is-Purelib: true\nTag: {PURE}\n".encode()


def _copy(wheel: Wheel, file: WheelFile, archive: ZipFile, epoch: int) -> None:
    member = _member(file.path, epoch, executable=file.executable)
    member.file_size = file.size
    with wheel.open(file) as source, archive.open(member, "w") as target:
        while piece := source.read(_PIECE):
            target.write(piece)


def _member(path: str, epoch: int, *, executable: bool) -> ZipInfo:
    from zipfile import ZipInfo

    year, month, day, hour, minute, second = time.gmtime(max(epoch, 315532800))[:6]
    member = ZipInfo(path, (year, month, day, hour, minute, second))
    member.create_system = 3
    member.external_attr = (0o100755 if executable else 0o100644) << 16
    return member

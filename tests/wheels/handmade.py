"""Wheels made by hand: right ones, and ones that are wrong in one way."""

from __future__ import annotations

import base64
import hashlib
import stat
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

METADATA = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
FILENAME = "demo-1.0-py3-none-any.whl"
INFO = "demo-1.0.dist-info"
DATA = "demo-1.0.data"

Content = Mapping[str, bytes | str]


def row(name: str, data: bytes, algorithm: str = "sha256") -> str:
    """A line of RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).decode().rstrip("=")
    quoted = '"' + name.replace('"', '""') + '"' if set(',"\n\r') & set(name) else name
    return f"{quoted},{algorithm}={digest},{len(data)}\n"


def member(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    """The head of a member under just this name, which zipfile would clean."""
    info = zipfile.ZipInfo("x")
    info.filename = name
    info.external_attr = mode << 16
    info.create_system = 3
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def contents(
    files: Content, *, metadata: str = METADATA, wheel: str = WHEEL, info: str = INFO
) -> dict[str, bytes]:
    """The files and what belongs to a wheel, without RECORD."""
    texts: dict[str, bytes | str] = {**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": wheel}
    return {name: data.encode() if isinstance(data, str) else data for name, data in texts.items()}


def record_of(files: Mapping[str, bytes], info: str = INFO) -> str:
    return "".join(row(name, data) for name, data in files.items()) + f"{info}/RECORD,,\n"


def write_zip(path: Path, members: Sequence[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for head, data in members:
            archive.writestr(member(head) if isinstance(head, str) else head, data)
    return path


def make_wheel(
    directory: Path,
    files: Content,
    *,
    filename: str = FILENAME,
    metadata: str = METADATA,
    wheel: str = WHEEL,
    info: str = INFO,
    modes: Mapping[str, int] | None = None,
    record: str | None = None,
    extra: Sequence[tuple[zipfile.ZipInfo | str, bytes]] = (),
) -> Path:
    """A wheel with these files and all that belongs to one; `record` replaces RECORD, `extra` comes last."""
    whole = contents(files, metadata=metadata, wheel=wheel, info=info)
    record = record_of(whole, info) if record is None else record
    members: list[tuple[zipfile.ZipInfo | str, bytes]] = [
        (member(name, (modes or {}).get(name, stat.S_IFREG | 0o644)), data) for name, data in whole.items()
    ]
    members += [(f"{info}/RECORD", record.encode()), *extra]
    return write_zip(directory / filename, members)

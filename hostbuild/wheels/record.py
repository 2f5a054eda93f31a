"""RECORD: which files there are, with their digests and sizes; in a wheel, and where it is installed.

Sources: packaging.python.org, "Binary distribution format" (the .dist-info directory, signed wheel files) and
"Recording installed projects" (the RECORD file).
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
from collections.abc import Iterable
from typing import NamedTuple

#: Bytes of each digest that is as good as SHA-256 or better.
_LENGTHS = {"sha256": 32, "sha384": 48, "sha512": 64}

#: Files that RECORD says nothing about: itself, and what is signed after it.
UNLISTED = ("RECORD", "RECORD.jws", "RECORD.p7s")


class Row(NamedTuple):
    """A line of RECORD. `digest` is hex, "" with an empty algorithm; `size` is bytes or None."""

    path: str
    algorithm: str
    digest: str
    size: int | None


def parse_record(data: bytes) -> dict[str, Row]:
    """The rows by path. Raises ValueError, which says what is wrong (to follow the file's name)."""
    rows: dict[str, Row] = {}
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        for fields in reader:
            if not fields:
                continue
            row = _row(fields)
            if rows.setdefault(row.path, row) != row:
                raise ValueError(f"lists {row.path[:120]!r} twice, and not in the same way")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"cannot be understood: {error}") from error
    return rows


def _row(fields: list[str]) -> Row:
    if len(fields) != 3 or not fields[0]:
        raise ValueError(f"has a line that is not three fields: {','.join(fields)[:120]!r}")
    path, digest, size = fields
    shown = path[:120]
    if size and not (size.isascii() and size.isdecimal() and len(size) < 19):
        raise ValueError(f"gives {shown!r} the size {size[:40]!r}")
    algorithm, _, encoded = digest.partition("=")
    if not digest:
        return Row(path, "", "", int(size) if size else None)
    length = _LENGTHS.get(algorithm)
    if length is None:
        raise ValueError(f"gives {shown!r} a digest of {algorithm[:40]!r}, expected is sha256 or better")
    try:
        raw = base64.urlsafe_b64decode(encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4))
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != length:
        raise ValueError(f"gives {shown!r} a digest that is none")
    return Row(path, algorithm, raw.hex(), int(size) if size else None)


def write_record(files: Iterable[tuple[str, str, int]], own_path: str) -> bytes:
    """RECORD of what is installed: `files` are (path, SHA-256 in hex, bytes), `own_path` is RECORD's.

    The lines are in the order of the paths' bytes.
    """
    lines: list[tuple[str, str, str]] = [
        (path, "sha256=" + base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("="), str(size))
        for path, digest, size in files
    ]
    lines.append((own_path, "", ""))
    text = io.StringIO(newline="")
    lines.sort(key=lambda line: line[0].encode())
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()

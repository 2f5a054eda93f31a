"""Which names may stand in a wheel, and the errors that name the wheel and the member.

A name is judged as it stands: one that would have to be cleaned to be safe is refused, because two programs
clean it in two ways.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.errors import WheelError
from hostbuild.oci.quoting import quote

if TYPE_CHECKING:
    from packaging.tags import Tag

#: Bytes of one part of a path (Linux: NAME_MAX), bytes and parts of a whole one.
MAX_PART = 255
MAX_PATH = 1024
MAX_DEPTH = 64

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


class WheelName(NamedTuple):
    """What a wheel's file name says; `name` and `version` are normalised, `build` is () or (number, rest)."""

    name: str
    version: str
    build: tuple[()] | tuple[int, str]
    tags: frozenset[Tag]


def wheel_error(wheel: str, why: str, member: str = "", *, fix: str = "") -> WheelError:
    """The error for a wheel that cannot be used, because of the file `member` in it where one is to blame."""
    return WheelError(
        f"{quote(wheel)} cannot be used",
        why=f"its member {quote(member)} {why}" if member else why,
        fix=fix or "take another version of it, or tell those who made it",
        wheel=wheel,
        member=member,
    )


def file_name(origin: str) -> str:
    """The file name at the end of a path or a URL."""
    from urllib.parse import unquote, urlsplit

    if "://" in origin:
        return unquote(urlsplit(origin).path.rpartition("/")[2])
    return origin.rpartition("/")[2]


def parse_wheel_name(filename: str) -> WheelName:
    """What the file name says (binary distribution format, "File name convention"). Raises WheelError."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    if len(filename.encode("utf-8", "surrogatepass")) > MAX_PART:
        raise wheel_error(filename, f"its name is longer than {MAX_PART} bytes")
    try:
        name, version, build, tags = parse_wheel_filename(filename)
    except (InvalidWheelFilename, ValueError) as error:
        raise wheel_error(
            filename,
            f"its name is not that of a wheel: {str(error).partition(': ')[0].lower()}",
            fix="name it as it was published: NAME-VERSION-PYTHON-ABI-PLATFORM.whl",
        ) from error
    return WheelName(name, str(version), build, tags)


def why_unsafe(path: str) -> str:
    """Why no file of this name may come out of a wheel; "" for a name that is in order.

    `path` has `/`, and no slash at its end.
    """
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "has a name that is not Unicode"
    if size > MAX_PATH:
        return f"has a name of {size} bytes, more than {MAX_PATH}"
    if found := _CONTROL.search(path):
        return f"has a name with the character {found[0]!r} in it"
    if "\\" in path:
        return "has a name with a backslash"
    if path.startswith("/"):
        return "has an absolute name"
    if _DRIVE.match(path):
        return "has a name that begins with a drive letter"
    return _why_bad_parts(path)


def _why_bad_parts(path: str) -> str:
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        return f"has a name with {len(parts)} parts, more than {MAX_DEPTH}"
    for part in parts:
        if part in ("", ".", ".."):
            return f"has a name with the part {part!r}"
        if part.startswith(".wh."):  # image specification, layer.md: it would delete what lies below
            return f"has the name {part[:80]!r}, which deletes files in a layer"
        if len(part) > MAX_PART // 4 and len(part.encode()) > MAX_PART:
            return f"has a name with a part of more than {MAX_PART} bytes"
    return ""


def find_clash(paths: Iterable[str]) -> tuple[str, str] | None:
    """Two of the paths that cannot both be files, or None.

    They are the same; they differ in case or in how accents are written, which not every file system keeps
    apart; or one would have to be a directory for the other.
    """
    # With "/" as the lowest of all characters, what lies below a name comes right after it.
    keys = sorted((_fold(path).replace("/", "\0"), path) for path in paths)
    for (key, path), (following, other) in pairwise(keys):
        if following == key or following.startswith(key + "\0"):
            return path, other
    return None


def _fold(path: str) -> str:
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path.casefold())

"""One wheel, read and checked; nothing of it is unpacked on disk."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from hostbuild.oci.quoting import quote
from hostbuild.records import field, record
from hostbuild.wheels.archive import Member, open_archive, read_members
from hostbuild.wheels.members import open_member
from hostbuild.wheels.metadata import Command, Headers, commands, one, parse_entry_points, parse_headers
from hostbuild.wheels.names import WheelName, file_name, find_clash, parse_wheel_name, wheel_error, why_unsafe
from hostbuild.wheels.record import UNLISTED, Row, parse_record

if TYPE_CHECKING:
    from packaging.tags import Tag

#: Bytes that METADATA, WHEEL, entry_points.txt, RECORD may have.
MAX_TEXT = 32 << 20

_PIECE = 1 << 20


class WheelFile(NamedTuple):
    """A file in the wheel: `path` in it, `size` in bytes, SHA-256 in hex, whether it is marked executable."""

    path: str
    size: int
    digest: str
    executable: bool


@record
class Wheel:
    """A wheel whose names, metadata and RECORD are in order.

    `path` is where it lies, `filename` what it is called. `name` and `version` are normalised. `is_pure`:
    it says that it holds no machine code, and is for every platform. `info_dir` and `data_dir` are its two
    directories of fixed names, `data_dir` "" where it has none. `files` are in the order of their paths'
    bytes. `requires`, `requires_python` and `extras` are as METADATA has them. `entry_points` are by group
    and name.
    """

    path: str
    filename: str
    name: str
    version: str
    tags: frozenset[Tag]
    is_pure: bool
    info_dir: str
    data_dir: str
    files: tuple[WheelFile, ...] = field(repr=False)
    commands: tuple[Command, ...]
    requires: tuple[str, ...] = field(repr=False)
    requires_python: str
    extras: tuple[str, ...]
    entry_points: Mapping[str, Mapping[str, str]] = field(repr=False)
    _members: Mapping[str, Member] = field(repr=False, compare=False)

    def open(self, file: WheelFile) -> BinaryIO:
        """The file's bytes, in constant memory. Raises WheelError where they are not what RECORD says, as
        reading the stream does by its end.
        """
        return open_member(self.path, self.filename, self._members[file.path], file.digest)

    def read(self, file: WheelFile, limit: int = MAX_TEXT) -> bytes:
        """All bytes of a file. Raises WheelError, also where there are more than `limit`."""
        if file.size > limit:
            raise wheel_error(self.filename, f"has {file.size} bytes, more than {limit}", file.path)
        with self.open(file) as stream:
            return stream.read()


def read_wheel(path: str, origin: str) -> Wheel:
    """The wheel at `path`; its file name is the last part of `origin`, a name, a path or a URL.

    Every file is held against RECORD: that it is listed, and its size; its digest is checked when it is read.
    Raises WheelError for whatever is not as the format asks (binary distribution format, 1.x).
    """
    filename = file_name(origin)
    told = parse_wheel_name(filename)
    descriptor = open_archive(path, filename)
    try:
        members = read_members(descriptor, filename)
    finally:
        os.close(descriptor)
    reader = _Reader(path, filename, _by_name(members, filename))
    info_dir = reader.find_directory(told, ".dist-info")
    if not info_dir:
        raise wheel_error(filename, f"it has no directory {told.name}-{told.version}.dist-info")
    root_is_pure = reader.check_format(info_dir)
    headers = reader.headers(f"{info_dir}/METADATA")
    reader.check_identity(headers, told, f"{info_dir}/METADATA")
    entry_points = reader.entry_points(f"{info_dir}/entry_points.txt")
    data_dir = reader.find_directory(told, ".data")
    return Wheel(
        path=path,
        filename=filename,
        name=told.name,
        version=told.version,
        tags=told.tags,
        is_pure=root_is_pure and all(tag.platform == "any" for tag in told.tags),
        info_dir=info_dir,
        data_dir=data_dir,
        files=reader.files(info_dir),
        commands=reader.commands(entry_points, f"{info_dir}/entry_points.txt"),
        requires=headers.get("requires-dist", ()),
        requires_python=next(iter(headers.get("requires-python", ())), ""),
        extras=headers.get("provides-extra", ()),
        entry_points=entry_points,
        _members=reader.members,
    )


def _by_name(members: Sequence[Member], label: str) -> dict[str, Member]:
    for member in members:
        if unsafe := why_unsafe(member.name):
            raise wheel_error(label, unsafe, member.name)
    clash = find_clash(member.name for member in members)
    if clash is not None:
        same = clash[0] == clash[1]
        why = "is there twice" if same else f"cannot be there besides {quote(clash[0])}"
        raise wheel_error(label, why, clash[1])
    return {member.name: member for member in members}


class _Reader:
    """Reads the parts of one wheel that say what it is."""

    def __init__(self, path: str, label: str, members: dict[str, Member]) -> None:
        self.path = path
        self.label = label
        self.members = members

    def find_directory(self, told: WheelName, suffix: str) -> str:
        """The directory at the top that ends in `suffix`, which must be this wheel's; "" without one."""
        tops = {name.partition("/")[0] for name in self.members if "/" in name}
        found = sorted(top for top in tops if top.endswith(suffix))
        if not found:
            return ""
        if len(found) > 1:
            raise wheel_error(self.label, f"it has {len(found)} directories that end in {suffix}", found[1])
        name, _, version = found[0].removesuffix(suffix).rpartition("-")
        if not _same(name, version, told):
            raise wheel_error(self.label, "does not belong to the name and version of its file", found[0])
        return found[0]

    def text(self, name: str) -> bytes:
        """The bytes of a file that must be there."""
        member = self.members.get(name)
        if member is None:
            raise wheel_error(self.label, f"it has no {name!r}")
        if member.size > MAX_TEXT:
            raise wheel_error(self.label, f"has {member.size} bytes, more than {MAX_TEXT}", name)
        with open_member(self.path, self.label, member) as stream:
            return stream.read()

    def headers(self, name: str) -> Headers:
        """The header fields of a file."""
        return parse_headers(self.text(name))

    def check_format(self, info_dir: str) -> bool:
        """Look at WHEEL: a version that we know. Whether the wheel's root is for pure code."""
        name = f"{info_dir}/WHEEL"
        headers = self.headers(name)
        try:
            version, root = one(headers, "Wheel-Version"), one(headers, "Root-Is-Purelib").lower()
        except ValueError as error:
            raise wheel_error(self.label, str(error), name) from error
        if root not in ("true", "false"):
            raise wheel_error(self.label, f"has the Root-Is-Purelib {root[:40]!r}", name)
        if re.fullmatch(r"1\.\d+", version, re.ASCII) is None:
            raise wheel_error(
                self.label,
                f"has the Wheel-Version {version[:40]!r}, and 1.x is what we know",
                name,
                fix="take an older version of it, or a newer hostbuild",
            )
        return root == "true"

    def check_identity(self, headers: Headers, told: WheelName, name: str) -> None:
        """Hold METADATA's name and version against the file's."""
        try:
            own_name, version = one(headers, "Name"), one(headers, "Version")
        except ValueError as error:
            raise wheel_error(self.label, str(error), name) from error
        if not _same(own_name, version, told):
            raise wheel_error(self.label, f"says that this is {own_name[:80]!r} {version[:80]!r}", name)

    def entry_points(self, name: str) -> dict[str, dict[str, str]]:
        """What entry_points.txt holds; nothing where there is none."""
        if name not in self.members:
            return {}
        try:
            return parse_entry_points(self.text(name))
        except ValueError as error:
            raise wheel_error(self.label, str(error), name) from error

    def commands(self, entry_points: Mapping[str, Mapping[str, str]], name: str) -> tuple[Command, ...]:
        """The commands among them."""
        try:
            return commands(entry_points)
        except ValueError as error:
            raise wheel_error(self.label, str(error), name) from error

    def files(self, info_dir: str) -> tuple[WheelFile, ...]:
        """All files but RECORD and its signatures, as RECORD has them."""
        record = f"{info_dir}/RECORD"
        try:
            rows = parse_record(self.text(record))
        except ValueError as error:
            raise wheel_error(self.label, str(error), record) from error
        unlisted = {f"{info_dir}/{name}" for name in UNLISTED}
        for path in rows:
            if path not in self.members and path not in unlisted:
                raise wheel_error(self.label, "is in RECORD and not in the wheel", path)
        names = sorted((name for name in self.members if name not in unlisted), key=str.encode)
        return tuple(self._file(self.members[name], rows.get(name)) for name in names)

    def _file(self, member: Member, row: Row | None) -> WheelFile:
        if row is None:
            raise wheel_error(self.label, "is not in RECORD", member.name)
        if row.size is not None and row.size != member.size:
            why = f"has {member.size} bytes, and {row.size} in RECORD"
            raise wheel_error(self.label, why, member.name)
        if not row.algorithm:
            raise wheel_error(self.label, "has no digest in RECORD", member.name)
        digest = row.digest if row.algorithm == "sha256" else self._rehash(member, row)
        return WheelFile(member.name, member.size, digest, member.executable)

    def _rehash(self, member: Member, row: Row) -> str:
        """The SHA-256 of a file for which RECORD has another digest, which is checked."""
        ours, theirs = hashlib.sha256(), hashlib.new(row.algorithm)
        with open_member(self.path, self.label, member) as stream:
            while piece := stream.read(_PIECE):
                ours.update(piece)
                theirs.update(piece)
        if theirs.hexdigest() != row.digest:
            why = f"is not what RECORD says: its {row.algorithm.upper()} is another one"
            raise wheel_error(self.label, why, member.name)
        return ours.hexdigest()


def _same(name: str, version: str, told: WheelName) -> bool:
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    try:
        return canonicalize_name(name) == told.name and str(Version(version)) == told.version
    except InvalidVersion:
        return False

"""A wheel as entries of layers: where each file goes, and what an installer adds.

Sources: packaging.python.org, "Binary distribution format" (installing a wheel, the .data directory) and
"Recording installed projects" (RECORD, INSTALLER, REQUESTED).
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from hostbuild.model import Entry
from hostbuild.oci.quoting import quote
from hostbuild.wheels.names import find_clash, wheel_error
from hostbuild.wheels.prefix import DEFAULT_PREFIX, Prefix
from hostbuild.wheels.record import UNLISTED, write_record
from hostbuild.wheels.scripts import (
    command_script,
    replaced_by_command,
    wants_interpreter,
    with_interpreter,
)
from hostbuild.wheels.wheel import Wheel, WheelFile

INSTALLER = b"hostbuild\n"

#: Files of the .dist-info directory that tell of an installation, so that a wheel cannot bring them.
_INSTALLERS_OWN = (*UNLISTED, "INSTALLER", "REQUESTED", "direct_url.json")

#: Bytes that a script with #!python may have.
_MAX_SCRIPT = 32 << 20

_PLAIN, _EXECUTABLE = 0o644, 0o755


class Installed(NamedTuple):
    """A wheel's entries, each list in the order of the paths' bytes, without directories.

    `files` depend on the wheel and the prefix only. `scripts` hold what names the interpreter, and the RECORD
    that has their digests. `wheel` is its file name.
    """

    files: tuple[Entry, ...]
    scripts: tuple[Entry, ...]
    wheel: str


class Conflict(NamedTuple):
    """A path that several wheels bring (by their file names); `is_same` where they bring the same bytes.

    Where one brings a file and another a directory of this name, it is not the same.
    """

    path: str
    wheels: tuple[str, ...]
    is_same: bool


def install_entries(
    wheel: Wheel,
    prefix: Prefix = DEFAULT_PREFIX,
    *,
    python: str,
    requested: bool = False,
    bytecode: Sequence[Entry] = (),
) -> Installed:
    """What an installer would make of the wheel, as entries that are read from it when they are wanted.

    `python` is the interpreter's absolute path in the image. `requested` writes REQUESTED, and moves RECORD
    to `scripts`, so that `files` stay the same. Files keep the wheel's executable bits, scripts are
    executable. `bytecode` is recorded as the wheel's files are, and replaces those of its paths. Nothing is
    written, and only scripts with `#!python` are read.

    Raises WheelError for a file that would leave its directory, a .data directory of no known scheme, and
    two files for one place; ValueError for an impossible `python`.
    """
    site = f"{prefix.site}/"
    info_dir = f"{site}{wheel.info_dir}"
    own = {f"{wheel.info_dir}/{name}" for name in _INSTALLERS_OWN}
    files: list[Entry] = []
    scripts: list[Entry] = []
    for file, path, is_script in _placed(wheel, prefix):
        if file.path in own:
            continue
        text = _script_text(wheel, file) if is_script else None
        if text is not None:
            scripts.append(_made(path, with_interpreter(text, python), _EXECUTABLE, wheel, file.path))
        else:
            mode = _EXECUTABLE if file.executable or is_script else _PLAIN
            files.append(_copied(path, wheel, file, mode))
    if bytecode:
        made = {entry.path for entry in bytecode}
        files = [*(entry for entry in files if entry.path not in made), *bytecode]
    for command in wheel.commands:
        text = command_script(command, python)
        scripts.append(_made(f"{prefix.bin}/{command.name}", text, _EXECUTABLE, wheel, "entry_points.txt"))
    files.append(_made(f"{info_dir}/INSTALLER", INSTALLER, _PLAIN, wheel, "INSTALLER"))
    if requested:
        scripts.append(_made(f"{info_dir}/REQUESTED", b"", _PLAIN, wheel, "REQUESTED"))
    record_path = f"{info_dir}/RECORD"
    everything = [*files, *scripts]
    record = write_record(
        ((os.path.relpath(entry.path, prefix.site), entry.digest, entry.size) for entry in everything),
        f"{wheel.info_dir}/RECORD",
    )
    (scripts or files).append(_made(record_path, record, _PLAIN, wheel, "RECORD"))
    _check_clashes(wheel, [*files, *scripts])
    return Installed(_sorted(files), _sorted(scripts), wheel.filename)


def conflicts(installed: Iterable[Installed]) -> tuple[Conflict, ...]:
    """What more than one of the wheels brings, in the order of the paths' bytes."""
    places: dict[str, list[tuple[str, Entry]]] = {}
    below: dict[str, list[str]] = {}
    for each in installed:
        for entry in (*each.files, *each.scripts):
            places.setdefault(entry.path, []).append((each.wheel, entry))
            above = entry.path.rpartition("/")[0]
            while above and each.wheel not in (users := below.setdefault(above, [])):
                users.append(each.wheel)
                above = above.rpartition("/")[0]
    found = []
    for path in sorted(places, key=str.encode):
        users = [wheel for wheel, _ in places[path]]
        entries = {(entry.kind, entry.mode, entry.digest, entry.size) for _, entry in places[path]}
        directories = below.get(path, [])
        if len(users) > 1 or directories:
            names = tuple(dict.fromkeys((*users, *directories)))
            found.append(Conflict(path, names, len(entries) == 1 and not directories))
    return tuple(found)


def with_directories(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries of one layer: sorted, the same file once, with the directories that they lie in (0755).

    Raises WheelError where two entries of one path are not the same: `conflicts` tells of all.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        before = found.setdefault(entry.path, entry)
        if (before.kind, before.mode, before.digest) != (entry.kind, entry.mode, entry.digest):
            wheel, _, member = entry.origin.partition(": ")
            raise wheel_error(wheel, f"is in another form in {quote(before.origin)} too", member)
    for path in list(found):
        above = path.rpartition("/")[0]
        while above and above not in found:
            found[above] = Entry(above, "dir", _EXECUTABLE)
            above = above.rpartition("/")[0]
    return _sorted(found.values())


def _placed(wheel: Wheel, prefix: Prefix) -> Iterator[tuple[WheelFile, str, bool]]:
    """Each file, its path in the image, and whether it is a script."""
    schemes = {
        "purelib": prefix.site,
        "platlib": prefix.site,
        "scripts": prefix.bin,
        "data": prefix.data,
        "headers": f"{prefix.headers}/{wheel.name}",
    }
    commands = frozenset(command.name for command in wheel.commands)
    for file in wheel.files:
        top, _, rest = file.path.partition("/")
        if not wheel.data_dir or top != wheel.data_dir:
            yield file, f"{prefix.site}/{file.path}", False
            continue
        scheme, _, rest = rest.partition("/")
        if scheme not in schemes or not rest:
            known = ", ".join(sorted(schemes))
            raise wheel_error(wheel.filename, f"is for none of the places {known}", file.path)
        if scheme == "scripts" and replaced_by_command(rest, commands):
            continue
        yield file, f"{schemes[scheme]}/{rest}", scheme == "scripts"


def _script_text(wheel: Wheel, file: WheelFile) -> bytes | None:
    """The bytes of a script that leaves its interpreter to us, else None: a large program is not read."""
    with wheel.open(file) as stream:
        start = stream.read(16)
    return wheel.read(file, _MAX_SCRIPT) if wants_interpreter(start) else None


def _copied(path: str, wheel: Wheel, file: WheelFile, mode: int) -> Entry:
    return Entry(
        path,
        "file",
        mode,
        size=file.size,
        open=_opener(wheel, file),
        digest=file.digest,
        origin=f"{wheel.filename}: {file.path}",
    )


def _opener(wheel: Wheel, file: WheelFile) -> Callable[[], BinaryIO]:
    return lambda: wheel.open(file)


def _made(path: str, data: bytes, mode: int, wheel: Wheel, origin: str) -> Entry:
    return Entry(
        path,
        "file",
        mode,
        size=len(data),
        open=lambda: io.BytesIO(data),
        digest=hashlib.sha256(data).hexdigest(),
        origin=f"{wheel.filename}: {origin}",
    )


def _check_clashes(wheel: Wheel, entries: Iterable[Entry]) -> None:
    paths = {entry.path: entry for entry in entries}
    clash = find_clash(entry.path for entry in entries)
    if clash is not None:
        member = paths[clash[1]].origin.partition(": ")[2]
        why = f"would be put at {quote(clash[1])}, where {quote(clash[0])} is too"
        raise wheel_error(wheel.filename, why, member)


def _sorted(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.path.encode()))

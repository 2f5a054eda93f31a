"""Splits what ships over a few layers, so that an edit makes anew, and pushes, about what it weighs.

The rule is a pure function of paths and sizes: the same tree is split in the same way on any machine, and
bytes that change at the same size change nothing but the layer that holds them.

- Below `WORTH` bytes there is one layer: more would cost more than they save.
- Content is large when it is a file of `HEAVY` bytes, or lies in a directory that holds as much, counted
  without such files and without those subdirectories that hold as much themselves. So a directory of data is
  large, and the sources beside it are not.
- Small files in large directories are large too only when they weigh `HEAVY` together.
- Large content lies in one, four or eight layers by its weight: each directory in one of them by a hash of
  its path, or each of its files by a hash of its own where they alone weigh `HEAVY`.
- All else lies in the last layer, also every directory that is in no other one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from hostbuild.model import Entry

#: Changes whenever the same tree would be split in another way than by the hostbuild before.
RULE_VERSION = 1

#: Bytes: what is less than this altogether stays together.
WORTH = 32 << 20
#: Bytes: a file or directory of this size is no source.
HEAVY = 16 << 20
#: Bytes: a file below this may be a source, wherever it lies.
LIGHT = 32 << 10
#: Layers of large content, by its least bytes. With the one of all else there are nine at most.
_PARTS = ((512 << 20, 8), (64 << 20, 4), (0, 1))


class Part(NamedTuple):
    """One layer's entries, sorted as all were. `number` counts large content from 1; 0 is all else."""

    number: int
    entries: tuple[Entry, ...]


def split(entries: Sequence[Entry]) -> tuple[Part, ...]:
    """The layers, lowest first, none of them empty.

    `entries` are sorted by their paths' bytes, and every directory that holds one is among them.
    """
    # A file's place in `entries`, its directory and its size: the loops over all files stay short.
    files = [
        (number, entry.path.rpartition("/")[0], entry.size)
        for number, entry in enumerate(entries)
        if entry.kind == "file"
    ]
    large = _large(files) if sum(size for _, _, size in files) >= WORTH else []
    if not large:
        return (Part(0, tuple(entries)),)
    weight = sum(size for _, _, size in large)
    count = next(parts for least, parts in _PARTS if weight >= least)
    return _parts(entries, _layers(large, entries, count))


_File = tuple[int, str, int]


def _large(files: Sequence[_File]) -> list[_File]:
    """Those of large content."""
    direct: dict[str, int] = {}
    for _, directory, size in files:
        if size < HEAVY:
            direct[directory] = direct.get(directory, 0) + size
    below = dict(direct)
    for directory, size in direct.items():
        for above in _above(directory):
            below[above] = below.get(above, 0) + size
    alone = {directory: size for directory, size in below.items() if size >= HEAVY}
    for directory in [*alone]:
        if directory:
            alone[directory.rpartition("/")[0]] -= below[directory]
    is_large = {directory: _is_large(directory, alone) for directory in direct}
    found = [each for each in files if each[2] >= HEAVY or is_large[each[1]]]
    if sum(size for _, _, size in found if size < LIGHT) < HEAVY:
        return [each for each in found if each[2] >= LIGHT]
    return found


def _is_large(directory: str, alone: Mapping[str, int]) -> bool:
    while directory and directory not in alone:
        directory = directory.rpartition("/")[0]
    return alone.get(directory, 0) >= HEAVY


def _above(path: str) -> Iterator[str]:
    """The directories that hold `path`, the nearest first, the root "" last."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def _layers(large: Sequence[_File], entries: Sequence[Entry], count: int) -> dict[int, int]:
    """The number of the layer, from 1 to `count`, of each of the large files by its place."""
    direct: dict[str, int] = {}
    for _, directory, size in large:
        direct[directory] = direct.get(directory, 0) + size
    whole = {directory: _number(directory, count) for directory, size in direct.items() if size < HEAVY}
    return {
        place: whole[directory] if directory in whole else _number(entries[place].path, count)
        for place, directory, _ in large
    }


def _number(name: str, count: int) -> int:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return 1 + digest[0] % count


def _parts(entries: Sequence[Entry], layers: Mapping[int, int]) -> tuple[Part, ...]:
    """Each layer brings the directories of what is in it, so that it stands by itself."""
    needed: dict[int, set[str]] = {number: set() for number in (*sorted(set(layers.values())), 0)}
    for place, entry in enumerate(entries):
        if entry.kind != "dir":
            needed[layers.get(place, 0)].add(entry.path.rpartition("/")[0])
    for directories in needed.values():
        directories.update([above for directory in directories for above in _above(directory)])
    elsewhere = set().union(*(directories for number, directories in needed.items() if number))
    for entry in entries:
        if entry.kind == "dir" and entry.path not in elsewhere:
            needed[0].update((entry.path, *_above(entry.path)))
    parts: dict[int, list[Entry]] = {number: [] for number in needed}
    for place, entry in enumerate(entries):
        if entry.kind != "dir":
            parts[layers.get(place, 0)].append(entry)
            continue
        for number, directories in needed.items():
            if entry.path in directories:
                parts[number].append(entry)
    return tuple(Part(number, tuple(found)) for number, found in parts.items() if found)

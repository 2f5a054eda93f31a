"""What a build ships besides its platforms' own layers: the source, further trees, --copy, certificates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hostbuild.certificates import bundle_path, certificate_entries
from hostbuild.errors import SourceError, UsageError
from hostbuild.languages.base import Inspection
from hostbuild.layer import compression_of
from hostbuild.model import USER_GID, USER_UID, BuildRequest, Entry
from hostbuild.plan import LayerPlan, key_of
from hostbuild.source import (
    EVERYTHING,
    FileDigests,
    copy_entries,
    load_ignore,
    scan,
    shipped_entries,
    show,
    sort_key,
)
from hostbuild.splitting import split as split_entries

#: Where the function or the shipped source lies in the image, and the working directory.
HOME = "func"
_SOURCE = "hostbuild: source and data"


class SharedLayer(NamedTuple):
    """A layer that all platforms share: its name and key, and what is in it."""

    plan: LayerPlan
    entries: tuple[Entry, ...]
    created_by: str


class Shipment(NamedTuple):
    """The shared layers in order, and each shipped file by a label that is the same on every machine."""

    layers: tuple[SharedLayer, ...]
    files: Mapping[str, str]
    warnings: tuple[str, ...]


def ships_source(request: BuildRequest, inspection: Inspection) -> bool:
    """Whether the source ships: as the language has it, unless the user says it."""
    return inspection.ships_source if request.ship_source is None else request.ship_source


def gather(
    request: BuildRequest,
    root: str,
    inspection: Inspection,
    digests: FileDigests,
    *,
    certificates: bool,
    home: bool,
) -> Shipment:
    """What the image of `root` ships, read from the disk.

    `certificates` tells whether a bundle does, `home` whether /func is there even if nothing is in it.
    Raises SourceError and its kinds.
    """
    entries: dict[str, Entry] = {}
    warnings: list[str] = []
    if ships_source(request, inspection):
        rules = load_ignore(
            root,
            use_gitignore=request.gitignore,
            never=_own_paths(request, root),
            leavings=inspection.leavings,
        )
        tree = scan(root, rules, digests=digests)
        if tree.is_empty():
            raise SourceError(f"nothing in {root!r} would ship", why="it is empty, or all of it is ignored")
        warnings += tree.warnings
        entries.update((entry.path, entry) for entry in shipped_entries(tree, HOME, USER_UID, USER_GID))
        warnings += _make_way(entries, inspection)
    elif home:
        # The working directory has to be there for those who mount the root read-only.
        entries[HOME] = Entry(HOME, "dir", 0o755, USER_UID, USER_GID, origin="the working directory")
    for place, directory in inspection.trees.items():
        tree = scan(directory, EVERYTHING, digests=digests)
        warnings += tree.warnings
        shipped = shipped_entries(tree, place.strip("/"), USER_UID, USER_GID)
        entries.update((entry.path, entry) for entry in shipped)
    for spec in request.copies:
        copied = {entry.path: entry for entry in copy_entries(spec, root, digests)}
        if (binary := _binary(inspection)) in copied:
            raise UsageError(f"--copy {spec!r} would lie where the binary goes (/{binary})")
        entries.update(copied)
    form = compression_of(request.compression, request.compression_level).key
    layers = _data_layers(entries.values(), form, split=request.split) if entries else []
    if certificates:
        bundle = bundle_path()
        trusted = certificate_entries(bundle, digests.of(bundle))
        layers.append(_layer("certificates", trusted, form, "hostbuild: certificate authorities"))
    files = {_label(entry.path): _content(entry) for layer in layers for entry in layer.entries}
    return Shipment(tuple(layers), files, tuple(warnings))


def _own_paths(request: BuildRequest, root: str) -> tuple[str, ...]:
    """What builds themselves write below the source: it must not ship with the next one."""
    written = [output.destination for output in request.outputs if output.destination not in {"", "-"}]
    written += [path for path in (request.build_dir, request.cache_dir) if path]
    relative = (os.path.relpath(os.path.realpath(path), root) for path in written)
    return tuple(path for path in relative if path.split("/")[0] not in {os.curdir, os.pardir})


def _label(path: str) -> str:
    """The source's files go by their path in the source, others by their path in the image."""
    name = path.removeprefix(f"{HOME}/") if path.startswith(f"{HOME}/") else f"/{path}"
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _binary(inspection: Inspection) -> str:
    """The path in the image of what is started."""
    return next(iter(inspection.cmd or inspection.entrypoint), "").lstrip("/")


def _make_way(entries: dict[str, Entry], inspection: Inspection) -> list[str]:
    """The function's binary lies in its source's directory: what has its name there cannot ship."""
    path = _binary(inspection)
    found = entries.get(path)
    if found is None:
        return []
    if found.kind == "dir":
        raise SourceError(
            f"{found.origin!r} is a directory where the function's binary goes (/{path})",
            fix="rename it, or name it in .funcignore",
        )
    del entries[path]
    return [f"{os.path.relpath(path, HOME)} does not ship: the function's binary has its place (/{path})"]


def _data_layers(entries: Iterable[Entry], form: str, *, split: bool) -> list[SharedLayer]:
    """One layer of all, or several, large data below small source: see `splitting`."""
    ordered = _sorted(entries)
    if not split:
        return [_layer("data", ordered, form, _SOURCE)]
    parts = split_entries(ordered)
    return [
        _layer(f"data {part.number}", part.entries, form, f"hostbuild: data, part {part.number}")
        if part.number
        else _layer("data", part.entries, form, _SOURCE)
        for part in parts
    ]


def _sorted(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: sort_key(entry.path)))


def _layer(name: str, entries: Iterable[Entry], form: str, created_by: str) -> SharedLayer:
    entries = tuple(entries)
    for entry in entries:
        if entry.path.rpartition("/")[2].startswith(".wh."):
            raise SourceError(
                f"{entry.origin!r} cannot ship",
                why="in a layer a name that begins with .wh. deletes a file (image specification, layer.md)",
                fix="rename it, or name it in the ignore file",
            )
    ordered = _sorted(entries)
    key = key_of(
        "layer",
        format=form,
        entries=[
            [sort_key(entry.path).hex(), entry.kind, entry.mode, entry.uid, entry.gid, _content(entry)]
            for entry in ordered
        ],
    )
    return SharedLayer(LayerPlan(name, key), ordered, created_by)


def _content(entry: Entry) -> str:
    if entry.kind == "link":
        return f"-> {show(entry.target)}"
    if entry.kind == "dir":
        return "directory"
    return f"{entry.digest} x" if entry.mode & 0o100 else entry.digest

"""What a build ships besides its platforms' own layers: the source, further trees, --copy, certificates."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

from hostbuild.certificates import bundle_path, certificate_entries
from hostbuild.errors import SourceChangedError, SourceError, UsageError
from hostbuild.languages.base import Inspection
from hostbuild.layer import compression_of
from hostbuild.model import USER_GID, USER_UID, BuildRequest, Entry
from hostbuild.plan import LayerPlan, key_of
from hostbuild.source import (
    EVERYTHING,
    Copy,
    FileDigests,
    SourceTree,
    find_copy,
    load_ignore,
    shipped_entries,
    show,
    sort_key,
    survey,
)
from hostbuild.splitting import RULE_VERSION
from hostbuild.splitting import split as split_entries

#: Where the function or the shipped source lies in the image, and the working directory.
HOME = "func"
_SOURCE = "hostbuild: source and data"
#: Entries whose descriptions are in memory at once.
_MANY = 4096


class Memory(Protocol):
    """Remembers values (JSON) from run to run; a memory and never the truth."""

    def recall(self, kind: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was kept for these inputs; empty for nothing."""

    def keep(self, kind: str, inputs: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Keep it in place of what was kept before."""


class SharedLayer:
    """A layer that all platforms share: its name and key, and what is in it, found when it is asked for."""

    def __init__(self, plan: LayerPlan, created_by: str, find: Callable[[], tuple[Entry, ...]]) -> None:
        self.plan = plan
        self.created_by = created_by
        self._find = find

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """What is in it. Raises SourceError and its kinds: SourceChangedError where it is another by now."""
        return self._find()


class Shipment:
    """The shared layers in order, and each shipped file by a label that is the same on every machine."""

    def __init__(
        self,
        layers: tuple[SharedLayer, ...],
        warnings: tuple[str, ...],
        digest_of: Callable[[str], str] | None = None,
    ) -> None:
        self.layers = layers
        self.warnings = warnings
        self._digest_of = digest_of

    @cached_property
    def files(self) -> Mapping[str, str]:
        """What each file holds. Raises what the layers' `entries` raise."""
        return {_label(entry.path): _content(entry) for layer in self.layers for entry in layer.entries}

    def digest_of(self, label: str) -> str:
        """The SHA-256 (hex) of a file; without `files` where that can be. Other texts for what is no file."""
        if self._digest_of is None or "files" in vars(self) or label[:1] == "/" or "\\" in label:
            return self.files.get(label, "").removesuffix(" x")
        return self._digest_of(label)


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
    memory: Memory,
) -> Shipment:
    """What the image of `root` ships, read from the disk, or known by the times of all its files.

    `certificates` tells whether a bundle does, `home` whether /func is there even if nothing is in it.
    Raises SourceError and its kinds.
    """
    goods = _look(request, root, inspection, digests, home=home)
    form = compression_of(request.compression, request.compression_level).key
    layers, warnings = _known_layers(goods, form, memory, digests)
    digest_of = None
    if goods.source is not None and not goods.trees and not goods.copies:
        digest_of = goods.source.digest_of
    if certificates:
        bundle = bundle_path()
        trusted = certificate_entries(bundle, digests.of(bundle))
        layers.append(_layer("certificates", trusted, form, "hostbuild: certificate authorities"))
    return Shipment(tuple(layers), (*goods.warnings, *warnings), digest_of)


class _Goods(NamedTuple):
    """What is to ship, as it was met on the disk; nothing was read."""

    source: SourceTree | None
    home: bool
    trees: tuple[tuple[str, SourceTree], ...]
    copies: tuple[tuple[str, Copy], ...]
    binary: str
    split: bool

    @property
    def warnings(self) -> list[str]:
        """Of those who met it."""
        met = [self.source] if self.source is not None else []
        return [warning for tree in (*met, *(tree for _, tree in self.trees)) for warning in tree.warnings]

    @property
    def all_trees(self) -> list[SourceTree]:
        """All."""
        met = [self.source] if self.source is not None else []
        return [*met, *(tree for _, tree in self.trees), *(copy.tree for _, copy in self.copies)]

    def fingerprint(self) -> list[Any]:
        """All that decides what ships (JSON)."""
        return [
            self.source.fingerprint() if self.source is not None else "",
            [[place, tree.fingerprint()] for place, tree in self.trees],
            [[spec, copy.destination, copy.origin, copy.tree.fingerprint()] for spec, copy in self.copies],
        ]


def _look(
    request: BuildRequest, root: str, inspection: Inspection, digests: FileDigests, *, home: bool
) -> _Goods:
    source = None
    if ships_source(request, inspection):
        rules = load_ignore(
            root,
            use_gitignore=request.gitignore,
            never=_own_paths(request, root),
            leavings=inspection.leavings,
        )
        source = survey(root, rules, digests=digests)
        if source.is_empty():
            raise SourceError(f"nothing in {root!r} would ship", why="it is empty, or all of it is ignored")
    return _Goods(
        source,
        home,
        tuple(
            (place.strip("/"), survey(directory, EVERYTHING, digests=digests))
            for place, directory in inspection.trees.items()
        ),
        tuple((spec, find_copy(spec, root, digests)) for spec in request.copies),
        _binary(inspection),
        request.split,
    )


def _known_layers(
    goods: _Goods, form: str, memory: Memory, digests: FileDigests
) -> tuple[list[SharedLayer], list[str]]:
    """The layers of all but certificates, and warnings: from the memory where nothing changed."""
    inputs = {
        "binary": goods.binary,
        "form": form,
        "home": goods.home,
        "split": [goods.split, RULE_VERSION],
        "source": goods.source is not None,
        "places": [*(place for place, _ in goods.trees), *(spec for spec, _ in goods.copies)],
    }
    found = goods.fingerprint()
    known = memory.recall("shipment", inputs)
    if known.get("of") == found:
        digests.is_partial = True
        later = _Later(goods, form)
        layers = [
            SharedLayer(LayerPlan(name, key), created_by, partial(later.entries, name, key))
            for name, key, created_by in known["layers"]
        ]
        return layers, known["warnings"]
    layers, warnings = _make_layers(goods, form)
    if all(tree.is_settled() for tree in goods.all_trees):
        kept = [[layer.plan.name, layer.plan.key, layer.created_by] for layer in layers]
        memory.keep("shipment", inputs, {"of": found, "layers": kept, "warnings": warnings})
    return layers, warnings


class _Later:
    """What is in layers that are known by name and key, found for all of them when the first is asked for."""

    def __init__(self, goods: _Goods, form: str) -> None:
        self._goods = goods
        self._form = form

    @cached_property
    def _made(self) -> dict[str, SharedLayer]:
        return {layer.plan.key: layer for layer in _make_layers(self._goods, self._form)[0]}

    def entries(self, name: str, key: str) -> tuple[Entry, ...]:
        """Of one layer. Raises SourceChangedError where there is no such layer by now."""
        if key not in self._made:
            raise SourceChangedError(
                f"the source was edited while it was looked at (layer {name})",
                fix="build again when the source is at rest",
            )
        return self._made[key].entries


def _make_layers(goods: _Goods, form: str) -> tuple[list[SharedLayer], list[str]]:
    """The layers, with every file read or known, and warnings."""
    entries: dict[str, Entry] = {}
    warnings: list[str] = []
    if goods.source is not None:
        shipped = shipped_entries(goods.source, HOME, USER_UID, USER_GID)
        entries.update((entry.path, entry) for entry in shipped)
        warnings += _make_way(entries, goods.binary)
    elif goods.home:
        # The working directory has to be there for those who mount the root read-only.
        entries[HOME] = Entry(HOME, "dir", 0o755, USER_UID, USER_GID, origin="the working directory")
    for place, tree in goods.trees:
        entries.update((entry.path, entry) for entry in shipped_entries(tree, place, USER_UID, USER_GID))
    for spec, copy in goods.copies:
        copied = {entry.path: entry for entry in copy.entries()}
        if goods.binary in copied:
            raise UsageError(f"--copy {spec!r} would lie where the binary goes (/{goods.binary})")
        entries.update(copied)
    return _data_layers(entries.values(), form, split=goods.split) if entries else [], warnings


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


def _make_way(entries: dict[str, Entry], path: str) -> list[str]:
    """The function's binary lies in its source's directory: what has its name there cannot ship."""
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
    key = key_of("layer", format=form, entries=_digest_of(ordered))
    return SharedLayer(LayerPlan(name, key), created_by, lambda: ordered)


def _digest_of(entries: Sequence[Entry]) -> str:
    """The SHA-256 (hex) of all that decides a layer's bytes; no text of all of it is made."""
    digest = hashlib.sha256()
    for start in range(0, len(entries), _MANY):
        # No zero byte is in any of the parts.
        lines = [
            f"{entry.path}\0{entry.kind} {entry.mode} {entry.uid} {entry.gid}\0{_content(entry)}\0"
            for entry in entries[start : start + _MANY]
        ]
        digest.update("".join(lines).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _content(entry: Entry) -> str:
    if entry.kind == "link":
        return f"-> {show(entry.target)}"
    if entry.kind == "dir":
        return "directory"
    return f"{entry.digest} x" if entry.mode & 0o100 else entry.digest

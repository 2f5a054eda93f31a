"""build.json, and whether a build directory holds all that it says. Small and without locks."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hostbuild.errors import InvalidDigestError
from hostbuild.oci.digest import Digest
from hostbuild.store.places import read_json
from hostbuild.store.syncing import read_small, write_new_file

if TYPE_CHECKING:
    from hostbuild.store.seals import Seal

#: The version of build.json's form; a record of another one counts as no build.
SCHEMA_VERSION = 2
_INDEX_LIMIT = 1 << 26  # bytes


def write_record(
    path: str,
    build_id: str,
    record: Mapping[str, Any],
    blobs: Iterable[tuple[Digest, int]],
    absent: Iterable[Digest] = (),
    *,
    seal: Seal | None = None,
) -> None:
    """Write build.json: `record` (JSON values), with what `find` relies on added to it.

    `schemaVersion`, `buildId`, and `blobs`: a list of `{"digest", "size", "here"}` of all blobs of the
    layout, size in bytes; those of `absent` are not here. With `seal` it is sealed together with the layout
    beside it: `readOnly` tells whether its blobs are, and `seal` is the seal. Raises `OSError`.
    """
    away = {str(digest) for digest in absent}
    listed = {str(digest): size for digest, size in blobs}
    whole: dict[str, Any] = {
        **record,
        "schemaVersion": SCHEMA_VERSION,
        "buildId": build_id,
        "blobs": [
            {"digest": digest, "here": digest not in away, "size": size} for digest, size in listed.items()
        ],
    }
    if seal is not None:
        layout = os.path.join(os.path.dirname(path), "oci")
        here = [digest for digest in listed if digest not in away]
        whole["readOnly"] = all(_is_read_only(layout, Digest.parse(digest)) for digest in here)
        whole["seal"] = seal.of(whole, read_small(os.path.join(layout, "index.json"), _INDEX_LIMIT) or b"")
    write_new_file(path, _encoded(whole) + b"\n")


def _encoded(record: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(record, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:  # names of files that are no UTF-8
        return json.dumps(record, sort_keys=True, indent=1, allow_nan=False).encode()


def why_incomplete(directory: str, build_id: str, *, sparse: bool = False, seal: Seal | None = None) -> str:
    """What `directory` lacks to be the complete build `build_id`; "" when it lacks nothing.

    Complete: build.json of this version names this ID, and oci/ holds `oci-layout`, an `index.json`
    whose descriptors are among the blobs, and each blob that build.json names, with the right size. A
    build that left blobs in a registry only (`here` false) is not complete, and is all right where it
    may be `sparse`. With `seal`, which the record and index.json must then carry, it is known for one's
    own. A dozen looks, no lock, no blob is read. Raises `OSError` where the disk cannot be read.
    """
    record = read_json(os.path.join(directory, "build.json"))
    if record is None:
        return "it has no build.json that can be read"
    if record.get("schemaVersion") != SCHEMA_VERSION:
        return "its build.json is of another version"
    if record.get("buildId") != build_id:
        return "its build.json is of another build"
    layout = os.path.join(directory, "oci")
    sizes: dict[str, int] = {}
    fault = _blobs_fault(record.get("blobs"), layout, sizes, sparse=sparse)
    if not fault and _size(os.path.join(layout, "oci-layout")) <= 0:
        fault = "oci-layout is missing"
    index = os.path.join(layout, "index.json")
    fault = fault or _index_fault(index, sizes)
    if not fault and seal is not None:
        fault = _seal_fault(record, layout, sizes, seal)
    return fault


def _blobs_fault(blobs: object, layout: str, sizes: dict[str, int], *, sparse: bool) -> str:
    """What is wrong with the list of blobs; fills `sizes` by digest."""
    if not isinstance(blobs, list) or not blobs:
        return "its build.json names no blobs"
    for blob in blobs:
        if isinstance(blob, dict) and blob.get("here") is False and sparse:
            continue
        if not isinstance(blob, dict) or blob.get("here") is not True:
            return "not all of its blobs are here"
        text, size = blob.get("digest"), blob.get("size")
        try:
            digest = Digest.parse(str(text))
        except InvalidDigestError:
            return "its build.json is damaged"
        if (
            type(size) is not int
            or _size(os.path.join(layout, "blobs", digest.algorithm, digest.hex)) != size
        ):
            return f"blob {text} is missing or has another size"
        sizes[str(digest)] = size
    return ""


def _seal_fault(record: Mapping[str, Any], layout: str, sizes: Iterable[str], seal: Seal) -> str:
    """Why this is not what was sealed.

    The blobs' bytes are not read. What git or another program put in the place of one can be written, which
    the blobs of a layout cannot: that is looked at where the file system has such modes.
    """
    if not seal.fits(record, read_small(os.path.join(layout, "index.json"), _INDEX_LIMIT) or b""):
        return "it was not made here by this user"
    if record.get("readOnly") is not True:
        return ""
    changed = [digest for digest in sizes if not _is_read_only(layout, Digest.parse(digest))]
    return f"blob {changed[0]} was replaced" if changed else ""


def _is_read_only(layout: str, digest: Digest) -> bool:
    return not os.lstat(os.path.join(layout, "blobs", digest.algorithm, digest.hex)).st_mode & 0o222


def is_foreign(directory: str) -> bool:
    """Whether `directory` exists and was not made by hostbuild (knative func uses the same place).

    Every build of hostbuild gets its name by rename with a build.json in it, so one without is not ours.
    """
    return os.path.isdir(directory) and not os.path.lexists(os.path.join(directory, "build.json"))


def _index_fault(path: str, sizes: Mapping[str, int]) -> str:
    index = read_json(path)
    manifests = index.get("manifests") if index is not None else None
    if not isinstance(manifests, list) or not manifests:
        return "index.json is missing or damaged"
    for each in manifests:
        if not isinstance(each, dict) or sizes.get(str(each.get("digest"))) != each.get("size"):
            return "index.json names a blob that is not here"
    return ""


def _size(path: str) -> int:
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1

"""build.json, and whether a build directory holds all that it says. Small and without locks."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from typing import Any

from hostbuild.errors import InvalidDigestError
from hostbuild.oci.digest import Digest
from hostbuild.store.places import read_json
from hostbuild.store.syncing import write_new_file

#: The version of build.json's form; a record of another one counts as no build.
SCHEMA_VERSION = 2


def write_record(
    path: str,
    build_id: str,
    record: Mapping[str, Any],
    blobs: Iterable[tuple[Digest, int]],
    absent: Iterable[Digest] = (),
) -> None:
    """Write build.json: `record` (JSON values), with what `find` relies on added to it.

    `schemaVersion`, `buildId`, and `blobs`: a list of `{"digest", "size", "here"}` of all blobs of the
    layout, size in bytes; those of `absent` are not here. Raises `OSError`.
    """
    away = {str(digest) for digest in absent}
    listed = {str(digest): size for digest, size in blobs}
    whole = {
        **record,
        "schemaVersion": SCHEMA_VERSION,
        "buildId": build_id,
        "blobs": [
            {"digest": digest, "here": digest not in away, "size": size} for digest, size in listed.items()
        ],
    }
    data = json.dumps(whole, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    write_new_file(path, data.encode("utf-8", "surrogateescape") + b"\n")


def why_incomplete(directory: str, build_id: str, *, sparse: bool = False) -> str:
    """What `directory` lacks to be the complete build `build_id`; "" when it lacks nothing.

    Complete: build.json of this version names this ID, and oci/ holds `oci-layout`, an `index.json`
    whose descriptors are among the blobs, and each blob that build.json names, with the right size. A
    build that left blobs in a registry only (`here` false) is not complete, and is all right where it
    may be `sparse`. A dozen looks, no lock, nothing is hashed. Raises `OSError` where the disk cannot be
    read.
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
    return fault or _index_fault(os.path.join(layout, "index.json"), sizes)


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

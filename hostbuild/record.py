"""build.json: what was asked, what was made, of what, and why; and the result that it tells.

docs/layout.md describes the form. Values of variables may be secrets and do not stand in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hostbuild import version
from hostbuild.errors import StoreError
from hostbuild.model import BuildResult, LayerSummary, PlatformResult
from hostbuild.plan import RECIPE_VERSION, compare
from hostbuild.project import BuildSubject
from hostbuild.store.failures import Explaining
from hostbuild.store.syncing import read_small, write_new_file

if TYPE_CHECKING:
    from hostbuild.oci.descriptor import Descriptor

INPUTS_FILE = "inputs.json"
_LONGEST = 1 << 28  # bytes


def describe(
    subject: BuildSubject,
    images: tuple[PlatformResult, ...],
    index: Descriptor,
    started: float,
    finished: float,
) -> dict[str, Any]:
    """The record of a build that was just made; times are real ones, seconds since the epoch."""
    inspection = subject.inspection
    tools = {
        name: value
        for name, value in inspection.recipe.items()
        if name.endswith("version") and isinstance(value, str)
    }
    return {
        "base": {
            "name": "" if subject.base.is_scratch else str(subject.base.source),
            "digest": subject.base.digest,
            "inRegistry": subject.base.in_registry,
        },
        "index": {"digest": str(index.digest), "size": index.size},
        "inputs": dict(subject.plan.inputs),
        "name": str(subject.references[0]),
        "platforms": [_object(image) for image in images],
        "request": _request(subject),
        "times": {"started": _real_time(started), "finished": _real_time(finished)},
        "versions": {"hostbuild": version.VERSION, "recipe": str(RECIPE_VERSION), **tools},
        "warnings": list(subject.warnings),
    }


def write_inputs(directory: str, subject: BuildSubject) -> None:
    """Write inputs.json beside build.json: each file that was read, and what it was.

    Apart from build.json because it may name many thousand files, and is read only to give a reason.
    Raises StoreError.
    """
    path = os.path.join(directory, INPUTS_FILE)
    text = json.dumps(subject.facts, ensure_ascii=False, sort_keys=True, indent=0)
    with Explaining("write inputs.json", directory):
        write_new_file(path, text.encode("utf-8", "surrogateescape"), sync=False)


def reason_for(subject: BuildSubject, last: str) -> str:
    """Why this build is made: how its inputs differ from those of the build that the link `last` names."""
    before = _read(os.path.join(last, INPUTS_FILE))
    found = compare(before, subject.facts)
    return str(
        found._replace(
            changed=_plain(found.changed), added=_plain(found.added), removed=_plain(found.removed)
        )
    )


def read_record(directory: str) -> dict[str, Any]:
    """build.json of a complete build. Raises StoreError where it cannot be read."""
    path = os.path.join(directory, "build.json")
    with Explaining("read build.json", directory):
        found = _parsed(read_small(path, _LONGEST))
    if found is None:
        raise StoreError(
            f"{path!r} cannot be read",
            why="it is not there, or is no JSON object",
            fix="remove the directory that it lies in, and build again",
        )
    return found


def result_of(directory: str, record: Mapping[str, Any], subject: BuildSubject, status: str) -> BuildResult:
    """The result that the complete build in `directory` is for this request.

    Raises StoreError where build.json lacks what it should hold.
    """
    try:
        index = record["index"]
        platforms = tuple(_platform(each) for each in record["platforms"])
        digest, size = str(index["digest"]), int(index["size"])
        base = str(record["base"]["name"])
        absent = tuple(str(blob["digest"]) for blob in record["blobs"] if blob["here"] is False)
        warnings = tuple(str(each) for each in record["warnings"])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{os.path.join(directory, 'build.json')!r} cannot be understood",
            why=f"{type(error).__name__}: {error}",
            fix="remove the directory that it lies in, and build again",
        ) from None
    return BuildResult(
        reference=f"{subject.references[0].familiar_name}@{digest}",
        index_digest=digest,
        index_size=size,
        layout=os.path.join(directory, "oci"),
        build_id=str(record["buildId"]),
        status=status,
        tags=tuple(str(reference) for reference in subject.references),
        platforms=platforms,
        warnings=warnings,
        base=base,
        absent=absent,
    )


def _read(path: str) -> dict[str, Any] | None:
    # What lies there may have come with a checkout: no link is followed, and no pipe waited for.
    try:
        return _parsed(read_small(path, _LONGEST))
    except OSError:
        return None


def _parsed(data: bytes | None) -> dict[str, Any] | None:
    try:
        value = json.loads((data or b"").decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _plain(names: tuple[str, ...]) -> tuple[str, ...]:
    """Without the layers' keys: they change with the files in them, which say it better."""
    return tuple(name for name in names if not name.startswith("layer "))


def _real_time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _request(subject: BuildSubject) -> dict[str, Any]:
    request = subject.request
    return {
        "annotations": list(request.annotations),
        "buildEnvNames": [name for name, _ in request.build_env],
        "cmd": request.cmd,
        "copies": list(request.copies),
        "created": subject.created,
        "entrypoint": request.entrypoint,
        "envNames": [name for name, _ in request.env],
        "kind": subject.inspection.kind,
        "labels": dict(request.labels),
        "language": subject.inspection.language,
        "ldflags": request.ldflags,
        "package": request.package,
        "platforms": [str(platform) for platform in subject.platforms],
        "ports": list(request.ports),
        "tags": [str(reference) for reference in subject.references],
        "user": request.user,
    }


def _object(image: PlatformResult) -> dict[str, Any]:
    return {**image._asdict(), "layers": [layer._asdict() for layer in image.layers]}


def _platform(value: Mapping[str, Any]) -> PlatformResult:
    layers = tuple(LayerSummary(**layer) for layer in value["layers"])
    features = tuple(str(each) for each in value["os_features"])
    return PlatformResult(**{**value, "layers": layers, "os_features": features})

"""What a build leaves behind for programs: --metadata-file, --iidfile and --digestfile.

They are written whole, and only after success; what an earlier run left there is removed at the start, as
docker does, so that nobody takes an old answer for a new one.
"""

from __future__ import annotations

import os
import stat
from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from hostbuild.errors import StoreError, UsageError
from hostbuild.model import BuildResult, Output

_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


class ResultFiles(NamedTuple):
    """The files that were asked for; "" where one was not."""

    metadata: str = ""
    image_id: str = ""
    digest: str = ""

    @classmethod
    def of(cls, arguments: Namespace) -> ResultFiles:
        """Those of a command line; a command that lacks a flag does not write its file."""
        given = vars(arguments)
        return cls(*(given.get(name) or "" for name in ("metadata_file", "iidfile", "digestfile")))

    def prepare(self, outputs: Iterable[Output] = ()) -> None:
        """See that each can be written, then remove what is there.

        Raises UsageError for two results in one place, StoreError for a place that cannot be written.
        """
        taken = {
            os.path.realpath(output.destination): "--output"
            for output in outputs
            if output.destination not in {"", "-"}
        }
        for flag, path in self._given():
            target = os.path.realpath(path)
            if target in taken and not _is_stream(target):
                raise UsageError(
                    f"{flag} and {taken[target]} both write to {path!r}", fix="give each its own place"
                )
            taken[target] = flag
            _try(flag, path, target)
        for _, path in self._given():
            target = os.path.realpath(path)
            if os.path.lexists(target) and not _is_stream(target):
                os.unlink(target)

    def write(self, *, metadata: dict[str, Any], image_id: str, digest: str) -> None:
        """Write those that were asked for. Raises StoreError."""
        if self.metadata:
            import json

            _write("--metadata-file", self.metadata, json.dumps(metadata, indent=2) + "\n")
        if self.image_id:
            _write("--iidfile", self.image_id, image_id)
        if self.digest:
            _write("--digestfile", self.digest, digest)

    def _given(self) -> Iterator[tuple[str, str]]:
        pairs = zip(("--metadata-file", "--iidfile", "--digestfile"), self, strict=True)
        return ((flag, path) for flag, path in pairs if path)


def metadata_of(result: BuildResult, outputs: Iterable[Output] = ()) -> dict[str, Any]:
    """What --metadata-file holds: buildx's keys, and hostbuild's own."""
    metadata: dict[str, Any] = {
        "containerimage.descriptor": {
            "mediaType": _INDEX_TYPE,
            "digest": result.index_digest,
            "size": result.index_size,
        },
        "containerimage.digest": result.index_digest,
        "hostbuild.buildId": result.build_id,
        "hostbuild.layout": result.layout,
        "hostbuild.platforms": {
            image.platform: {
                "config": {"digest": image.config, "size": image.config_size},
                "manifest": {"digest": image.manifest, "size": image.manifest_size},
            }
            for image in result.platforms
        },
        "hostbuild.reference": result.reference,
        "hostbuild.status": result.status,
        "image.name": ",".join(_names(result, outputs)),
    }
    if len(result.platforms) == 1:
        metadata["containerimage.config.digest"] = result.platforms[0].config
    if result.base:
        metadata["hostbuild.base"] = result.base
    return metadata


def image_id_of(result: BuildResult) -> str:
    """The image's ID as buildx writes it: of one platform its config's digest, else the index's."""
    return result.platforms[0].config if len(result.platforms) == 1 else result.index_digest


def _names(result: BuildResult, outputs: Iterable[Output]) -> tuple[str, ...]:
    """The full references that the image has: its tags, and the names that outputs push it to."""
    from hostbuild.oci.reference import Reference

    pushed = (str(Reference.parse(name)) for output in outputs for name in output.names)
    return tuple(dict.fromkeys((*result.tags, *pushed)))


def _is_stream(target: str) -> bool:
    """A pipe, a terminal or a device: written to as it is, never replaced."""
    try:
        mode = os.stat(target).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _try(flag: str, path: str, target: str) -> None:
    """Refuse now what could not be written at the end."""
    why = ""
    try:
        if os.path.isdir(target):
            why = "it is a directory"
        elif not _is_stream(target):
            staged = _staged(target)
            os.close(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            os.unlink(staged)
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise StoreError(
            f"{flag}: {path!r} cannot be written",
            why=why,
            fix="name a file in a directory that you may write",
        )


def _staged(target: str) -> str:
    head, tail = os.path.split(target)
    return os.path.join(head, f".{tail[:200]}.{os.getpid()}.tmp")


def _write(flag: str, path: str, text: str) -> None:
    target = os.path.realpath(path)
    stream = _is_stream(target)
    staged = path if stream else _staged(target)
    try:
        with open(staged, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        if not stream:
            os.replace(staged, target)
    except OSError as error:
        raise StoreError(
            f"{flag}: {path!r} cannot be written",
            why=error.strerror or str(error),
            fix="the image itself is complete; make room, or name another file",
        ) from None
    finally:
        if not stream and os.path.lexists(staged):
            os.unlink(staged)

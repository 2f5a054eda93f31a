"""What a build leaves behind for programs: --metadata-file, --iidfile and --digestfile.

They are written whole, and only after success; what an earlier run left there is removed at the start, as
docker does, so that nobody takes an old answer for a new one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hostbuild.descriptors import descriptor_of, why_not_writable, write_all
from hostbuild.errors import StoreError, UsageError
from hostbuild.model import BuildResult, Output

if TYPE_CHECKING:
    from argparse import Namespace

_STANDARD_OUTPUT = "-"
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

    def prepare(self, outputs: Iterable[Output] = (), *, private: Sequence[str] = ()) -> None:
        """See that each can be written, and lies in no `private` directory; then remove what is there.

        Raises UsageError for two results in one place, StoreError for a place that cannot be written.
        """
        taken = {_place(output.destination): "--output" for output in outputs if output.destination}
        for flag, path in self._given():
            if path == _STANDARD_OUTPUT:
                raise UsageError(
                    f"{flag} -: standard output gets the image's name",
                    fix="name a file, or /dev/stdout for both, one after the other",
                )
            if private:
                from hostbuild.outputs.destinations import refuse_private

                refuse_private(f"{flag} {path!r}", path, private)
            place = _place(path)
            other = taken.get(place, "")
            # Two answers may follow each other in one stream; into an image's bytes they may not go.
            if other and not (_is_stream(path) and (other != "--output" or descriptor_of(path) is None)):
                raise UsageError(f"{flag} and {other} both write to {path!r}", fix="give each its own place")
            taken[place] = flag
            _try(flag, path)
        for _, path in self._given():
            target = os.path.realpath(path)
            if not _is_stream(path) and os.path.lexists(target):
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
        "hostbuild.sparse": bool(result.absent),
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
    """The full references that the image was pushed to, without a tag where none was pushed.

    Where nothing was pushed, its tags.
    """
    from hostbuild.oci.reference import Reference

    pushed = []
    for output in outputs:
        if output.push:
            references = map(Reference.parse, output.names or result.tags)
            pushed += [each.name if output.by_digest else str(each) for each in references]
    return tuple(dict.fromkeys(pushed)) or result.tags


def _place(path: str) -> object:
    """What tells two places apart."""
    if path == _STANDARD_OUTPUT:
        return 1
    number = descriptor_of(path)
    return os.path.realpath(path) if number is None else number


def _is_stream(path: str) -> bool:
    """An open descriptor, a pipe, a terminal or a device: written to as it is, never replaced."""
    if descriptor_of(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _try(flag: str, path: str) -> None:
    """Refuse now what could not be written at the end."""
    target, number, why = os.path.realpath(path), descriptor_of(path), ""
    try:
        if number is not None:
            why = why_not_writable(number)
        elif os.path.isdir(target):
            why = "it is a directory"
        elif not _is_stream(path):
            head, tail = os.path.split(target)
            staged = os.path.join(head, f".{tail[:48]}.hostbuild-{os.urandom(8).hex()}")
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


def _write(flag: str, path: str, text: str) -> None:
    target, number = os.path.realpath(path), descriptor_of(path)
    data = text.encode("utf-8", "surrogateescape")
    try:
        if number is not None:
            write_all(number, data)
        elif _is_stream(path):
            with open(path, "wb") as file:
                file.write(data)
        else:
            from hostbuild.store.beside import replace_beside

            replace_beside(target, data)
    except OSError as error:
        raise StoreError(
            f"{flag}: {path!r} cannot be written",
            why=error.strerror or str(error),
            fix="the image itself is complete; make room, or name another file",
        ) from None

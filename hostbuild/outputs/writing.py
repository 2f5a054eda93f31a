"""Writes each output out of a build's layout, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import BinaryIO

from hostbuild.errors import InvalidPlatformError, StoreError, UsageError
from hostbuild.model import BuildResult, Event, EventCallback, Output, PlatformResult
from hostbuild.oci.digest import Digest
from hostbuild.oci.layout import INDEX_FILE
from hostbuild.oci.platform import Platform, local_platform
from hostbuild.oci.reference import Reference
from hostbuild.outputs.destinations import (
    STANDARD_OUTPUT,
    WRITTEN,
    Write,
    check_destinations,
    file_at,
    is_tar,
    naming_dest,
)
from hostbuild.project import BuildSubject
from hostbuild.store.failures import Explaining
from hostbuild.store.layout import LayoutBlobs, write_layout
from hostbuild.store.publish import publish_directory, stage_beside

#: An event tells how far a tar file is after so many bytes.
_TELL_EVERY = 64 << 20


def write_outputs(
    result: BuildResult,
    subject: BuildSubject,
    on_event: EventCallback,
    *,
    stdout: BinaryIO | None = None,
    host: Platform | None = None,
) -> None:
    """Write the outputs of type oci and docker from the result's layout; `stdout` takes what has dest=-.

    The caller keeps the build from being cleaned meanwhile (`BuildDir.pin`).

    Each file or directory is whole, or as it was before; a stream is as far as it came. One build gives
    the same bytes every time, but that the manifest.json of a type=docker names the image of one
    platform, `host`'s: by default this machine's.

    Raises UsageError and StoreError as `check_destinations` does; StoreError where the disk or the reader
    of a pipe refuses, or the build is sparse; CorruptBlobError for a blob that is not what its name says.
    """
    outputs = [each for each in subject.request.outputs if each.kind in WRITTEN]
    if not outputs:
        return
    check_destinations(outputs, stdout is not None and stdout.isatty())
    if result.absent:
        raise StoreError(
            "an image that is not complete here cannot be written",
            why=f"{len(result.absent)} layers of its base are in the registry only",
            fix="build it with this output, so that they are fetched",
        )
    for output in outputs:
        if is_tar(output):
            _tar(result, output, stdout, host or _this_machine(), on_event)
        else:
            _layout_directory(result, output.destination)
        on_event(Event("info", f"wrote {_what(output)}"))


def _what(output: Output) -> str:
    if not is_tar(output):
        return f"the image layout {output.destination}"
    place = "to standard output" if output.destination == STANDARD_OUTPUT else output.destination
    return f"the {'docker' if output.kind == 'docker' else 'OCI'} archive {place}"


def _this_machine() -> Platform | None:
    """What containers on this machine are, on any system: Linux on its processor. None for an unknown one."""
    try:
        return local_platform("linux", os.uname().machine)
    except InvalidPlatformError:
        return None


def _layout_directory(result: BuildResult, destination: str) -> None:
    """The user's own copy: changing it must not change the cache, so nothing in it is a hard link."""
    blobs = LayoutBlobs(result.layout)
    with (
        Explaining("read the build", result.layout),
        open(os.path.join(result.layout, INDEX_FILE), "rb") as stream,
    ):
        index = stream.read()
    with naming_dest(), stage_beside(destination) as staged:
        listed = blobs_of(result.platforms, result.index_digest, result.index_size)
        write_layout(staged.path, blobs, index, listed, link=False)
        publish_directory(staged.path, destination)


def _tar(
    result: BuildResult,
    output: Output,
    stdout: BinaryIO | None,
    host: Platform | None,
    on_event: EventCallback,
) -> None:
    from hostbuild.layer.archive import write_archive
    from hostbuild.outputs.tars import DOCKER_FILE, docker_manifest, image_entries

    documents = {}
    if output.kind == "docker":
        tags = (Reference.parse(tag) for tag in result.tags)
        documents[DOCKER_FILE] = docker_manifest(result.platforms, tags, host)
    blobs = blobs_of(result.platforms, result.index_digest, result.index_size)
    with Explaining("read the build", result.layout):
        entries = image_entries(result.layout, blobs, documents)
    progress = _Progress(output.destination, sum(size for _, size in blobs), on_event)
    if output.destination == STANDARD_OUTPUT:
        write_archive(entries, progress.around(_to_stream(stdout)))
        _flush(stdout)
        return
    with file_at(output.destination) as write:
        write_archive(entries, progress.around(write))


def _to_stream(stdout: BinaryIO | None) -> Write:
    if stdout is None:
        raise UsageError("there is no standard output to write an image to", fix="name a file with dest=")

    def write(data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:  # an unbuffered stream may take less than all
                taken = stdout.write(view)
                if not taken:
                    raise BlockingIOError("it takes no more (it must be a blocking stream)")
                view = view[taken:]
        except OSError as error:
            raise _broken(error) from error

    return write


def _flush(stdout: BinaryIO | None) -> None:
    if stdout is not None:
        try:
            stdout.flush()
        except OSError as error:
            raise _broken(error) from error


def _broken(error: OSError) -> StoreError:
    reader_left = isinstance(error, BrokenPipeError)
    return StoreError(
        "cannot write the image to standard output",
        why="what reads it ended early" if reader_left else error.strerror or str(error),
        fix="look at what the reading program says" if reader_left else "name a file with dest=",
    )


class _Progress:
    """Tells now and then how much of an output is written."""

    def __init__(self, destination: str, total: int, on_event: EventCallback) -> None:
        self._message = f"writing {destination}"
        self._total = total
        self._on_event = on_event
        self._done = 0
        self._told = 0

    def around(self, write: Write) -> Write:
        """`write`, counted."""

        def counted(data: bytes) -> None:
            write(data)
            self._done += len(data)
            if self._done - self._told >= _TELL_EVERY:
                self._told = self._done
                done = min(self._done, self._total)  # headers are not counted beforehand
                data_of = {"step": "output", "done": done, "total": self._total}
                self._on_event(Event("progress", self._message, data=data_of))

        return counted


def blobs_of(
    images: Iterable[PlatformResult], index_digest: str, index_size: int
) -> list[tuple[Digest, int]]:
    """Digest and size in bytes of each blob of the image: layers, configs, manifests, and the index."""
    found: dict[str, int] = {}
    for image in images:
        found.update((layer.digest, layer.size) for layer in image.layers)
        found[image.config] = image.config_size
        found[image.manifest] = image.manifest_size
    found[index_digest] = index_size
    return [(Digest.parse(text), size) for text, size in found.items()]

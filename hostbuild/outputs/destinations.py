"""Where outputs go, and what may not be written to; and how a file gets there, whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from hostbuild.descriptors import descriptor_of, why_not_writable
from hostbuild.errors import StoreError, UsageError
from hostbuild.model import Output
from hostbuild.points import reach
from hostbuild.store.failures import Explaining
from hostbuild.store.publish import is_replaceable, stage_beside
from hostbuild.store.syncing import sync_directory

STANDARD_OUTPUT = "-"
#: The kinds that are written here; the others are pushed.
WRITTEN = ("oci", "docker")

Write = Callable[[bytes], object]


def is_tar(output: Output) -> bool:
    """Whether the output is one file: type=docker is always, type=oci if not told otherwise."""
    return output.tar or output.kind == "docker"


def check_destinations(
    outputs: Iterable[Output], stdout_is_terminal: bool = False, *, private: Sequence[str] = ()
) -> None:
    """Refuse what could not be written at the end, before anything is made; and all that lies in one of the
    `private` directories, which are hostbuild's own.

    Raises UsageError for standard output that is a terminal, asked for twice, or asked to hold a
    directory, and for a place that two outputs name; StoreError for a place that cannot be replaced or
    where nothing can be made.
    """
    places: set[str] = set()
    for output in outputs:
        if output.kind not in WRITTEN:
            continue
        destination = output.destination
        if destination == STANDARD_OUTPUT:
            _check_standard_output(output, stdout_is_terminal)
        place = destination if destination == STANDARD_OUTPUT else os.path.realpath(destination)
        if place in places:
            shown = "standard output" if place == STANDARD_OUTPUT else repr(destination)
            raise UsageError(f"two outputs go to {shown}", fix="give each its own dest=")
        places.add(place)
        if destination != STANDARD_OUTPUT:
            refuse_private(f"the output {destination!r}", destination, private)
        if destination != STANDARD_OUTPUT and (reason := _why_not(output, place)):
            raise StoreError(
                f"cannot write the output {destination!r}", why=reason, fix="name another place with dest="
            )


def refuse_private(what: str, path: str, private: Sequence[str]) -> None:
    """Raises StoreError where `path` lies in one of the `private` directories (cache, builds).

    What is written there would damage other builds: a blob with other bytes, a lock that is replaced.
    """
    target = os.path.realpath(path)
    for directory in map(os.path.realpath, private):
        if target == directory or target.startswith(directory.rstrip(os.sep) + os.sep):
            raise StoreError(
                f"{what} is not written",
                why=f"it lies in hostbuild's own directory {directory!r}",
                fix="name another place",
            )


def _check_standard_output(output: Output, is_terminal: bool) -> None:
    if not is_tar(output):
        raise UsageError("a directory does not go to standard output", fix="leave tar=false out")
    if is_terminal:
        raise UsageError(
            "an image is not written to a terminal",
            fix="send it to a file or a program (… > image.tar, … | docker load), or name a file with dest=",
        )


def _why_not(output: Output, target: str) -> str:
    """Why the place cannot be written; "" where it can, as far as can be told beforehand."""
    with Explaining("look at the destination", target):
        if f"{os.sep}by-hash{os.sep}" in target and f"{os.sep}builds{os.sep}" in target:
            return "a published build never changes"
        number = descriptor_of(output.destination)
        if number is not None:
            return _why_not_descriptor(output, number)
        if is_tar(output) and os.path.exists(output.destination):
            return _why_not_file(output.destination)
        return is_replaceable(target) if os.path.lexists(target) else _why_not_made(output, target)


def _why_not_made(output: Output, target: str) -> str:
    if is_tar(output) and output.destination.endswith(os.sep):
        return "a tar file is to be written, and this names a directory"
    above = os.path.dirname(target)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        return f"{above!r} is not a directory"
    return "" if os.access(above, os.W_OK | os.X_OK) else f"nothing can be made in {above!r}"


def _why_not_descriptor(output: Output, number: int) -> str:
    if not is_tar(output):
        return "a directory does not go to an open descriptor; leave tar=false out"
    return why_not_writable(number) or ("it is a terminal" if os.isatty(number) else "")


def _why_not_file(destination: str) -> str:
    mode = os.stat(destination).st_mode
    if stat.S_ISDIR(mode):
        return "it is a directory, and a tar file is to be written; for an image layout write tar=false"
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        return "it is a device or a socket"
    if stat.S_ISCHR(mode) and _is_terminal(destination):
        return "it is a terminal"
    return ""


def _is_terminal(path: str) -> bool:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def file_at(destination: str) -> Iterator[Write]:
    """Gives a function that writes; the file gets its name when the block ends well.

    It is written beside its destination (links resolved) in a private directory, synced, and renamed over
    what has the name: a reader finds the older file or the whole new one. Directories that miss are made.
    What a killed process left is removed by the next one that writes there. A pipe or a character device is
    written to as it is, and an open descriptor (/dev/fd/3, what a shell gives for `>(…)`) where it stands.
    Raises StoreError.
    """
    with naming_dest():
        number = descriptor_of(destination)
        if number is not None:
            yield _writer(number, destination)
            return
        if _is_stream(destination):
            with Explaining("write an image", destination):
                descriptor = os.open(destination, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    yield _writer(descriptor, destination)
                finally:
                    os.close(descriptor)
            return
        target = os.path.realpath(destination)
        parent = os.path.dirname(target)
        with stage_beside(target) as staged, Explaining("write an image", parent):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(staged.path, flags, 0o666)
            try:
                yield _writer(descriptor, parent)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            reach("output-before-rename")
            os.rename(staged.path, target)
            reach("output-after-rename")
            sync_directory(parent)


def _is_stream(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:  # not there: it is made, and a reason against that is told then
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _writer(descriptor: int, path: str) -> Write:
    def write(data: bytes) -> None:
        view = memoryview(data)
        with Explaining("write an image", path):
            while view:
                view = view[os.write(descriptor, view) :]
                reach("output-partly-written")

    return write


@contextmanager
def naming_dest() -> Iterator[None]:
    """The store's advice names its own flags; here it is dest= that can be changed."""
    try:
        yield
    except StoreError as error:
        error.fix = error.fix.replace("--cache-dir or --build-dir", "dest=")
        raise

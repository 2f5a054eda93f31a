"""`--compile`: bytecode for what can be imported, as entries of layers, made by a Python of this machine.

Bytecode is the same for every machine and platform; it depends on Python's minor version and, in details, on
its full one. So any Python of the base's minor version makes it here (`pythons` finds one), and nothing is
emulated. Wheels are never imported for it. What that Python runs is in `bytecode`.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from hostbuild.errors import ToolError
from hostbuild.languages.python.pythons import ALONE
from hostbuild.model import Entry, Event
from hostbuild.wheels.prefix import DEFAULT_PREFIX

if TYPE_CHECKING:
    from hostbuild.languages.base import Context, TreeJob

#: Bytes that a source may have: a larger one is data that is called .py.
LARGEST = 16 << 20

_NAMED = 3
_LONGEST_NAME = 255


def compile_files(
    parts: Mapping[str, Sequence[Entry]], job: TreeJob, context: Context
) -> dict[str, tuple[Entry, ...]]:
    """The bytecode of what can be imported among the entries of each part (a wheel, by its digest).

    A source that does not compile is passed over. One process does it all; what an earlier tree of this
    build made of a part is taken. Raises ToolError.
    """
    work = os.path.join(job.work, "bytecode")
    os.makedirs(work, exist_ok=True)
    sources = {part: [entry for entry in entries if _is_source(entry)] for part, entries in parts.items()}
    places = {part: os.path.join(work, part.replace(":", "-")) for part in parts}
    missing = {part: each for part, each in sources.items() if each and not os.path.isdir(places[part])}
    if missing:
        _make(missing, places, work, job, context)
    major, minor = job.recipe["compile"]["python"].split(".")[:2]
    tag = f"cpython-{major}{minor}"
    return {part: tuple(_entries(each, places[part], tag)) if each else () for part, each in sources.items()}


def tell_passed_over(
    files: Iterable[Sequence[Entry]], compiled: Iterable[Sequence[Entry]], context: Context
) -> None:
    """Tell how many sources of all `files` have no bytecode among what was `compiled`, and name a few."""
    sources = [entry for entries in files for entry in entries if _is_source(entry)]
    done = {entry.origin for entries in compiled for entry in entries}
    left = [entry.path for entry in sources if entry.origin not in done]
    if left:
        names = ", ".join(path.removeprefix(f"{DEFAULT_PREFIX.site}/") for path in left[:_NAMED])
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        context.emit(
            Event(
                "info",
                f"{len(left)} of {len(sources)} sources do not compile and have no bytecode: {names}{more}",
            )
        )


def _is_source(entry: Entry) -> bool:
    """Whether an import may read it: a .py file below site-packages whose bytecode can have a name."""
    folder, _, name = entry.path.rpartition("/")
    return (
        entry.kind == "file"
        and entry.size <= LARGEST
        and len(name) > len(".py")
        and name.endswith(".py")
        and f"{folder}/".startswith(f"{DEFAULT_PREFIX.site}/")
        and len(name.encode()) + len(".cpython-3999c") <= _LONGEST_NAME
    )


def _make(
    missing: Mapping[str, Sequence[Entry]],
    places: Mapping[str, str],
    work: str,
    job: TreeJob,
    context: Context,
) -> None:
    import tempfile

    from hostbuild.languages.python import bytecode

    version = job.recipe["compile"]["python"]
    with tempfile.TemporaryDirectory(dir=work, prefix=".") as stage:
        tasks, made = [], {}
        for number, (part, entries) in enumerate(missing.items()):
            made[part] = os.path.join(stage, str(number))
            os.mkdir(made[part])
            tasks.append(_task(made[part], os.path.join(stage, f"{number}.sources"), entries))
        _write(os.path.join(stage, "job"), json.dumps({"python": version, "tasks": tasks}).encode())
        script = os.path.join(stage, "bytecode.py")
        with open(bytecode.__file__, "rb") as stream:
            _write(script, stream.read())
        try:
            argv = (job.tools["python"], *ALONE, script, os.path.join(stage, "job"))
            context.run(argv, cwd=stage, env=job.environment)
        except ToolError as error:
            raise ToolError(
                "the bytecode of the dependencies could not be made",
                why=error.why or error.what,
                fix="build again, or without --compile",
                detail=error.detail,
                **error.extra,
            ) from error
        for part, path in made.items():
            _keep(path, places[part])


def _task(made: str, path: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """Write the sources to one file: there may be thousands."""
    files = []
    with open(path, "wb") as stream:
        for entry in entries:
            with _open(entry) as source:
                size = stream.write(source.read())
            files.append([f"/{entry.path}", size])
    return {
        "sources": path,
        "files": files,
        "bytecode": os.path.join(made, "bytecode"),
        "rows": os.path.join(made, "rows"),
    }


def _keep(path: str, place: str) -> None:
    try:
        os.rename(path, place)
    except OSError:
        # A worker for another platform was faster: it made the same.
        if not os.path.isdir(place):
            raise


def _entries(sources: Sequence[Entry], place: str, tag: str) -> Iterator[Entry]:
    with open(os.path.join(place, "rows"), encoding="utf-8") as stream:
        rows = json.load(stream)
    path, start = os.path.join(place, "bytecode"), 0
    for entry, row in zip(sources, rows, strict=True):
        if row is None:
            continue
        size, digest = row
        folder, _, name = entry.path.rpartition("/")
        yield Entry(
            f"{folder}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc",
            "file",
            0o644,
            size=size,
            open=_slice(path, start, size),
            digest=digest,
            origin=entry.origin,
        )
        start += size


def _slice(path: str, start: int, size: int) -> Callable[[], BinaryIO]:
    def read() -> BinaryIO:
        with open(path, "rb") as stream:
            stream.seek(start)
            return io.BytesIO(stream.read(size))

    return read


def _open(entry: Entry) -> BinaryIO:
    if entry.open is None:
        raise ValueError(f"{entry.path} is no file")
    return entry.open()


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(data)

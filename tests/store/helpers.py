"""What several test files of this room use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hostbuild.oci.digest import Digest
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from hostbuild.store.layout import write_layout
from hostbuild.store.staging import Staging


class FaultyOs:
    """The os module with some functions replaced; put in place of one module's `os`."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def failing(code: int) -> Callable[..., Any]:
    def fail(*args: object, **keywords: object) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


def start(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Another Python process that runs `code`."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for_line(process: subprocess.Popen[str], expected: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == expected


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return output


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def build_id(number: int) -> str:
    """A build ID whose lock stripe is its own for small numbers."""
    return f"{number:03x}" + f"{number:061x}"


IDENTITY = {"pid": os.getpid(), "host": "here", "command": "test"}


def blobs_of(cache: Cache, text: str) -> list[tuple[Digest, int]]:
    return [cache.blobs.put(f"{text} {each}".encode()) for each in range(3)]


def index_of(descriptors: Iterable[tuple[Digest, int]]) -> bytes:
    digest, size = next(iter(descriptors))
    return f'{{"schemaVersion":2,"manifests":[{{"digest":"{digest}","size":{size}}}]}}'.encode()


def fill(staging: Staging, cache: Cache, text: str = "content") -> None:
    """Put a small complete build into `staging`."""
    descriptors = blobs_of(cache, text)
    write_layout(os.path.join(staging.build, "oci"), cache.blobs, index_of(descriptors), descriptors)
    staging.write_record({"text": text}, descriptors)


def make_build(builds: BuildDir, cache: Cache, number: int, *, last: bool = True) -> str:
    """Make, publish and maybe name `last` a whole build; its ID."""
    with builds.begin(build_id(number), IDENTITY) as staging:
        fill(staging, cache, str(number))
        staging.publish()
        if last:
            staging.set_last()
    return build_id(number)


def make_old(builds: BuildDir, *numbers: int) -> None:
    """Give builds an age: lower numbers are older."""
    for number in numbers:
        when = time.time() - 10_000 + number
        os.utime(builds.places.build(build_id(number)), (when, when))


def tree(directory: str | Path) -> list[str]:
    """All names below a directory, sorted."""
    return sorted(str(path.relative_to(directory)) for path in Path(directory).rglob("*"))


#: A process that makes one build: root, cache, build ID, and the point where it dies ("hold": it waits).
BEGIN = """
import os, sys
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache
from hostbuild.points import set_hook
from tests.store.helpers import fill
root, cache, build_id, point = sys.argv[1:]
set_hook(lambda name: os.kill(os.getpid(), 9) if name == point else None)
identity = {"pid": os.getpid(), "host": "here", "command": "other"}
with BuildDir(root).begin(build_id, identity) as staging:
    print("begun", flush=True)
    if point == "hold":
        sys.stdin.readline()
    fill(staging, Cache(cache), "content")
    staging.publish()
    staging.set_last()
    print("published", flush=True)
"""

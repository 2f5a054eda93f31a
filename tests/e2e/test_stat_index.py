"""What did not change is not opened, by any part of a build; what did is, and no memory is taken for it."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, make_source
from tests.rig.sources import HELLO

ONE = ("-t", "registry.example/app:v1", "--platform", "linux/amd64", "--ship-source")
MIB = 1 << 20

#: Notes every file that Python opens, in this process and in its workers.
HOOK = """
import os, sys

def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        os.write(log, os.fsencode(arguments[0]) + b"\\n")

log = os.open(os.environ["NOTED_OPENS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
sys.addaudithook(note)
"""


class Watched:
    """Builds, and tells which of the source's files were opened."""

    def __init__(self, hostbuild: Hostbuild, root: Path) -> None:
        self.hostbuild = hostbuild
        self.root = root
        self._log = root.parent / "opens"
        hook = root.parent / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK)
        self._environment = {"PYTHONPATH": str(hook), "NOTED_OPENS": str(self._log)}

    def __call__(self, *arguments: str) -> tuple[str, set[str]]:
        self._log.write_text("")
        done = self.hostbuild("build", self.root, *ONE, *arguments, env=self._environment)
        lines = self._log.read_text(errors="surrogateescape").splitlines()
        assert lines, "the hook saw nothing"
        below = f"{self.root}/"
        names = {line.removeprefix(below) for line in lines if line.startswith(below)}
        return done.digest, {name for name in names if name.startswith("data/") or name == "words.txt"}


@pytest.fixture
def watched(hostbuild: Hostbuild, tmp_path: Path) -> Watched:
    root = make_source(tmp_path / "src", HELLO | {"words.txt": "some"})
    for number in range(20):
        path = root / f"data/{number % 3}/{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * (2 * MIB))
    for path in root.rglob("*"):
        os.utime(path, (10**9, 10**9))
    return Watched(hostbuild, root)


def test_what_did_not_change_is_not_opened(watched: Watched) -> None:
    first, opened = watched()
    assert len(opened) == 21
    again, opened = watched()
    assert (again, opened & {"words.txt", "data/0/0.bin"}) == (first, set())
    (watched.root / "words.txt").write_text("same")
    os.utime(watched.root / "words.txt", (10**9, 10**9))
    edited, opened = watched()
    assert edited != first
    assert opened == {"words.txt"}
    (watched.root / "words.txt").write_text("some")
    assert watched()[0] == first
    everything, opened = watched("--no-cache")
    assert everything == first
    assert len(opened) == 21


def test_two_builds_at_once_and_a_copy_beside(watched: Watched, tmp_path: Path) -> None:
    first, _ = watched()
    copy = Path(shutil.copytree(watched.root, tmp_path / "copy", ignore=shutil.ignore_patterns(".func")))
    (copy / "data/1/4.bin").write_bytes(b"y" * (2 * MIB))
    os.utime(copy / "data/1/4.bin", (10**9, 10**9))
    (watched.root / "words.txt").write_text("more")
    build = watched.hostbuild
    with ThreadPoolExecutor(3) as threads:
        one = threads.submit(build, "build", watched.root, *ONE, "--build-dir", str(tmp_path / "b1"))
        two = threads.submit(build, "build", watched.root, *ONE, "--build-dir", str(tmp_path / "b2"))
        other = threads.submit(build, "build", copy, *ONE)
    assert one.result().digest == two.result().digest
    assert len({first, one.result().digest, other.result().digest}) == 3
    alone = Hostbuild(tmp_path / "alone")
    alone.home.mkdir()
    assert alone("build", copy, *ONE).digest == other.result().digest

"""A short run of scripts/torture, and that its judge sees what is wrong."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, make_source
from tests.rig.sources import HELLO
from tests.torture.home import Home, Source
from tests.torture.judge import Judge

SCRIPT = Path(__file__).parents[2] / "scripts/torture"
SEED = 20261124


def test_a_short_run_finds_no_fault(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        SCRIPT,
        "--seconds",
        "8",
        "--builders",
        "5",
        "--sources",
        "3",
        "--seed",
        str(SEED),
    ]
    done = subprocess.run(
        list(map(str, argv)),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"seed {SEED}" in done.stdout.splitlines()[0]
    last = done.stdout.splitlines()[-1]
    match = re.fullmatch(r"(\d+) kills in \d+ s, (\d+) builds, .* 0 faults, seed \d+", last)
    assert match, last
    assert int(match[1]) > 5
    assert int(match[2]) > 5
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as it is after a run in which all was right."""
    path = tmp_path_factory.mktemp("finished")
    (path / "tmp").mkdir()
    root = make_source(path / "sources/one", HELLO)
    hostbuild = Hostbuild(path)
    assert hostbuild("build", root, "-t", "registry.example/app:v1", "--platform", "linux/amd64").reference
    return path


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Home:
    """A copy of it."""
    path = tmp_path / "home"
    shutil.copytree(finished, path, symlinks=True)
    source = Source("one", "program", path / "sources/one", "registry.example/app:v1")
    return Home(path, 1, random.Random(0), sources=[source])


def builds(home: Home) -> Path:
    return home.sources[0].builds


def one(folder: Path, pattern: str) -> Path:
    return min(path for path in folder.glob(pattern) if path.is_file())


def other_byte(path: Path) -> None:
    """Another byte in the middle; the size stays."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


DAMAGE: dict[str, tuple[Callable[[Home], object], str]] = {
    "a blob of the cache": (
        lambda home: other_byte(one(home.cache / "blobs", "sha256/*/*")),
        "is not what its name says",
    ),
    "a blob of the layout": (
        lambda home: other_byte(one(builds(home), "by-hash/*/oci/blobs/sha256/*")),
        "is not what its name says",
    ),
    "a missing blob": (
        lambda home: one(builds(home), "by-hash/*/oci/blobs/sha256/*").unlink(),
        "No such file",
    ),
    "a blob too many": (
        lambda home: (one(builds(home), "by-hash/*/oci/index.json").parent / "blobs/sha256/00").write_text(
            "x"
        ),
        "are not those that are named",
    ),
    "a torn record": (
        lambda home: one(home.cache / "keys", "*/*.json").write_text("{"),
        "cannot be read",
    ),
    "another's record": (
        lambda home: one(home.cache / "keys", "*/*.json").write_text('{"key": "0"}'),
        "is another's",
    ),
    "last without a build": (
        lambda home: shutil.rmtree((builds(home) / "last").resolve()),
        "last names nothing",
    ),
    "a staged directory": (lambda home: (builds(home) / "staging/x").mkdir(), "is left"),
    "a pid link": (lambda home: (builds(home) / "by-pid/1").symlink_to("x"), "is left"),
    "trash": (lambda home: (builds(home) / "trash/x").mkdir(), "is left"),
    "half of a swap": (lambda home: (builds(home) / ".last.0123").touch(), "is left"),
    "a temp blob": (lambda home: (home.cache / "tmp/tmp.1.0").touch(), "is left"),
    "a tool's directory": (lambda home: (home.temp / "go-build1").mkdir(), "is left"),
    "a torn line": (lambda home: (builds(home) / "hostbuild.log.1").write_text("half\n"), "a torn line"),
}


def judged(home: Home) -> list[str]:
    """Its faults; this machine has processes of others, which a run in a namespace of its own has not."""
    return [fault for fault in Judge(home).everything() if not fault.startswith("process ")]


@pytest.mark.parametrize("what", DAMAGE)
def test_the_judge_sees(what: str, home: Home) -> None:
    assert judged(home) == []
    damage, words = DAMAGE[what]
    damage(home)
    assert words in "\n".join(judged(home))


def test_the_judge_sees_a_process(home: Home) -> None:
    with subprocess.Popen(["sleep", "300"]) as process:
        try:
            assert any(
                fault.startswith(f"process {process.pid} is left") for fault in Judge(home).everything()
            )
        finally:
            process.kill()

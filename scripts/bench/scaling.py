"""What each amount costs: files, bytes, platforms, builds at once, entries of the cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bed import Point, Results, Run, measured
from projects import Tools, write

#: A program without imports: linking takes little, so that what is measured shows.
PROGRAM = {
    "go.mod": "module example.com/program\n\ngo 1.21\n",
    "main.go": 'package main\n\nfunc main() { println("EDIT") }\n',
    "hostbuild.toml": "ship-source = true\n",
}
#: Writes a directory of so many files, so many bytes together: some random, some that compress.
TREE = """
import os, random, sys
root, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
pool = b"".join(random.randbytes(40) + bytes(range(32, 92)) for _ in range(10_000))
for number in range(count):
    folder = f"{root}/{number // 100}"
    os.makedirs(folder, exist_ok=True)
    left = size // count
    with open(f"{folder}/{number}", "wb") as file:
        while left > 0:
            start = random.randrange(len(pool) - 1000)
            left -= file.write(pool[start : start + left])
"""
#: Twelve that Go builds for without a C compiler, the usual ones first.
PLATFORMS = (
    *("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/s390x"),
    *("linux/riscv64", "linux/mips64le", "linux/arm/v6", "linux/loong64", "linux/amd64/v2", "linux/amd64/v3"),
)


@dataclass
class Program:
    """A small program in a directory of its own, with a cache of its own."""

    tools: Tools
    root: Path
    edits: int = 0

    def __post_init__(self) -> None:
        write(self.source, PROGRAM)
        self.edit()

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "hostbuild", "build", str(self.source)),
            *("--progress", "quiet", "--tag", "registry.example/bench:1"),
        ]

    @property
    def env(self) -> dict[str, str]:
        return {**self.tools.env, "HOSTBUILD_CACHE_DIR": str(self.root / "cache")}

    def edit(self) -> None:
        self.edits += 1
        word = f"edit {self.edits} of {time.time_ns()}"
        (self.source / "main.go").write_text(PROGRAM["main.go"].replace("EDIT", word))

    def build(self, platforms: Sequence[str] = PLATFORMS[:1]) -> Run:
        return measured([*self.command, "--platform", ",".join(platforms)], env=self.env)


def files(results: Results, tools: Tools, amounts: Sequence[int], size: int = 1000) -> None:
    """Files of about `size` bytes each: new, then unchanged."""
    for amount in amounts:
        _data(results, tools, "files", amount, amount, amount * size / 1e6)


def megabytes(results: Results, tools: Tools, amounts: Sequence[int]) -> None:
    """One file of so many megabytes: new, then unchanged."""
    for amount in amounts:
        _data(results, tools, "MB in one file", amount, 1, amount)


def _data(results: Results, tools: Tools, unit: str, amount: int, count: int, weight: float) -> None:
    program = Program(tools, tools.home / "scaling")
    program.build()  # the program's own layer is made: what follows is the data's
    measured([sys.executable, "-c", TREE, program.source / "data", count, int(weight * 1e6)])
    os.sync()
    for name in ("new", "unchanged"):
        _note(results, f"{unit}, {name}", amount, program.build())
    _note(results, f"{unit}, unchanged", amount, program.build())
    shutil.rmtree(program.root)


def platforms(results: Results, tools: Tools, amounts: Sequence[int]) -> None:
    """One line edited, for so many platforms; the compiler's cache is warm."""
    program = Program(tools, tools.home / "scaling")
    program.build(PLATFORMS[: max(amounts)])
    for amount in amounts:
        program.build(PLATFORMS[:amount])
        for _ in range(2):
            program.edit()
            os.sync()
            _note(results, "platforms, one line edited", amount, program.build(PLATFORMS[:amount]))
    shutil.rmtree(program.root)


def at_once(results: Results, tools: Tools, amounts: Sequence[int]) -> None:
    """So many builds of different sources, begun together, with one cache."""
    home = tools.home / "scaling"
    programs = [Program(tools, home / str(number)) for number in range(max(amounts))]
    env = {**tools.env, "HOSTBUILD_CACHE_DIR": str(home / "cache")}
    script = (
        "import json, subprocess, sys\n"
        "running = [subprocess.Popen(argv) for argv in json.loads(sys.argv[1])]\n"
        "sys.exit(max([process.wait() for process in running]))\n"
    )
    for amount in [1, *amounts]:  # the first one warms up
        for program in programs:
            program.edit()
        commands = [[*program.command, "--platform", PLATFORMS[0]] for program in programs[:amount]]
        os.sync()
        run = measured([sys.executable, "-c", script, json.dumps(commands)], env=env)
        _note(results, "builds at once", amount, run)
    shutil.rmtree(home)


def entries(results: Results, tools: Tools, amounts: Sequence[int]) -> None:
    """A cache that holds so many blobs of others: nothing changed, and a text file edited."""
    program = Program(tools, tools.home / "scaling")
    program.build()
    have = 0
    for amount in sorted(amounts):
        _fill(program.root / "cache", have, amount)
        have = amount
        os.sync()
        program.build()
        for turn in range(3):
            _note(results, "entries of the cache, nothing changed", amount, program.build())
            (program.source / "notes.txt").write_text(f"{amount} {turn}")
            _note(results, "entries of the cache, a text edited", amount, program.build())
    shutil.rmtree(program.root)


def _fill(cache: Path, start: int, end: int) -> None:
    for number in range(start, end):
        data = str(number).encode()
        name = hashlib.sha256(data).hexdigest()
        directory = f"{cache}/blobs/sha256/{name[:2]}"
        if not os.path.isdir(directory):
            os.makedirs(directory, 0o700)
        descriptor = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CREAT, 0o444)
        os.write(descriptor, data)
        os.close(descriptor)


def _note(results: Results, series: str, amount: float, run: Run) -> None:
    """Keep the faster one where an amount is measured again."""
    points = results.series.setdefault(series, [])
    point = Point(amount, run.seconds, run.peak / 1000)
    results.say(f"{series}: {amount:g} take {run.seconds:.3f} s, {point.peak:.0f} MB")
    for number, old in enumerate(points):
        if old.amount == amount:
            points[number] = Point(amount, min(old.seconds, point.seconds), max(old.peak, point.peak))
            return
    points.append(point)

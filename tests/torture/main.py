"""What scripts/torture does: its arguments, its lines, its table."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.home import Home
from tests.torture.isolation import as_child_of_init, enter, is_inside
from tests.torture.storm import Storm

_EVERY = 10.0


def main(script: str) -> int:
    """Run, and print; 0, or 1 where something is wrong."""
    arguments = _parse()
    if not is_inside():
        enter(script, sys.argv[1:])
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's builders would ignore it, too
    return as_child_of_init(lambda: _run(arguments))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="torture", description="Kill builders that share a cache at random, and see what is left."
    )
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--seconds", type=float, help="for so long (default: 60)")
    much.add_argument("--kills", type=int, help="until so many SIGKILLs were sent")
    parser.add_argument("--seed", type=int, default=None, help="decides what the script decides")
    parser.add_argument("--builders", type=int, default=8, help="at once (default: %(default)s)")
    parser.add_argument("--sources", type=int, default=6, help="source directories (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the directory also when all is right")
    arguments = parser.parse_args()
    if arguments.seconds is None and arguments.kills is None:
        arguments.seconds = 60.0
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1_000_000)
    return arguments


def _run(arguments: argparse.Namespace) -> int:
    begun = time.monotonic()
    rng = random.Random(arguments.seed)
    path = Path(tempfile.mkdtemp(prefix="hostbuild-torture-"))
    _say(f"seed {arguments.seed}, {arguments.builders} builders, {arguments.sources} sources, in {path}")
    home = Home(path, arguments.sources, rng)
    home.make()
    spoken = [time.monotonic()]

    def tell(text: str) -> None:
        spoken[0] = time.monotonic()
        _say(f"{time.monotonic() - begun:6.0f} s  {text}")

    storm = Talking(home, rng, arguments.builders, _beside(home), tell)
    interrupted = False
    try:
        storm.run(arguments.seconds, arguments.kills)
    except KeyboardInterrupt:
        interrupted = True
    _say(*_table(storm, time.monotonic() - begun, arguments.seed))
    for fault in storm.faults[:20]:
        _say("", f"FAULT {fault}")
    if storm.faults or interrupted or arguments.keep:
        _say("", f"all of it is in {path}: sources/*/.func/builds, cache, out/*.err of who failed")
        _say(
            f"as it was started: HOSTBUILD_CACHE_DIR={home.cache} python -m hostbuild status {path}/sources/…"
        )
    else:
        shutil.rmtree(path)
    sys.stdout.flush()
    os._exit(1 if storm.faults else 130 if interrupted else 0)


class Talking(Storm):
    """A storm that says every few seconds how far it is."""

    _spoken = 0.0

    def _settle(self) -> None:
        super()._settle()
        if time.monotonic() - self._spoken > _EVERY:
            self._spoken = time.monotonic()
            done = sum(count for code, count in self.codes.items() if code == "build 0")
            self.tell(
                f"{self.count} kills, {done} builds done, {self.edits} edits, {len(self.faults)} faults"
            )


def _beside(home: Home) -> dict[str, list[tuple[str, ...]]]:
    """The commands that run in a loop beside the builders; those that this hostbuild has."""
    wanted: dict[str, list[tuple[str, ...]]] = {
        "status": [("status", "--json"), ("status",)],
        "clean": [("clean",), ("clean", "--keep", "1"), ("clean", "--dry-run")],
        "cache prune": [
            ("cache", "prune", "--all"),
            ("cache", "prune", "--max-used-space", "1M"),
            ("cache", "prune", "--max-used-space", "4M"),
        ],
        "cache verify": [("cache", "verify"), ("cache", "verify", "--repair")],
        "cache info": [("cache", "info")],
    }
    return {kind: choices for kind, choices in wanted.items() if _exists(home, kind)}


def _exists(home: Home, kind: str) -> bool:
    argv = [sys.executable, "-m", "hostbuild", *kind.split(), "--help"]
    done = subprocess.run(argv, cwd=home.path, env=dict(home.environment), capture_output=True, check=False)
    return done.returncode == 0


def _table(storm: Storm, seconds: float, seed: int) -> list[str]:
    lines = ["", "what was hit", *(f"  {name:<24}{count:>6}" for name, count in sorted(storm.kills.items()))]
    lines += ["how commands ended"]
    lines += [f"  {name:<24}{count:>6}" for name, count in sorted(storm.codes.items())]
    builds = sum(count for name, count in storm.codes.items() if name.startswith("build "))
    lines.append(
        f"{storm.count} kills in {seconds:.0f} s, {builds} builds, {storm.edits} edits, {storm.quiet} quiet"
        f" moments, {storm.blobs} blobs read, {len(storm.faults)} faults, seed {seed}"
    )
    return lines


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()

"""A data layer in each compression against tar and gzip at level 6: layer.py's contestants, in turns."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bed import Results, Run
from projects import HERE, Tools, make_tree

GO = "go-gzip6"
#: What layer.py calls its contestants.
OURS = ("gzip", "gzip:fast", "zstd", "zstd 3", "uncompressed")
OTHERS = (GO, "tarfile-gzip6")
LEVELS = (
    *("gzip 1", "gzip 3", "gzip 6", "gzip 9", "gzip:fast 1", "gzip:fast 2"),
    *("zstd 1", "zstd 3", "zstd 6", "zstd 9", "uncompressed"),
)


def layers(results: Results, tools: Tools, turns: int, files: int, megabytes: float) -> None:
    """Ours `turns` times, the others once."""
    _measure(results, tools, f"layer of {files} files, {megabytes:.0f} MB", turns, (files, megabytes), OURS)


def levels(results: Results, tools: Tools, files: int, megabytes: float) -> None:
    """Size against time of every compression and level."""
    work = f"levels, {files} files, {megabytes:.0f} MB"
    _measure(results, tools, work, 1, (files, megabytes), LEVELS)


def _measure(
    results: Results, tools: Tools, work: str, turns: int, size: tuple[int, float], names: Sequence[str]
) -> None:
    tree = tools.home / "tree"
    make_tree(tree, *size, seed=7)
    results.facts[f"{work}: bytes"] = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    for turn in range(turns):
        for name in [*OTHERS, *names] if not turn else reversed(names):
            figures = _contestant(name, tree, tools.peer)
            if figures is None:
                results.notes.append(f"{work}: {name} is left out: it failed (is hostbuild[fast] installed?)")
                continue
            run = Run(figures["seconds"], figures["cpu"], int(figures["rss"]))
            results.add(work, name, run, int(figures["size"]))
            if "floor" in figures:
                known = results.facts.get(f"{work}: floor of {name}", figures["floor"])
                results.facts[f"{work}: floor of {name}"] = min(known, figures["floor"])
            results.say(f"{work}: {name} {run.seconds:.3f} s")
    shutil.rmtree(tree)


def _contestant(name: str, tree: Path, peer: Path) -> dict[str, float] | None:
    command = [sys.executable, str(HERE / "layer.py"), "--one", name, "--tree", str(tree), f"--peer={peer}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    figures: dict[str, float] = json.loads(done.stdout)
    return figures

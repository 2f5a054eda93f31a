"""Everything side by side in one run: hostbuild, ko, crane, and what func's host builder does.

    python scripts/bench/all.py [--quick | --full] [--only GROUP,…] [--json | --markdown]
        [--save FILE] [--plot FILE]

Peers are installed with `go install` into the user's cache, once; one that is not to be had is named and
left out. `as func does it` stands for func's host builder, which cannot be installed that way: the same
function in its scaffold, one `go build` a platform after the other, source and binaries each written as a
layer by Go's archive/tar and compress/gzip at level 6. It makes no configs, index and layout: a little less.

Each contestant is a whole process from outside, interpreter start included. They take turns, in another order
each time; the figures are medians, with the least and the most. Peak memory is that of the largest process of
the contestant's tree (for builds that compile, often the compiler). hostbuild syncs what it writes to the
disk, the others do not. What earlier contestants left to be written is written before a run, not in it.

Groups: start, small, data, cold, layers, transfers, scaling, safety. About 15 minutes on two cores; --quick
takes about four, with less of everything; --full adds 1,000,000 files and 10 GB, and takes half an hour more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import builds
import layers
import report
import safety
import scaling
import transfers
from bed import Results
from build import real_go
from builds import Size
from peers import find
from plots import svg
from projects import HERE, Tools, push_empty_base
from registry import free_port, registry

GROUPS = ("start", "small", "data", "cold", "layers", "transfers", "scaling", "safety")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("--quick", action="store_true", help="less of everything")
    how_much.add_argument("--full", action="store_true", help="also 1,000,000 files and 10 GB")
    how_much.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # does it run at all
    parser.add_argument("--only", default="", metavar="GROUP,…", help="only these groups")
    parser.add_argument("--json", action="store_true", help="print every time as JSON")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--save", default="", metavar="FILE", help="also write every time as JSON")
    parser.add_argument("--plot", default="", metavar="FILE", help="also draw the scaling as SVG")
    arguments = parser.parse_args()
    groups = [each for each in arguments.only.split(",") if each] or list(GROUPS)
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    go = real_go()
    if go is None:
        print("error: no go command on PATH\n  fix: pip install 'hostbuild[go]'", file=sys.stderr)
        return 1
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(go), os.environ.get("PATH", os.defpath)])
    # Also who is told to stop ends the registry and removes its directory.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    begun = time.monotonic()
    results = Results(lambda text: print(f"{time.monotonic() - begun:6.0f} s  {text}", file=sys.stderr))
    scale = next((name for name in ("quick", "full", "tiny") if getattr(arguments, name)), "usual")
    with tempfile.TemporaryDirectory(prefix="hostbuild-bench-") as name, ExitStack() as stack:
        tools = prepare(Path(name), go, results, stack, peers=scale != "tiny")
        run(results, tools, groups, scale)
    if arguments.save:
        Path(arguments.save).write_text(json.dumps(results.as_json(), indent=1))
    if arguments.plot:
        Path(arguments.plot).write_text(svg(results.series))
    if arguments.json:
        print(json.dumps(results.as_json(), indent=1))
    else:
        print(report.markdown(results) if arguments.markdown else report.text(results))
    results.say("done")
    return 0


def prepare(home: Path, go: str, results: Results, stack: ExitStack, *, peers: bool) -> Tools:
    """Install the peers, build the Go program that writes layers, start the registry."""

    def notice(text: str) -> None:
        results.say(text)
        if "left out" in text:
            results.notes.append(text)

    found = {name: find(name, go, notice) if peers else None for name in ("ko", "crane", "func")}
    peer = home / "layer_peer"
    subprocess.run([go, "build", "-o", peer, HERE / "layer_peer.go"], cwd=home, check=True)
    tools = Tools(home, go, found["ko"], found["crane"], peer)
    if tools.crane and shutil.which("docker-registry"):
        tools.address = stack.enter_context(registry(home / "registry", free_port()))
        push_empty_base(tools)
    elif peers:
        results.notes.append("what is pushed is left out: docker-registry (Debian's) or crane is not here")
    return tools


def run(results: Results, tools: Tools, groups: list[str], scale: str) -> None:
    turns = {"tiny": 1, "quick": 3, "usual": 5, "full": 7}[scale]
    size = {
        "tiny": Size(turns, 20, 0.1, 0),
        "quick": Size(turns, 5000, 125, 0),
        "usual": Size(turns, 20_000, 500, 1),
        "full": Size(turns, 20_000, 500, 3),
    }[scale]
    works: dict[str, Callable[[], object]] = {
        "start": lambda: builds.start_up(results, tools, turns * 4),
        "small": lambda: builds.small(results, tools, size),
        "data": lambda: builds.with_data(results, tools, size),
        "cold": lambda: builds.cold(results, tools, size.cold) if size.cold else None,
        "layers": lambda: written(results, tools, size),
        "transfers": lambda: transfers.transfers(results, tools, size),
        "scaling": lambda: scaled(results, tools, scale),
        "safety": lambda: safety.price(results, tools, size),
    }
    for group in GROUPS:
        if group in groups:
            works[group]()
            for each in ("small", "data", "cold"):
                shutil.rmtree(tools.home / each, ignore_errors=True)


def written(results: Results, tools: Tools, size: Size) -> None:
    layers.layers(results, tools, min(size.turns, 2), size.files, size.megabytes)
    layers.levels(results, tools, size.files // 5, size.megabytes / 5)


def scaled(results: Results, tools: Tools, scale: str) -> None:
    many = {"tiny": 2, "quick": 4, "usual": 5, "full": 6}[scale]
    scaling.files(results, tools, [1000, 3000, 10_000, 30_000, 100_000, 1_000_000][:many])
    scaling.megabytes(results, tools, [1, 10, 100, 1000, 10_000][: many - 1])
    scaling.platforms(results, tools, [1, 2, 3, 6, 9, 12][: many + 1])
    scaling.at_once(results, tools, [1, 2, 4, 6, 8, 10][: many + 1])
    scaling.entries(results, tools, [10, 100, 1000, 10_000, 100_000][:many])


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(main())

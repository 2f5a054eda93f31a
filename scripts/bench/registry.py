"""hostbuild's push and pull against crane's, with one Debian docker-registry; medians of alternating runs.

    python scripts/bench/registry.py [-n RUNS] [--size MB] [--crane PATH] [--json]

Measured, each as a whole process from outside (interpreter start included):

- push: one image of mixed layers (one of 300 MB, others smaller, random bytes), an empty registry each time
- push again: nothing to do
- pull: the layers into an empty directory: `crane pull --format=oci`, and hostbuild's fetching of a base into
  an empty cache

The registry hashes what it gets, and so bounds a push. Peak memory is the maximum resident set.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

PULL = """
import sys
from hostbuild.bases import Network, parse_base
from hostbuild.bases.images import open_base
from hostbuild.bases.layers import BaseLayers, missing_layers
from hostbuild.bases.resolve import Wish, resolve_base
from hostbuild.model import Access
from hostbuild.oci.platform import Platform
from hostbuild.store.cache import Cache
cache, network = Cache(sys.argv[2]), Network(Access())
base = resolve_base(parse_base(sys.argv[1]), Wish("."), cache, network)
image, = open_base(base, [Platform("linux", "amd64")], cache, network)
layers = [descriptor for descriptor, _ in image.layers()]
with BaseLayers(base, cache, network) as source, source.fetched(missing_layers(cache, layers)):
    pass
network.close()
"""


def write_image(layout: Path, megabytes: int) -> Path:
    """An image layout with one image of random layers, uncompressed, `megabytes` in sum."""
    shares = [300, *([(megabytes - 300) // 8] * 8)] if megabytes > 340 else [megabytes]
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(pieces: Iterable[bytes], media_type: str) -> dict[str, object]:
        # In pieces: a process that was large once starts its children as large ones.
        hasher, size, path = hashlib.sha256(), 0, blobs / "new"
        with path.open("wb") as stream:
            for piece in pieces:
                hasher.update(piece)
                size += stream.write(piece)
        path.rename(blobs / hasher.hexdigest())
        return {"mediaType": media_type, "digest": f"sha256:{hasher.hexdigest()}", "size": size}

    oci = "application/vnd.oci.image."
    layers = [put((os.urandom(1_000_000) for _ in range(share)), f"{oci}layer.v1.tar") for share in shares]
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config = {"os": "linux", "architecture": "amd64", "rootfs": rootfs}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{oci}manifest.v1+json",
        "config": put([json.dumps(config).encode()], f"{oci}config.v1+json"),
        "layers": layers,
    }
    top = put([json.dumps(manifest).encode()], f"{oci}manifest.v1+json")
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return layout


@contextmanager
def registry(directory: Path, port: int, *, log_accesses: bool = False) -> Iterator[str]:
    """Debian's docker-registry with an empty storage; its address. The log is `log` in `directory`."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    values = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": not log_accesses}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (directory / "config.yml").write_text(json.dumps(values))
    log = (directory / "log").open("wb")
    process = subprocess.Popen(
        ["docker-registry", "serve", str(directory / "config.yml")], stdout=log, stderr=log
    )
    try:
        wait_for(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        log.close()


class Run(NamedTuple):
    """One run of a command: wall clock and CPU in seconds, peak resident set in kilobytes."""

    wall: float
    cpu: float
    peak: int


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit("docker-registry does not answer")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def measure(argv: list[str]) -> Run:
    """Run a command, which must succeed."""
    begun = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    stderr = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - begun
    if process.returncode:
        sys.exit(f"{argv} failed: {stderr.decode()}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--size", type=int, default=1000, help="megabytes in sum (default: 1000)")
    parser.add_argument("--crane", default="crane")
    parser.add_argument("--port", type=int, default=5099)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if shutil.which(arguments.crane) is None or shutil.which("docker-registry") is None:
        sys.exit("crane (go-containerregistry's) and docker-registry (Debian's) are needed")
    found: dict[str, dict[str, list[Run]]] = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        layout = str(write_image(root / "layout", arguments.size))
        hostbuild = [sys.executable, "-m", "hostbuild"]

        def run(work: str, turn: int, who: str, argv: Callable[[str], list[str]]) -> None:
            with registry(root / "registry", arguments.port) as address:
                if work != "push":
                    measure([arguments.crane, "push", layout, f"{address}/bench:1"])
                target = root / f"pulled{turn}"
                command = [each.replace("TARGET", str(target)) for each in argv(f"{address}/bench:1")]
                found.setdefault(work, {}).setdefault(who, []).append(measure(command))
                shutil.rmtree(target, ignore_errors=True)

        works: dict[str, dict[str, Callable[[str], list[str]]]] = {
            "push": {
                "crane": lambda ref: [arguments.crane, "push", layout, ref],
                "hostbuild": lambda ref: [*hostbuild, "push", "-q", layout, ref],
            },
            "push again": {
                "crane": lambda ref: [arguments.crane, "push", layout, ref],
                "hostbuild": lambda ref: [*hostbuild, "push", "-q", layout, ref],
            },
            "pull": {
                "crane": lambda ref: [arguments.crane, "pull", "--format=oci", ref, "TARGET"],
                "hostbuild": lambda ref: [sys.executable, "-c", PULL, ref, "TARGET"],
            },
        }
        for work, sides in works.items():
            for turn in range(arguments.n):
                for who in sorted(sides, reverse=bool(turn % 2)):
                    run(work, turn, who, sides[who])
    table: dict[str, dict[str, Any]] = {
        work: {
            **{
                who: {
                    "seconds": round(statistics.median(run.wall for run in runs), 3),
                    "cpu": round(statistics.median(run.cpu for run in runs), 3),
                    "peak_mb": round(max(run.peak for run in runs) / 1000),
                }
                for who, runs in sides.items()
            },
            "ratio": _ratio(sides, lambda run: run.wall),
            "cpu_ratio": _ratio(sides, lambda run: run.cpu),
        }
        for work, sides in found.items()
    }
    if arguments.json:
        json.dump(table, sys.stdout, indent=2)
        return
    sys.stdout.write(f"{arguments.size} MB, {arguments.n} runs each\n")
    for work, row in table.items():
        words = ", ".join(
            f"{who} {row[who]['seconds']} s, CPU {row[who]['cpu']} s ({row[who]['peak_mb']} MB)"
            for who in sorted(found[work])
        )
        sys.stdout.write(f"{work:<11} {words}, ratio {row['ratio']:.2f}, of CPU {row['cpu_ratio']:.2f}\n")


def _ratio(sides: dict[str, list[Run]], of: Callable[[Run], float]) -> float:
    """hostbuild's figure by crane's: the median over the pairs, each of two runs one after the other."""
    pairs = zip(sides["hostbuild"], sides["crane"], strict=True)
    return round(statistics.median(of(ours) / of(theirs) for ours, theirs in pairs), 3)


if __name__ == "__main__":
    main()

"""Measures writing a layer, in each compression, against level-6 tar and gzip, in one run.

    python scripts/bench/layer.py --files 20000 --mb 500
    python scripts/bench/layer.py --levels          # size against time, of every compression

Makes a seeded tree in a temporary directory: sizes as in source trees (lognormal), mostly text, some binary
data, some that does not compress; or takes `--tree`. Each contestant runs in a process of its own over the
same warm tree, walks it, and writes one compressed file; they take turns, and the best of `--runs` counts.

`go-gzip6` is a Go program with archive/tar and compress/gzip as builders in Go write layers (where there is a
go command), `tarfile-gzip6` Python's own. hostbuild compares each file with its digest while it writes;
making these digests, as a build does to know what it has, is the row `digests`. `floor` is what cannot be
avoided: reading, SHA-256 of the archive, compressing it, and SHA-256 of what came out, one after the other,
over the processors; `x floor` is how many times as long a contestant took.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import os
import random
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from hostbuild.errors import ToolMissingError
from hostbuild.layer import Compression, compression_of, write_layer
from hostbuild.model import Entry

BLOCK = 1 << 20
POOL = 2 << 20

Figures = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures how fast a layer is written.")
    parser.add_argument("--files", type=int, default=20_000, help="files in the tree (default %(default)s)")
    parser.add_argument("--mb", type=float, default=500, help="size of the tree in MB (default %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="the tree's random seed (default %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="best of so many (default %(default)s)")
    parser.add_argument("--tree", default="", help="measure this directory instead of a made one")
    parser.add_argument(
        "--levels", action="store_true", help="measure the levels of each compression instead"
    )
    parser.add_argument("--only", default="", help="only contestants whose names contain one of a,b,…")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    parser.add_argument("--peer", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one == "make":
        make_tree(options.tree, options.files, int(options.mb * 1e6), options.seed)
    elif options.one:
        print(json.dumps(measured(contestant(options.one, options.peer), options.tree)))
    else:
        with tempfile.TemporaryDirectory(prefix="hostbuild-bench-") as directory:
            tree = options.tree or os.path.join(directory, "tree")
            if not options.tree:
                child(
                    "make", tree, f"--files={options.files}", f"--mb={options.mb}", f"--seed={options.seed}"
                )
            peer = build_peer(directory)
            names = LEVELS if options.levels else NAMES
            only = [word for word in options.only.split(",") if word]
            names = [name for name in names if not only or any(word in name for word in only)]
            print(table(tree, options.runs, names, peer))
    return 0


def child(name: str, tree: str, *more: str) -> str:
    """Runs one step in a process of its own; this one stays small, as children start with its peak memory."""
    command = [sys.executable, os.path.abspath(__file__), "--one", name, "--tree", tree, *more]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def build_peer(directory: str) -> str:
    """The Go program that writes a layer as builders in Go do; "" without a go command."""
    go = shutil.which("go")
    if go is None:
        return ""
    program = os.path.join(directory, "peer")
    source = Path(__file__).with_name("layer_peer.go")
    subprocess.run([go, "build", "-o", program, source], check=True, cwd=directory)
    return program


# The tree


def make_tree(root: str, files: int, size: int, seed: int) -> None:
    rng = random.Random(seed)
    weights = [rng.lognormvariate(0, 1.7) for _ in range(files)]
    scale = size / sum(weights)
    pools = (text_pool(rng), binary_pool(rng), rng.randbytes(POOL))
    shares = (0.80, 0.15, 0.05)
    folders = [os.path.join(root, f"package{number:03}") for number in range(max(1, files // 40))]
    folders = [
        os.path.join(folder, "internal", "parts") if rng.random() < 0.3 else folder for folder in folders
    ]
    for folder in folders:
        os.makedirs(folder, exist_ok=True)
    for number, weight in enumerate(weights):
        pool = rng.choices(pools, shares)[0]
        with open(os.path.join(rng.choice(folders), f"source_file_{number:06}.txt"), "wb") as file:
            left = int(weight * scale)
            while left > 0:
                start = rng.randrange(POOL)
                left -= file.write(pool[start : start + min(left, POOL - start)])


def text_pool(rng: random.Random) -> bytes:
    """Text that compresses about as source does: words by Zipf's law, indented lines."""
    letters = "etaoinsrhdlucmfywgpbvkxqjz_"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 11))) for _ in range(6000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    lines: list[str] = []
    size = 0
    while size < POOL:
        if lines and rng.random() < 0.4:
            line = rng.choice(lines[-400:])
        else:
            line = (
                "    " * rng.randint(0, 3) + " ".join(rng.choices(words, weights, k=rng.randint(1, 9))) + "\n"
            )
        lines.append(line)
        size += len(line)
    return "".join(lines).encode()[:POOL]


def binary_pool(rng: random.Random) -> bytes:
    """Data as in tables and machine code: few byte values are frequent, some records repeat."""
    values = rng.choices(range(256), [1 / (rank + 1) for rank in range(256)], k=POOL // 2)
    record = bytes(values[:24])
    pieces = (bytes(values[at : at + 24]) + record for at in range(0, len(values), 24))
    return b"".join(pieces)[:POOL].ljust(POOL, b"\0")


# The contestants: each walks the tree and writes a file; the figures are seconds and bytes


def measured(contestant: Callable[[str, str], Figures], tree: str) -> Figures:
    for entry in walk(tree):
        if entry.open is not None:
            with entry.open() as file:  # warm, for everybody alike
                while file.read(BLOCK):
                    pass
    with tempfile.TemporaryDirectory(prefix="hostbuild-bench-") as directory:
        before = time.process_time()
        start = time.perf_counter()
        more = contestant(tree, os.path.join(directory, "layer"))
        seconds = time.perf_counter() - start
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "seconds": seconds,
            "cpu": time.process_time() - before + children.ru_utime + children.ru_stime,
            "rss": float(children.ru_maxrss or own.ru_maxrss),
            **more,
        }


def walk(root: str, prefix: str = "") -> Iterator[Entry]:
    """The tree's entries in a layer's order, as the source room gives them."""
    found = sorted(entries(root, prefix), key=lambda entry: entry.path.encode("utf-8", "surrogateescape"))
    yield from found


def entries(root: str, prefix: str) -> Iterator[Entry]:
    with os.scandir(os.path.join(root, prefix)) as scan:
        for item in scan:
            path = f"{prefix}{item.name}"
            if item.is_symlink():
                yield Entry(path, "link", 0o777, 1000, 1000, target=os.readlink(item.path))
            elif item.is_dir():
                yield Entry(path, "dir", 0o755, 1000, 1000)
                yield from entries(root, path + "/")
            elif item.is_file():
                opener = functools.partial(open_file, item.path)
                size = item.stat().st_size
                yield Entry(path, "file", 0o644, 1000, 1000, size, open=opener, origin=item.path)


def open_file(path: str) -> BinaryIO:
    return open(path, "rb", buffering=0)


def ours(tree: str, out: str, *, how: str, threads: int) -> Figures:
    """Walks and writes, with a digest in each entry; making these is not counted: see `digests`."""
    clock, cpu = time.perf_counter(), time.process_time()
    found = list(walk(tree))
    walked, walked_cpu = time.perf_counter() - clock, time.process_time() - cpu
    found = [with_digest(entry) for entry in found]
    clock, cpu = time.perf_counter(), time.process_time()
    with open(out, "wb") as file:
        result = write_layer(found, file.write, threads=threads, compression=compression(how))
    seconds = walked + time.perf_counter() - clock
    return {
        "size": result.size,
        "seconds": seconds,
        "cpu": walked_cpu + time.process_time() - cpu,
        "floor": floor(tree, how),
    }


def with_digest(entry: Entry) -> Entry:
    return Entry(
        entry.path,
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        entry.target,
        entry.open,
        digest_of(entry),
        entry.origin,
    )


def compression(how: str) -> Compression:
    name, _, level = how.partition(" ")
    return compression_of(name, int(level) if level else None)


def digests(tree: str, _out: str) -> Figures:
    for entry in walk(tree):
        digest_of(entry)
    return {"size": 0}


def digest_of(entry: Entry) -> str:
    if entry.open is None:
        return ""
    with open(entry.origin, "rb", buffering=0) as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def walk_only(tree: str, _out: str) -> Figures:
    """What the others' figures hold for the walk, which nothing runs beside."""
    for _ in walk(tree):
        pass
    return {"size": 0}


def stdlib(tree: str, out: str) -> Figures:
    with tarfile.open(out, "w:gz", compresslevel=6) as archive:
        archive.add(tree, ".")
    with open(out, "rb") as file:
        hashlib.file_digest(file, "sha256")
    return {"size": os.path.getsize(out)}


def tar_gzip(tree: str, out: str) -> Figures:
    with open(out, "wb") as file:
        tar = subprocess.Popen(["tar", "-c", "--sort=name", "-C", tree, "."], stdout=subprocess.PIPE)
        gzip = subprocess.Popen(["gzip", "-n", "-6"], stdin=tar.stdout, stdout=file)
        if tar.stdout is not None:
            tar.stdout.close()
        if gzip.wait() or tar.wait():
            raise SystemExit("tar | gzip failed")
    return {"size": os.path.getsize(out)}


def go(tree: str, out: str, *, peer: str) -> Figures:
    subprocess.run([peer, tree, out], check=True)
    return {"size": os.path.getsize(out)}


def floor(tree: str, how: str) -> float:
    """Seconds that nobody can avoid; the bytes are those of the files, without headers."""
    compress = compression(how).function()
    buffer = bytearray(BLOCK)
    view, fill = memoryview(buffer), 0
    paths = [entry.origin for entry in walk(tree) if entry.open is not None]
    start = time.perf_counter()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        while count := os.readv(descriptor, [view[fill:]]):
            fill += count
            if fill == BLOCK:
                hashlib.sha256(buffer).digest()
                if compress is not None:
                    hashlib.sha256(compress(buffer)).digest()
                fill = 0
        os.close(descriptor)
    return (time.perf_counter() - start) / PROCESSORS


def contestant(name: str, peer: str) -> Callable[[str, str], Figures]:
    known: dict[str, Callable[[str, str], Figures]] = {
        "walk": walk_only,
        "digests": digests,
        "go-gzip6": functools.partial(go, peer=peer),
        "tarfile-gzip6": stdlib,
        "tar-gzip6": tar_gzip,
    }
    if name in known:
        return known[name]
    how, _, threads = name.partition(", ")
    return functools.partial(ours, how=how, threads=int(threads.split()[0]) if threads else PROCESSORS)


PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PEERS = ["go-gzip6", "tarfile-gzip6", "tar-gzip6"]
NAMES = ["walk", "digests", *PEERS, "gzip, 1 thread", "gzip", "gzip:fast", "zstd", "zstd 3", "uncompressed"]
LEVELS = [
    *(f"gzip {level}" for level in (1, 2, 3, 6, 9)),
    *(f"gzip:fast {level}" for level in (1, 2)),
    *(f"zstd {level}" for level in (1, 2, 3, 6, 9, 12)),
    "uncompressed",
]


def missing(names: list[str], peer: str) -> dict[str, str]:
    """Contestants that cannot run here, and why."""
    found = {}
    if not peer:
        found["go-gzip6"] = "there is no go command"
    if shutil.which("tar") is None or shutil.which("gzip") is None:
        found["tar-gzip6"] = "tar or gzip is not on this machine"
    try:
        compression_of("gzip:fast")
    except ToolMissingError as error:
        found |= {name: error.why for name in names if name.startswith("gzip:fast")}
    return {name: why for name, why in found.items() if name in names}


def table(tree: str, runs: int, names: list[str], peer: str) -> str:
    absent = missing(names, peer)
    best: dict[str, Figures] = {}
    floors: dict[str, float] = {}
    for _ in range(runs):
        for name in names:
            if name in absent:
                continue
            figures: Figures = json.loads(child(name, tree, f"--peer={peer}"))
            floors[name] = min(floors.get(name, math.inf), figures.get("floor", math.inf))
            if name not in best or figures["seconds"] < best[name]["seconds"]:
                best[name] = figures
    found = [entry for entry in walk(tree) if entry.kind == "file"]
    total = sum(entry.size for entry in found)
    slowest = {name: best.get(name, {}).get("seconds", math.nan) for name in PEERS[:2]}
    python = f"Python {sys.version.split()[0]}"
    lines = [
        f"{len(found)} files, {total / 1e6:.0f} MB; {python}; {PROCESSORS} processors; best of {runs}",
        *(f"{name} is left out: {why}" for name, why in absent.items()),
        "                      s  CPU s  MB/s   size  RSS MB   x go  x tarfile  x floor",
    ]
    for name, figures in best.items():
        seconds, size = figures["seconds"], figures["size"]
        ratios = [slowest[peer_name] / seconds if size else math.nan for peer_name in slowest]
        lines.append(
            f"{name:16}{seconds:7.2f}{figures['cpu']:7.2f}{total / seconds / 1e6:6.0f}{size / total:7.3f}"
            f"{figures['rss'] / 1024:8.0f}{ratios[0]:7.1f}{ratios[1]:11.1f}{seconds / floors[name]:9.2f}"
        )
    return "\n".join(lines).replace("nan", "  -").replace("0.00\n", "   -\n")


if __name__ == "__main__":
    raise SystemExit(main())

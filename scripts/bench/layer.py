"""Measures writing a layer against Python's tarfile with gzip 6 and against `tar | gzip`, in one run.

    python scripts/bench/layer.py --files 20000 --mb 500

Makes a seeded tree in a temporary directory: sizes as in source trees (lognormal), mostly text, some binary
data, some that does not compress. Each contestant runs in a process of its own over the same warm tree, walks
it, and writes one compressed file; they take turns, and the best of `--runs` counts. `floor` is what cannot
be avoided: reading, SHA-256 of the archive and compressing it, one after the other, over the processors.
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
from dataclasses import replace
from typing import BinaryIO

from hostbuild.layer import GZIP, write_layer
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
    parser.add_argument("--only", default="", help="only contestants whose names contain one of a,b,…")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one == "make":
        make_tree(options.tree, options.files, int(options.mb * 1e6), options.seed)
    elif options.one:
        print(json.dumps(measured(CONTESTANTS[options.one], options.tree)))
    else:
        with tempfile.TemporaryDirectory(prefix="hostbuild-bench-") as directory:
            tree = options.tree or os.path.join(directory, "tree")
            if not options.tree:
                child(
                    "make", tree, f"--files={options.files}", f"--mb={options.mb}", f"--seed={options.seed}"
                )
            print(table(tree, options.runs, [word for word in options.only.split(",") if word]))
    return 0


def child(name: str, tree: str, *more: str) -> str:
    """Runs one step in a process of its own; this one stays small, as children start with its peak memory."""
    command = [sys.executable, os.path.abspath(__file__), "--one", name, "--tree", tree, *more]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


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


def ours(tree: str, out: str, *, threads: int) -> Figures:
    with open(out, "wb") as file:
        result = write_layer(walk(tree), file.write, threads=threads)
    return {"size": result.size, "input": result.diff_size}


def ours_checked(tree: str, out: str) -> Figures:
    """With a digest in each entry. Walking and making the digests is not counted: see `walk`."""
    found = []
    for entry in walk(tree):
        digest = ""
        if entry.open is not None:
            with open(entry.origin, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        found.append(replace(entry, digest=digest))
    start = time.perf_counter()
    before = time.process_time()
    with open(out, "wb") as file:
        result = write_layer(found, file.write, threads=2)
    seconds = time.perf_counter() - start
    cpu = time.process_time() - before
    return {"size": result.size, "input": result.diff_size, "seconds": seconds, "cpu": cpu}


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


def floor(tree: str, _out: str, *, processors: int) -> Figures:
    read = hashing = compressing = 0.0
    size = 0
    compress = GZIP.function()
    clock = time.perf_counter
    piece = bytearray()
    start = clock()
    for entry in walk(tree):
        if entry.open is None:
            continue
        with entry.open() as file:
            while data := file.read(BLOCK):
                piece += data
        while len(piece) >= BLOCK:
            read += clock() - start
            whole = bytes(piece[:BLOCK])
            del piece[:BLOCK]
            start = clock()
            hashlib.sha256(whole).digest()
            hashing += clock() - start
            start = clock()
            size += len(compress(whole))
            compressing += clock() - start
            start = clock()
    total = read + hashing + compressing
    return {"seconds": total / processors, "cpu": total, "size": size}


CONTESTANTS: dict[str, Callable[[str, str], Figures]] = {
    "walk": walk_only,
    "floor-1": functools.partial(floor, processors=1),
    "floor-2": functools.partial(floor, processors=2),
    "hostbuild-1": functools.partial(ours, threads=1),
    "hostbuild-2": functools.partial(ours, threads=2),
    "hostbuild-4": functools.partial(ours, threads=4),
    "hostbuild-2-checked": ours_checked,
    "tarfile-gzip6": stdlib,
    "tar-gzip6": tar_gzip,
}


def table(tree: str, runs: int, only: list[str]) -> str:
    names = [name for name in CONTESTANTS if not only or any(word in name for word in only)]
    missing = [tool for tool in ("tar", "gzip") if shutil.which(tool) is None]
    if missing and "tar-gzip6" in names:
        names.remove("tar-gzip6")
    best: dict[str, Figures] = {}
    for _ in range(runs):
        for name in names:
            figures: Figures = json.loads(child(name, tree))
            if name not in best or figures["seconds"] < best[name]["seconds"]:
                best[name] = figures
    found = [entry for entry in walk(tree) if entry.kind == "file"]
    total = sum(entry.size for entry in found)
    slowest = best.get("tarfile-gzip6", {}).get("seconds", math.nan)
    python = sys.version.split()[0]
    cores = os.cpu_count()
    lines = [
        f"{len(found)} files, {total / 1e6:.0f} MB; Python {python}; {cores} processors; best of {runs}",
        *(f"{tool} is not on this machine" for tool in missing),
        f"{'':20}{'s':>8}{'CPU s':>8}{'MB/s':>8}{'ratio':>8}{'RSS MB':>8}{'x tarfile':>11}",
    ]
    for name, figures in best.items():
        seconds = figures["seconds"]
        lines.append(
            f"{name:20}{seconds:8.2f}{figures['cpu']:8.2f}{total / seconds / 1e6:8.0f}"
            f"{figures['size'] / total:8.3f}{figures['rss'] / 1024:8.0f}{slowest / seconds:11.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())

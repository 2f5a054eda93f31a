"""hostbuild's three platforms of a Python application against uv for one platform, and pip for each of three.

    python scripts/bench/python.py --base oci:LAYOUT [-n RUNS] [--wheels DIR | --public-index] [--json]

The application: fastapi, pydantic and uvicorn, all requirements pinned. Measured, each as whole processes
from outside (interpreter start included), in turns that alternate who goes first:

- cold: nothing is cached. hostbuild twice: with a cache that knows the base and nothing else (an application
  without requirements was built on it before), and with an empty one, where the base's layers are copied and
  read first. uv: `uv pip install --target` for this machine, with an empty cache. pip: `pip install --target
  --platform`, three runs, without a cache.
- warm: the caches are full; what was built or installed is gone.
- unchanged: nothing was edited since the last build; uv looks at a directory that it has filled before.
- edited: one line of the source was edited; also with --offline.
- python: `python -c pass`, the floor for any Python command.

uv and pip only unpack; hostbuild also makes the layers, checks every file against its RECORD, and writes the
images, the index and the layout. pip compiles no bytecode here, as the others do not.

The wheels come over HTTP from an index on this machine, so that work is compared and not the line: they are
downloaded before (kept in --wheels). --public-index takes the index that uv and pip are set to instead.
Ratios say more than seconds: machines differ and drift, so each ratio is of one turn's pair. Where others use
the machine (the head tells), the processors' seconds are steadier. A peak below this program's is not seen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from simple_index import Index, download, serve

REQUIREMENTS = """\
annotated-doc==0.0.4
annotated-types==0.7.0
anyio==4.12.0
click==8.3.1
fastapi==0.124.4
h11==0.16.0
idna==3.11
pydantic==2.12.5
pydantic-core==2.41.5
starlette==0.50.0
typing-extensions==4.15.0
typing-inspection==0.4.2
uvicorn==0.38.0
"""
MAIN = """import os

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def home() -> dict[str, str]:
    return {"edit": "EDIT"}


if __name__ == "__main__":
    uvicorn.run(app, host="0.0.0.0", port=int(os.environ["PORT"]))
"""
#: pip's words for our platforms: the oldest manylinux that wheels of all three machines are made for.
PIP_PLATFORMS = {
    "linux/amd64": "manylinux2014_x86_64",
    "linux/arm64": "manylinux2014_aarch64",
    "linux/arm/v7": "manylinux2014_armv7l",
}
#: What changes what the tools do, and is set here or not at all.
_ALWAYS = ("HOSTBUILD_", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
_OURS = (*_ALWAYS, "UV_", "PIP_", "XDG_")


class Times(NamedTuple):
    """One run: seconds from outside, seconds of processors, and the largest process in kilobytes."""

    wall: float
    cpu: float
    peak: int


class Side(NamedTuple):
    """One peer: what is made ready before the clock starts, and the commands, one after the other."""

    prepare: Callable[[], object]
    commands: Callable[[], list[list[str]]]
    extra: Mapping[str, str]


@dataclass
class Bench:
    """The sources, caches and the environment of one session."""

    home: Path
    base: str
    pip_python: str
    uv: str
    env: dict[str, str]
    python_version: str = ""
    edits: int = 0
    found: dict[str, dict[str, list[Times]]] = field(default_factory=dict)

    @property
    def app(self) -> Path:
        return self.home / "app"

    @property
    def target(self) -> Path:
        return self.home / "target"

    def learn_base(self) -> None:
        """Write the sources; fill the cache that knows the base, with an application without requirements."""
        write(self.app, {"requirements.txt": REQUIREMENTS, "shop/__init__.py": "", "shop/__main__.py": MAIN})
        write(
            self.home / "bare",
            {"requirements.txt": "", "shop/__init__.py": "", "shop/__main__.py": "print()\n"},
        )
        known = {"HOSTBUILD_CACHE_DIR": str(self.home / "known")}
        self.run([*self.hostbuild("build", "bare"), "--tag", "registry.example/bare:1"], known)
        told = json.loads(self.run([*self.hostbuild("check", "bare"), "--json"], known))
        self.python_version = told["platforms"][0]["python"]

    def fill_caches(self) -> None:
        """One run that is not counted."""
        self.run(self.build(), self.warm_caches())
        self.run(self.uv_install(), self.warm_caches())

    def run(self, argv: list[str], extra: Mapping[str, str]) -> str:
        """Run a command that is not measured; its standard output."""
        done = subprocess.run(
            argv, cwd=self.home, env={**self.env, **extra}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"error: {' '.join(argv)} failed\n{done.stdout}{done.stderr}")
        return done.stdout

    def warm_caches(self) -> dict[str, str]:
        return {"HOSTBUILD_CACHE_DIR": str(self.home / "cache"), "UV_CACHE_DIR": str(self.home / "uv-cache")}

    def cold_caches(self) -> dict[str, str]:
        return {"HOSTBUILD_CACHE_DIR": str(self.home / "cold"), "UV_CACHE_DIR": str(self.home / "uv-cold")}

    def hostbuild(self, command: str, directory: str) -> list[str]:
        words = [sys.executable, "-m", "hostbuild", command, str(self.home / directory), "--base", self.base]
        return [*words, "--platform", ",".join(PIP_PLATFORMS)]

    def build(self, *flags: str) -> list[str]:
        return [
            *self.hostbuild("build", "app"),
            "--tag",
            "registry.example/app:1",
            "--progress=quiet",
            *flags,
        ]

    def uv_install(self) -> list[str]:
        words = [self.uv, "pip", "install", "--quiet", "--target", str(self.target), "--only-binary", ":all:"]
        python = ["--python", sys.executable, "--python-version", self.python_version]
        return [
            *words,
            *python,
            "--no-python-downloads",
            "--requirements",
            str(self.app / "requirements.txt"),
        ]

    def pip_installs(self) -> list[list[str]]:
        words = [self.pip_python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-compile"]
        words += ["--only-binary", ":all:", "--python-version", self.python_version]
        words += ["--requirement", str(self.app / "requirements.txt")]
        return [
            [*words, "--platform", tag, "--target", str(self.target / tag)] for tag in PIP_PLATFORMS.values()
        ]

    def forget(self) -> None:
        """Take away what was built, what was installed, and the cold caches."""
        for path in (self.target, self.app / ".func", self.home / "cold", self.home / "uv-cold"):
            shutil.rmtree(path, ignore_errors=True)

    def know_base(self) -> None:
        """A cold cache that knows the base."""
        self.forget()
        shutil.copytree(self.home / "known", self.home / "cold")

    def edit(self) -> None:
        """Change one line, to something that no build has seen."""
        self.edits += 1
        word = f"edit {self.edits} of {time.time_ns()}"
        (self.app / "shop" / "__main__.py").write_text(MAIN.replace("EDIT", word))

    def works(self) -> dict[str, dict[str, Side]]:
        """All that is measured; the last side of each work is what the others are compared with."""
        cold, warm = self.cold_caches(), self.warm_caches()
        floor = Side(lambda: None, lambda: [[sys.executable, "-c", "pass"]], warm)
        return {
            "cold": {
                "hostbuild, base known": Side(self.know_base, lambda: [self.build()], cold),
                "hostbuild, empty cache": Side(self.forget, lambda: [self.build()], cold),
                "pip, three platforms": Side(self.forget, self.pip_installs, cold),
                "uv, one platform": Side(self.forget, lambda: [self.uv_install()], cold),
            },
            "warm": {
                "hostbuild": Side(self.forget, lambda: [self.build()], warm),
                "uv, one platform": Side(self.forget, lambda: [self.uv_install()], warm),
            },
            "unchanged": {
                "hostbuild": Side(lambda: self.run(self.build(), warm), lambda: [self.build()], warm),
                "uv, one platform": Side(
                    lambda: self.run(self.uv_install(), warm), lambda: [self.uv_install()], warm
                ),
                "python": floor,
            },
            "edited": {
                "hostbuild": Side(self.edit, lambda: [self.build()], warm),
                "hostbuild --offline": Side(self.edit, lambda: [self.build("--offline")], warm),
                "python": floor,
            },
        }

    def measure(self, runs: int, index: Index | None) -> dict[str, int]:
        """Take the turns; how often each work asked the index."""
        asked: dict[str, int] = {}
        for work, sides in self.works().items():
            before = index.requests if index else 0
            for turn in range(runs):
                for name in sides if turn % 2 == 0 else reversed(sides):
                    side = sides[name]
                    side.prepare()
                    taken = [self.timed(argv, side.extra) for argv in side.commands()]
                    self.found.setdefault(work, {}).setdefault(name, []).append(_sum(taken))
            if index:
                asked[work] = index.requests - before
        return asked

    def timed(self, argv: list[str], extra: Mapping[str, str]) -> Times:
        """One command, which must succeed, from outside; its children count with it."""
        begun = time.monotonic()
        process = subprocess.Popen(
            argv, cwd=self.home, env={**self.env, **extra}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        stderr = process.stderr.read() if process.stderr else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - begun
        if process.returncode:
            raise SystemExit(f"error: {' '.join(argv)} failed\n{stderr.decode()}")
        return Times(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def _sum(taken: Sequence[Times]) -> Times:
    wall, cpu, peak = zip(*taken, strict=True)
    return Times(sum(wall), sum(cpu), max(peak))


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


class Busy:
    """How much of the machine others used since this was made; Linux only."""

    def __init__(self) -> None:
        self._all, self._ours = self._read()
        self._begun = time.monotonic()

    @staticmethod
    def _read() -> tuple[float, float]:
        ticks = os.sysconf("SC_CLK_TCK")
        fields = [int(word) / ticks for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        busy = sum(fields[:3]) + sum(fields[5:8])  # all but idle and waiting for disks
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return busy, sum(usage.ru_utime + usage.ru_stime for usage in usages)

    def others(self) -> float:
        """The share of all processors' time that was not ours, from 0 to 1."""
        total, ours = self._read()
        cores = os.cpu_count() or 1
        share = (total - self._all - (ours - self._ours)) / ((time.monotonic() - self._begun) * cores)
        return min(1.0, max(0.0, share))


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )


def spread(values: Sequence[float], form: str) -> str:
    low, middle, high = (
        format(value, form) for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low}-{high})"


def table(found: Mapping[str, Mapping[str, Sequence[Times]]], asked: Mapping[str, int]) -> Iterator[str]:
    """Medians with their spread, and the ratios of each turn to the work's last row."""
    yield f"{'':<10}{'':<24}{'seconds':<24}{'CPU s':>7}{'peak MB':>9}  {'ratio to the last row':<22}of CPU s"
    for work, sides in found.items():
        last = list(sides.values())[-1]
        for name, runs in sides.items():
            ratios = [one.wall / other.wall for one, other in zip(runs, last, strict=True)]
            of_cpu = statistics.median(one.cpu / other.cpu for one, other in zip(runs, last, strict=True))
            cpu, peak = statistics.median(each.cpu for each in runs), max(each.peak for each in runs) // 1000
            row = f"{work:<10}{name:<24}{spread([each.wall for each in runs], '.3f'):<24}{cpu:>7.3f}{peak:>9}"
            yield row if runs is last else f"{row}  {spread(ratios, '.2f'):<22}{of_cpu:>8.2f}"
        yield f"{'':<10}the index was asked {asked[work]} times" if work in asked else ""


@contextmanager
def local_index(wheels: Path, env: dict[str, str]) -> Iterator[Index]:
    """Serve the wheels, and set uv and pip to them."""
    with serve(wheels) as (index, address):
        env |= {"UV_DEFAULT_INDEX": address, "PIP_INDEX_URL": address, "PIP_CONFIG_FILE": os.devnull}
        env |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
        yield index


def versions(bench: Bench) -> str:
    hostbuild = bench.run([sys.executable, "-m", "hostbuild", "--version"], {}).strip()
    commands = [[bench.uv, "--version"], [bench.pip_python, "-m", "pip", "--version"]]
    uv, pip = (" ".join(bench.run(argv, {}).split()[:2]) for argv in commands)
    return (
        f"{hostbuild} on Python {platform.python_version()}, {uv}, {pip}; the base has {bench.python_version}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", required=True, help="a base image with a Python, as oci:DIR or NAME@DIGEST")
    parser.add_argument("-n", "--runs", type=int, default=5, help="turns to take (default: 5)")
    parser.add_argument("--wheels", type=Path, help="where the wheels are kept (default: downloaded anew)")
    parser.add_argument(
        "--public-index", action="store_true", help="use the index that uv and pip are set to"
    )
    parser.add_argument("--pip", default=sys.executable, help="a Python that has pip (default: this one)")
    parser.add_argument("--json", action="store_true", help="print every time as JSON instead of the table")
    arguments = parser.parse_args()
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}")
    if uv is None:
        print("error: no uv command on PATH\n  fix: pip install 'hostbuild[python]'", file=sys.stderr)
        return 1
    base = arguments.base
    if base.startswith("oci:"):
        base = f"oci:{Path(base.removeprefix('oci:')).resolve()}"
    left_out = _ALWAYS if arguments.public_index else _OURS
    env = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    with tempfile.TemporaryDirectory(prefix="hostbuild-bench-") as name:
        home = Path(name).resolve()
        bench = Bench(home, base, arguments.pip, uv, env)
        bench.learn_base()
        wheels, pip = arguments.wheels or home / "wheels", [arguments.pip, "-m", "pip"]
        if not arguments.public_index:
            download(wheels, pip, REQUIREMENTS, PIP_PLATFORMS.values(), bench.python_version)
        with nullcontext() if arguments.public_index else local_index(wheels, env) as index:
            bench.fill_caches()
            load, busy = os.getloadavg()[0], Busy()
            asked = bench.measure(arguments.runs, index)
            others, load_after = busy.others(), os.getloadavg()[0]
        source = f"index on this machine, {index.size / 1e6:.1f} MB" if index else "public index"
        used = f"load {load:.1f} before, {load_after:.1f} after; others used {others:.0%} of all cores"
        head = [
            f"3 platforms, {len(REQUIREMENTS.split())} requirements, {arguments.runs} turns; {source}",
            versions(bench),
            f"{os.cpu_count()} cores, {processor()}; {used}",
        ]
    if arguments.json:
        times = {
            work: {side: [each._asdict() for each in runs] for side, runs in sides.items()}
            for work, sides in bench.found.items()
        }
        print(json.dumps({"about": head, "asked": asked, "times": times}, indent=2))
    else:
        print("\n".join([*head, "", *table(bench.found, asked)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

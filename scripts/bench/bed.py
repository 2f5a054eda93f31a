"""What all benches stand on: whole processes measured, contestants in turns, the machine."""

from __future__ import annotations

import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

US = "hostbuild"
PYTHON = sys.executable


class Run(NamedTuple):
    """One measured command: seconds, seconds of all processors, kilobytes of its largest process."""

    seconds: float
    cpu: float = 0.0
    peak: int = 0

    def __add__(self, other: object) -> Run:
        """One after the other."""
        if not isinstance(other, Run):
            return NotImplemented
        return Run(self.seconds + other.seconds, self.cpu + other.cpu, max(self.peak, other.peak))


@dataclass
class Row:
    """All runs of one contestant at one work; `weight` is its bytes, where they are compared too."""

    work: str
    who: str
    runs: list[Run] = field(default_factory=list)
    weight: int = 0

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def span(self) -> tuple[float, float]:
        return min(run.seconds for run in self.runs), max(run.seconds for run in self.runs)

    @property
    def cpu(self) -> float:
        return statistics.median(run.cpu for run in self.runs)

    @property
    def peak(self) -> float:
        """Megabytes of the largest process in any run."""
        return max(run.peak for run in self.runs) / 1000


class Point(NamedTuple):
    """One measurement of a scaling series: the amount, seconds, megabytes of the largest process."""

    amount: float
    seconds: float
    peak: float


@dataclass
class Results:
    """Everything that was measured; `say` is told what goes on."""

    say: Callable[[str], None]
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    series: dict[str, list[Point]] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, work: str, who: str, run: Run, weight: int = 0) -> None:
        row = self.rows.setdefault((work, who), Row(work, who))
        row.runs.append(run)
        row.weight = weight or row.weight

    def get(self, work: str, who: str) -> float:
        """Median seconds, or NaN where it was not measured."""
        row = self.rows.get((work, who))
        return row.seconds if row else math.nan

    def ratio(self, work: str, who: str, us: str = US) -> float:
        """How many times as long as us the contestant takes."""
        return self.get(work, who) / self.get(work, us)

    def works(self) -> list[str]:
        return list(dict.fromkeys(row.work for row in self.rows.values()))

    def as_json(self) -> dict[str, Any]:
        return {
            "machine": machine(),
            "rows": [
                {
                    "work": row.work,
                    "who": row.who,
                    "seconds": [round(run.seconds, 4) for run in row.runs],
                    "cpu": [round(run.cpu, 3) for run in row.runs],
                    "peak_mb": round(row.peak, 1),
                    "bytes": row.weight,
                }
                for row in self.rows.values()
            ],
            "series": {name: [list(point) for point in points] for name, points in self.series.items()},
            "facts": self.facts,
            "notes": self.notes,
        }


def measured(argv: Sequence[object], *, cwd: str | Path = "/", env: Mapping[str, str] | None = None) -> Run:
    """Run a command, which must succeed. A peak below this program's own is not seen."""
    with tempfile.TemporaryFile() as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, argv)), cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            words = " ".join(map(str, argv))
            raise SystemExit(f"error: {words} failed\n{output.read().decode(errors='replace')[-2000:]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def in_turns(
    results: Results,
    work: str,
    turns: int,
    contestants: Mapping[str, Callable[[], Run]],
    *,
    before: Callable[[], object] | None = None,
    few: Sequence[str] = (),
) -> None:
    """Measure each contestant `turns` times, `few` of them once; each turn another one begins.

    What an earlier one has left to the disk is written first, so that nobody pays for it.
    """
    names = list(contestants)
    for turn in range(turns):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            if turn and name in few:
                continue
            if before is not None:
                before()
            os.sync()
            run = contestants[name]()
            results.add(work, name, run)
            results.say(f"{work}: {name} {run.seconds:.3f} s")


def slope(points: Sequence[Point]) -> float:
    """The exponent b of seconds = a * amount ** b, by least squares over the logarithms."""
    pairs = [(math.log(point.amount), math.log(point.seconds)) for point in points]
    if len({x for x, _ in pairs}) < 2:
        return math.nan
    return statistics.linear_regression([x for x, _ in pairs], [y for _, y in pairs]).slope


def last_slope(points: Sequence[Point]) -> float:
    """The exponent between the two largest amounts, where what is constant counts least."""
    return slope(points[-2:])


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, str]:
    """What the figures depend on."""
    go = shutil.which("go")
    version = (
        subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout if go else ""
    )
    return {
        "processor": _processor(),
        "cores": str(processors()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "disk": _disk(tempfile.gettempdir()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "go": " ".join(version.split()[2:]) or "none",
        "load when begun": " ".join(f"{each:.1f}" for each in LOAD),
    }


#: The load when this program began: its own work does not count as others'.
LOAD = os.getloadavg()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    name = found.get("model name", platform.machine())
    return f"{name} (family {found.get('cpu family', '?')}, model {found.get('model', '?')})"


def _disk(path: str) -> str:
    """The file system that holds `path`, and how long a synced write of 4 kB takes on it."""
    kind = "unknown file system"
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        lines = []
    best = ""
    for line in lines:
        point, name = line.split()[1:3]
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, name
    times = []
    with tempfile.NamedTemporaryFile(dir=path, buffering=0) as file:
        for _ in range(9):
            begun = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begun)
    return f"{kind}; write and fsync of 4 kB {statistics.median(times) * 1000:.1f} ms"

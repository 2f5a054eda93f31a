"""hostbuild against `go build` three times in a row, on one warm compiler cache; medians of alternating runs.

    python scripts/bench/build.py [-n RUNS] [--json]

Measured, each as a whole process from outside (interpreter start included):

- edited: one line of a small function was edited. `go build` is what the original builder does: one run a
  platform after the other, in a scaffold made beforehand, the binaries only; hostbuild also makes the layers,
  the index and the layout.
- unchanged: nothing was edited since the last build.
- python: `python -c pass`, the floor for any Python command.

Ratios say more than seconds: machines differ and drift, so the commands take turns and each ratio is of one
turn's pair.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PLATFORMS = {
    "linux/amd64": {"GOARCH": "amd64"},
    "linux/arm64": {"GOARCH": "arm64"},
    "linux/arm/v7": {"GOARCH": "arm", "GOARM": "7"},
}
FUNC_GO = "v0.21.3"

FUNCTION = """package function

import (
	"fmt"
	"net/http"
)

type Function struct{}

func New() *Function { return &Function{} }

func (f *Function) Handle(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "EDIT") }
"""
FUNCTION_FILES = {
    "go.mod": "module example.com/function\n\ngo 1.21\n",
    "func.yaml": "specVersion: 0.36.0\nname: bench\nruntime: go\nregistry: registry.example/bench\n",
    "function.go": FUNCTION,
}
SCAFFOLD = """package main

import (
	"fmt"
	"os"

	f "example.com/function"
	runtime "knative.dev/func-go/http"
)

func main() {
	if err := runtime.Start(f.New()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
"""
SCAFFOLD_MOD = f"""module function

go 1.21

require (
	example.com/function v0.0.0
	knative.dev/func-go {FUNC_GO}
)

replace example.com/function => ../function
"""


@dataclass
class Bench:
    """The sources and the environment of one session."""

    home: Path
    go: str
    edits: int = 0
    env: dict[str, str] = field(default_factory=dict)

    @property
    def function(self) -> Path:
        return self.home / "function"

    @property
    def scaffold(self) -> Path:
        return self.home / "scaffold"

    def prepare(self) -> None:
        """Write the sources, resolve the scaffold's modules, and warm the compiler's cache."""
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("HOSTBUILD_")}
        self.env |= {"HOSTBUILD_CACHE_DIR": str(self.home / "cache"), "FUNC_GO": self.go}
        write(self.function, FUNCTION_FILES)
        write(self.scaffold, {"go.mod": SCAFFOLD_MOD, "main.go": SCAFFOLD})
        self.run(self.go, "mod", "tidy", cwd=self.scaffold)
        self.go_builds()
        self.hostbuild()

    def run(self, *argv: str, cwd: Path, extra: Mapping[str, str] | None = None) -> None:
        done = subprocess.run(
            argv, cwd=cwd, env={**self.env, **(extra or {})}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"error: {' '.join(argv)} failed\n{done.stdout}{done.stderr}")

    def edit(self) -> None:
        """Change one line, to something that was never compiled."""
        self.edits += 1
        word = f"edit {self.edits} of {time.time_ns()}"
        (self.function / "function.go").write_text(FUNCTION.replace("EDIT", word))

    def go_builds(self) -> None:
        for platform, settings in PLATFORMS.items():
            target = {"CGO_ENABLED": "0", "GOOS": "linux", "GOFLAGS": "-buildvcs=false -trimpath", **settings}
            output = str(self.home / "out" / platform.replace("/", "."))
            self.run(self.go, "build", "-o", output, ".", cwd=self.scaffold, extra=target)

    def hostbuild(self) -> None:
        command = (sys.executable, "-m", "hostbuild", "build", str(self.function), "--progress", "quiet")
        self.run(*command, "--platform", ",".join(PLATFORMS), cwd=self.home)

    def python(self) -> None:
        self.run(sys.executable, "-c", "pass", cwd=self.home)


def real_go() -> str | None:
    """The go command in GOROOT (PATH may lead to a small program that starts it), the same for both sides."""
    beside = os.path.dirname(sys.executable)  # where the go of an extra lies
    found = shutil.which("go", path=os.pathsep.join([beside, os.environ.get("PATH", os.defpath)]))
    if found is None:
        return None
    done = subprocess.run([found, "env", "GOROOT"], capture_output=True, text=True, check=True)
    return os.path.join(done.stdout.strip(), "bin", "go")


def write(root: Path, files: Mapping[str, str]) -> None:
    root.mkdir(parents=True)
    for name, text in files.items():
        (root / name).write_text(text)


def seconds(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(bench: Bench, runs: int) -> dict[str, list[float]]:
    """Seconds of each command, turn by turn; who goes first alternates."""
    times: dict[str, list[float]] = {"go": [], "edited": [], "unchanged": [], "python": []}
    for turn in range(runs):
        pair = [("go", bench.go_builds), ("edited", bench.hostbuild)]
        for name, action in pair if turn % 2 == 0 else reversed(pair):
            bench.edit()  # each has a line of its own to compile: neither profits from the other
            times[name].append(seconds(action))
        bench.hostbuild()  # after a turn that ended with go, the newest edit is not built yet
        times["unchanged"].append(seconds(bench.hostbuild))
        times["python"].append(seconds(bench.python))
    return times


def table(times: Mapping[str, list[float]]) -> list[str]:
    """Medians with their spread, and the median of each turn's ratio."""
    labels = {
        "go": "go build, 3 platforms in a row, one line edited",
        "edited": "hostbuild, 3 platforms, one line edited",
        "unchanged": "hostbuild, nothing changed",
        "python": "python -c pass",
    }
    lines = [f"{'':<50}{'median':>9}{'min':>9}{'max':>9}"]
    for name, label in labels.items():
        low, middle, high = min(times[name]), statistics.median(times[name]), max(times[name])
        lines.append(f"{label:<50}{middle:>8.3f}s{low:>8.3f}s{high:>8.3f}s")
    lines.append("")
    for one, other, label in (
        ("edited", "go", "hostbuild / three go builds, one line edited"),
        ("unchanged", "go", "nothing changed / three go builds"),
        ("unchanged", "python", "nothing changed / python -c pass"),
    ):
        ratio = statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))
        lines.append(f"{label:<50}{ratio:>8.2f}x")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description="hostbuild against three runs of go build, as ratios")
    parser.add_argument("-n", "--runs", type=int, default=7, help="turns to take (default: 7)")
    parser.add_argument("--json", action="store_true", help="print every time as JSON instead of the table")
    arguments = parser.parse_args()
    go = real_go()
    if go is None:
        print("error: no go command on PATH\n  fix: pip install 'hostbuild[go]'", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="hostbuild-bench-") as home:
        bench = Bench(Path(home), go)
        bench.prepare()
        times = measure(bench, arguments.runs)
    print(json.dumps(times) if arguments.json else "\n".join(table(times)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

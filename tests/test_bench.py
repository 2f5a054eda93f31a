"""The benches: that they run, and what they say where they cannot. Nothing here looks at how long it took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent / "scripts" / "bench"


def bench(*flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPTS / "all.py", *flags],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_tiny_run_gives_every_time_and_the_machine() -> None:
    done = bench("--tiny", "--only", "start", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {row["who"] for row in found["rows"]} >= {"python -c pass", "hostbuild --version"}
    assert all(seconds > 0 for row in found["rows"] for seconds in row["seconds"])
    assert found["machine"]["python"].endswith(".".join(map(str, sys.version_info[:3])))


def test_an_unknown_group_is_wrong_usage() -> None:
    done = bench("--only", "start,colour")
    assert done.returncode == 2
    assert "no such group: colour" in done.stderr


def test_what_grows_is_fitted_and_judged() -> None:
    program = """
from bed import Point, Results, Run, slope
from plots import svg
from report import markdown, text
points = [Point(n, 0.001 * n * n, 10) for n in (10, 100, 1000)]
assert abs(slope(points) - 2) < 1e-6
results = Results(print, series={"squares": points})
results.add("push of x", "crane", Run(1.0))
results.add("push of x", "hostbuild", Run(2.0))
print(text(results))
print(markdown(results))
print(svg(results.series))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any("squares" in line and "2.00" in line for line in lines)
    assert any("8. squares" in line and line.endswith("not met") for line in lines)
    assert any(line.startswith("| 6. push of x: crane's time over ours |") for line in lines)
    assert "squares: slope 2.00</text>" in done.stdout

"""What the issue asks for, and whether this run met it. It judges; nothing fails by it."""

from __future__ import annotations

import math
from typing import NamedTuple

from bed import US, Results, last_slope
from builds import FUNC, KO, KO_CACHED, PUSHED
from layers import GO, OURS


class Verdict(NamedTuple):
    """A target, what was asked (`least` or `most`), and what came."""

    target: str
    asked: str
    came: float
    met: bool


def verdicts(results: Results) -> list[list[str]]:
    found = [*_layer(results), *_builds(results), *_start(results), *_transfers(results), *_scale(results)]
    return [
        ["target", "asked", "came", ""],
        *(
            [each.target, each.asked, f"{each.came:.3g}", "met" if each.met else "not met"]
            for each in found
            if not math.isnan(each.came)
        ),
    ]


def least(target: str, came: float, asked: float) -> Verdict:
    return Verdict(target, f"at least {asked:g}", came, came >= asked)


def most(target: str, came: float, asked: float, unit: str = "") -> Verdict:
    return Verdict(target, f"at most {asked:g}{unit}", came, came <= asked)


def _work(results: Results, start: str, end: str = "") -> str:
    return next((work for work in results.works() if work.startswith(start) and work.endswith(end)), "")


def _layer(results: Results) -> list[Verdict]:
    work = _work(results, "layer of")
    found = []
    for name in OURS[:3]:
        ratio = results.ratio(work, GO, name)
        found.append(least(f"1. data layer, {name}: times faster than Go's tar+gzip 6", ratio, _asked(name)))
        floor = results.facts.get(f"{work}: floor of {name}", math.nan)
        row = results.rows.get((work, name))
        if row:
            found.append(most(f"1. data layer, {name}: times the floor", row.span[0] / floor, 1.25))
    peaks = [results.rows[work, name].peak for name in OURS if (work, name) in results.rows]
    found.append(most("1. peak memory of a layer's process, MB", max(peaks, default=math.nan), 100))
    return found


def _asked(name: str) -> float:
    return 12 if name == "gzip" else 18


def _builds(results: Results) -> list[Verdict]:
    still, edited, cold = "nothing changed", "one line edited", "empty Go cache"
    files_still = _work(results, "", "beside: nothing changed")
    files_edited = _work(results, "", "beside: one line edited")
    beyond = results.get(files_edited, US) - results.get(edited, US)
    return [
        most("2. nothing changed, small", results.get(still, US), 0.10, " s"),
        least("2. nothing changed: times faster than func's way", results.ratio(still, FUNC), 20),
        least(
            "2. nothing changed, both push: times faster than ko", results.ratio(still, KO_CACHED, PUSHED), 6
        ),
        least("2. nothing changed: times faster than ko, which pushes", results.ratio(still, KO_CACHED), 6),
        most("2. nothing changed, files beside", results.get(files_still, US), 0.25, " s"),
        least("3. one line edited: times faster than func's way", results.ratio(edited, FUNC), 1.5),
        least("3. one line edited, pushed: ko's time over ours", _best_ko(results, edited), 1),
        most("4. one line edited, data beside: s beyond the small one", beyond, 0.5, " s"),
        least("5. empty Go cache, pushed: ko's time over ours", results.ratio(cold, KO, PUSHED), 1),
    ]


def _best_ko(results: Results, work: str) -> float:
    times = [results.get(work, who) for who in (KO, KO_CACHED)]
    known = [each for each in times if not math.isnan(each)]
    return min(known, default=math.nan) / results.get(work, PUSHED)


def _start(results: Results) -> list[Verdict]:
    floor = results.get("start-up", "python -c pass")
    return [
        most(f"5. {flag} beyond python -c pass, ms", 1000 * (results.get("start-up", flag) - floor), asked)
        for flag, asked in (("hostbuild --version", 15), ("hostbuild --help", 30))
    ]


def _transfers(results: Results) -> list[Verdict]:
    found = [
        least(f"6. {work}: crane's time over ours", results.ratio(work, "crane"), 1)
        for work in results.works()
        if work.startswith(("push of", "pull of")) and not work.endswith("nothing to do")
    ]
    asked = results.facts.get(f"requests of {US} where there is nothing to push", math.nan)
    return [*found, most("6. requests where there is nothing to push", asked, 3)]


def _scale(results: Results) -> list[Verdict]:
    """No worse than linear: a tenth of room, because a fit over few points has noise."""
    return [
        most(f"8. {name}: slope of the last two", last_slope(points), 1.1)
        for name, points in results.series.items()
    ]

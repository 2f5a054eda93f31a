"""The tables: what was measured, each target met or not met, the price of safety, the scaling."""

from __future__ import annotations

import math

from bed import US, Results, last_slope, machine, slope
from builds import KO, PUSHED
from safety import BARE, SAFE, WORK
from targets import verdicts

Table = tuple[str, list[list[str]]]  # the title; rows, the first of them the heads


def tables(results: Results) -> list[Table]:
    found = [
        ("Side by side", _side_by_side(results)),
        ("Size against time", _levels(results)),
        ("The price of safety", _safety(results)),
        ("Scaling", _scaling(results)),
        ("Targets", verdicts(results)),
    ]
    return [(title, rows) for title, rows in found if len(rows) > 1]


def _side_by_side(results: Results) -> list[list[str]]:
    table = [["work", "who", "s", "min..max", "CPU s", "peak MB", "x hostbuild"]]
    for work in results.works():
        if work.startswith((WORK, "levels")):
            continue
        rows = [row for row in results.rows.values() if row.work == work]
        names = {row.who for row in rows}
        for number, row in enumerate(rows):
            low, high = row.span
            us = PUSHED if PUSHED in names and row.who.startswith(KO[:2]) else US
            if work.startswith("layer of"):
                us = "gzip"
            if work == "empty Go cache" and US not in names:
                us = PUSHED
            ratio = results.ratio(work, row.who, us)
            table.append(
                [
                    work if not number else "",
                    row.who,
                    f"{row.seconds:.3f}",
                    f"{low:.3f}..{high:.3f}",
                    f"{row.cpu:.2f}",
                    f"{row.peak:.0f}",
                    "-" if math.isnan(ratio) or row.who == us else f"{ratio:.2f}",
                ]
            )
    table += [
        ["requests", name.removeprefix("requests of "), f"{value:.0f}", "", "", "", ""]
        for name, value in results.facts.items()
        if name.startswith("requests")
    ]
    return table


def _levels(results: Results) -> list[list[str]]:
    table = [["compression", "s", "MB/s", "size", "peak MB"]]
    for row in results.rows.values():
        if row.work.startswith("levels"):
            total = results.facts[f"{row.work}: bytes"]
            table.append(
                [
                    row.who,
                    f"{row.seconds:.2f}",
                    f"{total / row.seconds / 1e6:.0f}",
                    f"{row.weight / total:.3f}",
                    f"{row.peak:.0f}",
                ]
            )
    return table


def _safety(results: Results) -> list[list[str]]:
    table = [["work", "as it is, s", "without, s", "difference", "least of each"]]
    for work in results.works():
        if work.startswith(WORK):
            safe, bare = results.rows[work, SAFE], results.rows[work, BARE]
            table.append(
                [
                    work.removeprefix(f"{WORK}: "),
                    f"{safe.seconds:.3f}",
                    f"{bare.seconds:.3f}",
                    f"{safe.seconds - bare.seconds:+.3f} s, {_percent(safe.seconds, bare.seconds)}",
                    _percent(safe.span[0], bare.span[0]),
                ]
            )
    return table


def _percent(safe: float, bare: float) -> str:
    return f"{100 * (safe / bare - 1):+.0f} %"


def _scaling(results: Results) -> list[list[str]]:
    table = [["series", "amount: seconds", "slope", "slope of the last two", "peak MB"]]
    for name, points in results.series.items():
        table.append(
            [
                name,
                ", ".join(f"{point.amount:,g}: {point.seconds:.2f}" for point in points),
                f"{slope(points):.2f}",
                f"{last_slope(points):.2f}",
                ", ".join(f"{point.peak:.0f}" for point in points),
            ]
        )
    return table


def text(results: Results) -> str:
    lines = [f"{name}: {value}" for name, value in machine().items()]
    lines += [f"note: {note}" for note in results.notes]
    for title, rows in tables(results):
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += ["", title, ""]
        for row in rows:
            lines.append(
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            )
    return "\n".join(lines)


def markdown(results: Results) -> str:
    lines = [f"- {name}: {value}" for name, value in machine().items()]
    lines += [f"- note: {note}" for note in results.notes]
    for title, rows in tables(results):
        lines += ["", f"## {title}", "", "| " + " | ".join(rows[0]) + " |", "| --- " * len(rows[0]) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows[1:]]
    return "\n".join(lines)

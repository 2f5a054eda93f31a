"""A log-log plot of every scaling series as one SVG, by nothing but text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from bed import Point, slope

WIDTH, HEIGHT, COLUMNS = 380, 250, 2
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 30, 34


def svg(series: Mapping[str, Sequence[Point]]) -> str:
    """One panel a series: amount against seconds, both logarithmic, with the fitted line."""
    rows = math.ceil(len(series) / COLUMNS)
    size = f'width="{WIDTH * COLUMNS}" height="{HEIGHT * rows}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (name, points) in enumerate(series.items()):
        row, column = divmod(number, COLUMNS)
        parts.append(f'<g transform="translate({column * WIDTH},{row * HEIGHT})">')
        parts += _panel(name, points)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(name: str, points: Sequence[Point]) -> list[str]:
    amounts = _decades([point.amount for point in points])
    seconds = _decades([point.seconds for point in points])

    def across(value: float) -> float:
        share = (math.log10(value) - amounts[0]) / (amounts[-1] - amounts[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def up(value: float) -> float:
        share = (math.log10(value) - seconds[0]) / (seconds[-1] - seconds[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    fitted = slope(points)
    title = escape(name) + ("" if math.isnan(fitted) else f": slope {fitted:.2f}")
    lines = [f'<text x="{LEFT}" y="18" font-weight="bold">{title}</text>']
    for exponent in amounts:
        x = across(10.0**exponent)
        lines.append(
            f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>'
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{10.0**exponent:,g}</text>'
        )
    for exponent in seconds:
        y = up(10.0**exponent)
        lines.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{10.0**exponent:g} s</text>'
        )
    path = " ".join(f"{across(point.amount):.1f},{up(point.seconds):.1f}" for point in points)
    lines.append(f'<polyline points="{path}" fill="none" stroke="#1f5fa8" stroke-width="1.5"/>')
    lines += [
        f'<circle cx="{across(point.amount):.1f}" cy="{up(point.seconds):.1f}" r="3" fill="#1f5fa8"/>'
        for point in points
    ]
    return lines


def _decades(values: Sequence[float]) -> list[int]:
    """Exponents of ten that hold all values, two at least."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return list(range(low, max(high, low + 1) + 1))

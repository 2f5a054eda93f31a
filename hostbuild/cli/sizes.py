"""Bytes for people."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")


def human_size(size: int) -> str:
    """Bytes in powers of 1000, as registries and disks count: 999 B, 1.2 kB, 7.9 MB."""
    power = _power(size)
    return f"{_number(size, power)} {_UNITS[power]}"


def human_share(done: int, total: int) -> str:
    """How much of a whole, in the whole's unit: 12.3 of 45.6 MB."""
    power = _power(total)
    return f"{_number(done, power)} of {_number(total, power)} {_UNITS[power]}"


def _power(size: int) -> int:
    if size < 1000:
        return 0
    power = 1
    while size / 1000**power >= 999.95 and power < len(_UNITS) - 1:
        power += 1
    return power


def _number(size: int, power: int) -> str:
    return f"{size / 1000**power:.1f}" if power else str(size)

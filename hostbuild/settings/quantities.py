"""Ages and sizes as people write them: 30d, 2h30m; 10G, 512MB."""

from __future__ import annotations

import re

from hostbuild.errors import SettingsError

_SECONDS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_AGE = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[wdhms])+", re.ASCII)
_AGE_PART = re.compile(r"([0-9.]+)([wdhms])", re.ASCII)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)i?b?", re.ASCII | re.IGNORECASE)
_POWERS = {letter: 1024**power for power, letter in enumerate(("", "k", "m", "g", "t", "p"))}
#: What no disk and no clock reaches; it also keeps the arithmetic of the callers small.
_MOST = 1 << 63


def parse_age(text: str, where: str) -> float:
    """Seconds of an age: weeks, days, hours, minutes and seconds, one or several (2w, 1.5h, 2h30m), or 0.

    Raises SettingsError, which calls the setting `where`.
    """
    wrong = SettingsError(f"{where}: {text!r} is not an age", fix="write it as 30d, 12h, 90m, 45s or 2w")
    if text == "0":
        return 0.0
    if not _AGE.fullmatch(text):
        raise wrong
    try:
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _AGE_PART.findall(text))
    except ValueError:
        raise wrong from None
    if seconds >= _MOST:
        raise _too_large(text, where)
    return seconds


def parse_size(text: str, where: str) -> int:
    """Bytes of a size, by the rules of `docker buildx prune`: 10G, 10GB, 10GiB and 10g are all 10 * 1024**3.

    The letters are K, M, G, T and P in either case; "B" and "iB" may follow; without a letter it is bytes.
    Raises SettingsError, which calls the setting `where`.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise SettingsError(f"{where}: {text!r} is not a size", fix="write it as 10G, 512MB or 1.5TiB")
    number, letter = found.groups()
    # Whole numbers stay exact; Python's ints know no overflow, and a float of too many digits is infinite.
    size = (float(number) if "." in number or len(number) > 18 else int(number)) * _POWERS[letter.lower()]
    if size >= _MOST:
        raise _too_large(text, where)
    return int(size)


def _too_large(text: str, where: str) -> SettingsError:
    return SettingsError(f"{where}: {text[:40]!r} is too large", fix="write less")

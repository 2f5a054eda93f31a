"""Regular expressions that are compiled when they are first used: compiling a few costs a millisecond."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _Late:
    """Stands for a pattern; what was asked of it once, it has."""

    def __init__(self, text: str | bytes, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = getattr(re.compile(self._text, self._flags), name)
        self.__dict__[name] = value
        return value


def late(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """As `re.compile`; what is wrong with `text` is found at its first use."""
    return cast("re.Pattern[AnyStr]", _Late(text, flags))

"""Reads plain command lines, which are nearly all, as argparse would, at a fraction of what that costs.

Loading argparse and making a parser is a fifth of a build with nothing to do. What is not plain (help,
mistakes, short flags that run together, empty values, words after `--`) is left to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

#: argparse's mark of what --help does not show.
HIDDEN = "==SUPPRESS=="

#: The action of a switch that --help shows with its --no-NAME; `hostbuild.cli.parsing` knows argparse's.
NEGATABLE = "negatable"

_UNSET: Any = object()
_CONSTANTS = {"store_true": True, "store_false": False}


class Flag(NamedTuple):
    """One spelling of a flag: what it sets, and to what, or to which of `choices` (none: to any value).

    `is_plain` is False where a value is more than a text; `is_shown` tells whether --help has it.
    """

    dest: str
    action: str
    constant: bool | None = None
    choices: Collection[str] = ()
    is_plain: bool = True
    is_shown: bool = True


class Flags:
    """Takes a command's flags from `fill`, as argparse's parsers and their groups do."""

    def __init__(self, fill: Callable[[Any], None]) -> None:
        self.by_name: dict[str, Flag] = {}
        self._defaults: dict[str, Any] = {}
        self._words: list[str] = []
        self._is_plain = True
        fill(self)

    def add_argument_group(self, title: str) -> Flags:
        """Groups matter to --help only."""
        del title
        return self

    def add_argument(
        self,
        *names: str,
        dest: str = "",
        action: str = "store",
        nargs: str | None = None,
        default: Any = _UNSET,
        choices: Collection[str] = (),
        **more: Any,
    ) -> None:
        """See argparse; `more` are its `type`, and what --help shows."""
        constant = _CONSTANTS.get(action)
        if default is _UNSET:
            default = None if constant is None else not constant
        if not names[0].startswith("-"):
            self._is_plain = self._is_plain and nargs == "?" and not self._words
            self._words.append(names[0])
            self._defaults.setdefault(names[0], default)
            return
        dest = dest or next(name for name in names if name.startswith("--"))[2:].replace("-", "_")
        self._defaults.setdefault(dest, default)
        is_plain = "type" not in more and action in ("store", "append", NEGATABLE, *_CONSTANTS)
        flag = Flag(dest, action, constant, choices, is_plain, more.get("help") != HIDDEN)
        if action == NEGATABLE:
            (name,) = names
            self.by_name[name] = flag._replace(constant=True)
            self.by_name[f"--no-{name[2:]}"] = flag._replace(constant=False)
        else:
            self.by_name.update(dict.fromkeys(names, flag))

    def read(self, argv: Sequence[str]) -> SimpleNamespace | None:
        """What argparse would make of these words; None where it must be asked."""
        if not self._is_plain:
            return None
        found = {
            name: list(value) if isinstance(value, list) else value for name, value in self._defaults.items()
        }
        free = list(self._words)
        words = iter(argv)
        for word in words:
            if not word.startswith("-"):
                if not word or not free:
                    return None
                found[free.pop()] = word
                continue
            name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
            flag = self.by_name.get(name)
            if flag is None or not flag.is_plain:
                return None
            if flag.constant is not None:
                if equals:
                    return None
                found[flag.dest] = flag.constant
                continue
            value = value if equals else next(words, "")
            if (
                not value
                or (not equals and value.startswith("-"))
                or (flag.choices and value not in flag.choices)
            ):
                return None
            if flag.action == "append":
                found[flag.dest] = [*(found[flag.dest] or ()), value]
            else:
                found[flag.dest] = value
        return SimpleNamespace(**found)

"""The small texts in a wheel: METADATA and WHEEL, which are headers, and entry_points.txt.

Sources: packaging.python.org, "Core metadata", "Binary distribution format", "Entry points specification".
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import NamedTuple

from hostbuild.wheels.names import why_unsafe

#: Groups whose entries become commands, the ones that show windows last.
SCRIPT_GROUPS = ("console_scripts", "gui_scripts")

_FIELD = re.compile(r"([!-9;-~]+):[ \t]*(.*)", re.DOTALL)
_OBJECT = re.compile(
    r"\s*(?P<module>[\w.]+)\s*(?::\s*(?P<attribute>[\w.]+)\s*)?(?:\[[^\[\]]*\]\s*)?", re.DOTALL
)

Headers = Mapping[str, tuple[str, ...]]


class Command(NamedTuple):
    """An entry point that is a command: it calls `attribute` of `module`, without arguments."""

    name: str
    module: str
    attribute: str


def parse_headers(data: bytes) -> Headers:
    """The header fields, by names in lower case, as many values as there are; the body is left out.

    Bytes that are not UTF-8 become replacement characters: old descriptions have them.
    """
    fields: dict[str, list[str]] = {}
    last: list[str] | None = None
    for line in data.decode("utf-8-sig", "replace").split("\n"):
        text = line.removesuffix("\r")
        if text[:1] in (" ", "\t") and last is not None:
            last[-1] += "\n" + text.strip()
            continue
        found = _FIELD.fullmatch(text)
        if found is None:
            break
        last = fields.setdefault(found[1].lower(), [])
        last.append(found[2].strip())
    return {name: tuple(values) for name, values in fields.items()}


def one(headers: Headers, name: str) -> str:
    """The value of a field that must be there once. Raises ValueError, which says what is wrong."""
    values = headers.get(name.lower(), ())
    if len(values) != 1 or not values[0]:
        raise ValueError(f"has no {name}" if not any(values) else f"has more than one {name}")
    return values[0]


def parse_entry_points(data: bytes) -> dict[str, dict[str, str]]:
    """The entries by group and name, as they stand. Raises ValueError, which says what is wrong."""
    from configparser import ConfigParser, Error

    class Parser(ConfigParser):
        def optionxform(self, optionstr: str) -> str:
            return optionstr  # names of entry points have upper and lower case

    # No default section: its entries would count for every group.
    parser = Parser(delimiters=("=",), interpolation=None, default_section="\0", empty_lines_in_values=False)
    try:
        parser.read_string(data.decode())
    except (Error, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be understood: {str(error).splitlines()[0]}") from error
    return {group: dict(parser.items(group)) for group in parser.sections()}


def commands(entry_points: Mapping[str, Mapping[str, str]]) -> tuple[Command, ...]:
    """The commands among the entry points, by name. Raises ValueError for one that cannot be made."""
    found: dict[str, Command] = {}
    for group in SCRIPT_GROUPS:
        for name, value in entry_points.get(group, {}).items():
            command = _command(name, value)
            if found.setdefault(name, command) != command:
                raise ValueError(f"gives the command {name!r} two meanings")
    return tuple(found[name] for name in sorted(found))


def _command(name: str, value: str) -> Command:
    unsafe = why_unsafe(name)
    if unsafe or "/" in name:
        raise ValueError(f"names a command {name[:80]!r}, which {unsafe or 'has a slash in its name'}")
    found = _OBJECT.fullmatch(value)
    if found is None or not found["attribute"]:
        raise ValueError(f"does not say what the command {name!r} calls: {value[:80]!r}")
    for part in (*found["module"].split("."), *found["attribute"].split(".")):
        if not part.isidentifier() or keyword.iskeyword(part):
            raise ValueError(
                f"says that the command {name!r} calls {value[:80]!r}, which is no name in Python"
            )
    return Command(name, found["module"], found["attribute"])

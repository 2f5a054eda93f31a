"""hostbuild.toml, or the table [tool.hostbuild] of pyproject.toml."""

from __future__ import annotations

import os
import re
from typing import Any

from hostbuild.errors import SettingsError
from hostbuild.settings.files import read_file
from hostbuild.settings.table import BY_ANY_NAME, BY_OPPOSITE, Setting, from_texts, size_or_none, words

FILE_NAME = "hostbuild.toml"

#: Directories that hostbuild makes and writes.
_MADE = ("build-dir", "cache-dir")
#: The local kinds of base image: what follows is a path.
_LOCAL_BASES = ("oci:", "oci-archive:", "docker-archive:")


def read_settings(root: str) -> dict[str, Any]:
    """The settings that the project's files hold, by name; {} where there are none.

    hostbuild.toml wins over pyproject.toml as a whole. Raises SettingsError with file, line and
    column for what is not TOML, and file and line for an unknown name or a value of a wrong kind.
    """
    text = _read(root, FILE_NAME)
    if text is not None:
        return _checked(_parse(text, FILE_NAME), text, FILE_NAME, root)
    text = _read(root, "pyproject.toml")
    if text is None or "hostbuild" not in text:
        return {}
    tool = _parse(text, "pyproject.toml").get("tool")
    table = tool.get("hostbuild") if isinstance(tool, dict) else None
    return _checked(table, text, "pyproject.toml", root) if isinstance(table, dict) else {}


def refuse_outside(path: str, root: str, what: str) -> None:
    """A file that came with a source writes below that source, links resolved. Raises SettingsError."""
    top, real = os.path.realpath(root), os.path.realpath(path)
    if not real.startswith(os.path.join(top, "")):
        raise SettingsError(
            f"{what}: {path!r} is outside the project",
            why="a file of the project says what is written in the project only",
            fix="name the place with a flag or a variable",
        )


def _read(root: str, name: str) -> str | None:
    data = read_file(os.path.join(root, name))
    try:
        return None if data is None else data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise SettingsError(f"cannot read {name}", why=str(error), fix="write it in UTF-8") from None


def _parse(text: str, name: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SettingsError(f"{name}: nested too deeply", fix="write it flat") from None
    except tomllib.TOMLDecodeError as error:
        message, _, place = str(error).partition(" (at ")
        spot = re.match(r"line (\d+), column (\d+)", place)
        line, column = spot.groups() if spot else (text.count("\n") + 1, len(text) - text.rfind("\n"))
        raise SettingsError(f"{name}:{line}:{column}: not valid TOML", why=message) from None
    except ValueError as error:  # a number with more digits than Python reads
        raise SettingsError(f"{name}: not valid TOML", why=str(error)) from None


def _checked(table: dict[str, Any], text: str, name: str, root: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        setting = BY_ANY_NAME.get(key) or BY_OPPOSITE.get(key)
        where = f"{name}:{_line_of(key, text)}"
        if setting is None:
            raise SettingsError(f"{where}: unknown setting {key!r}", fix=_suggest(key))
        if setting.secret:
            raise SettingsError(
                f"{where}: {key!r} is a secret, and a project's file is no place for one",
                fix=f"remove it; use `hostbuild login`, or the variable {setting.variable}",
            )
        if not setting.in_files:
            raise SettingsError(f"{where}: {key!r} is for the command line only")
        if setting.name in found:
            raise SettingsError(
                f"{where}: {key!r} is another name of what stands there already", fix="remove one"
            )
        found[setting.name] = _value(setting, value, f"{where}: {key}")
        if key == setting.opposite:
            found[setting.name] = not found[setting.name]
        if setting.path:
            found[setting.name] = os.path.join(root, found[setting.name])
            if setting.name in _MADE and "\0" not in found[setting.name]:
                refuse_outside(found[setting.name], root, f"{where}: {key}")
        elif setting.name == "base":
            found[setting.name] = _base(found[setting.name], root)
    return found


def _base(text: str, root: str) -> str:
    """A file's paths are relative to the file."""
    kind = next((kind for kind in _LOCAL_BASES if text.startswith(kind)), None)
    return f"{kind}{os.path.join(root, text.removeprefix(kind))}" if kind else text


def _suggest(key: str) -> str:
    import difflib

    near = difflib.get_close_matches(key.replace("_", "-"), [*BY_ANY_NAME, *BY_OPPOSITE], n=1)
    return f"did you mean {near[0]!r}?" if near else "the settings are those of `hostbuild build --help`"


def _line_of(key: str, text: str) -> int:
    found = re.search(
        rf"^\s*[\"']?{re.escape(key)}[\"']?\s*[=.]|^\s*\[.*\b{re.escape(key)}\s*\]", text, re.MULTILINE
    )
    return (
        text.count("\n", 0, found.start() + len(found.group()) - len(found.group().lstrip())) + 1
        if found
        else 1
    )


def _value(setting: Setting, value: Any, where: str) -> Any:
    if setting.kind == "list" and isinstance(value, str):
        return from_texts(setting, [value], where)
    fits = value if setting.kind == "choice" and value in setting.choices else _FITS[setting.kind](value)
    if setting.name == "ldflags" and _all_text(value):
        fits = " ".join(value)
    if fits is None:
        raise SettingsError(
            f"{where} has the wrong kind of value: {value!r}",
            fix=f"it takes {', '.join(setting.choices) or _WANTS[setting.kind]}",
        )
    return fits


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _list(value: Any) -> tuple[str, ...] | None:
    return tuple(value) if _all_text(value) else None


def _pairs(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, dict):
        return tuple(f"{key}={item}" for key, item in value.items()) if _all_text([*value.values()]) else None
    return tuple(value) if _all_text(value) else None


def _words(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return words(value, FILE_NAME)
    return tuple(value) if _all_text(value) else None


def _switch(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else None


def _seconds(value: Any) -> float | None:
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        else None
    )


def _size(value: Any) -> int | None:
    if isinstance(value, str):
        return size_or_none(value, FILE_NAME)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _no_choice(_: Any) -> None:
    """What is one of the choices was taken before."""


_FITS = {
    "text": _text,
    "list": _list,
    "pairs": _pairs,
    "words": _words,
    "switch": _switch,
    "count": _count,
    "seconds": _seconds,
    "size": _size,
    "choice": _no_choice,
}

_WANTS = {
    "text": "a string",
    "list": "a string or an array of strings",
    "pairs": 'a table of strings or an array of "K=V"',
    "words": "a string or an array of strings",
    "switch": "true or false",
    "count": "a whole number of at least 1",
    "seconds": "a number of seconds",
    "size": 'a size, as in "20G", or a number of bytes',
}


def _all_text(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(item, str) for item in items)

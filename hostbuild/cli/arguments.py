"""Reads the command line: which command, and its flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from hostbuild.cli.commands import find
from hostbuild.cli.plain import Flags
from hostbuild.cli.spelling import spell_out
from hostbuild.settings.table import from_texts

if TYPE_CHECKING:
    from argparse import Namespace


def parse(argv: Sequence[str]) -> Namespace:
    """The parsed command line; `command` names what to run, `runner` where that is.

    Raises UsageError for wrong usage. Exits with 0 after --help and --version, as argparse does.
    """
    command, rest = find(argv)
    if command is None:
        from hostbuild.cli.parsing import parse_top

        parse_top(argv)
    words = spell_out(rest, command.settings)
    arguments = cast("Namespace | None", Flags(command.fill).read(words))
    if arguments is None:
        from hostbuild.cli import parsing

        arguments = parsing.parse(command, words)
    arguments.command, arguments.runner = command.name, command.runner
    return arguments


def help_text() -> str:
    """What --help says."""
    from hostbuild.cli import parsing

    return parsing.help_text()


def given_settings(arguments: Namespace) -> dict[str, Any]:
    """The settings that were given as flags, by name, with their final values."""
    command, _ = find(arguments.command.split())
    found: dict[str, Any] = {}
    for setting in command.settings if command else ():
        value = getattr(arguments, setting.name, None)
        if isinstance(value, bool):
            found[setting.name] = value
        elif value is not None:
            found[setting.name] = from_texts(setting, value, f"--{setting.name}")
    return found

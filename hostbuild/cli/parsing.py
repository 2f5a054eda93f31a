"""Reads the command line with argparse: which command, its flags, and what is wrong with them.

Only the parser of the command that is asked for is made. What is not understood is never quoted in full: it
may be a login that followed a flag with a typing error. `hostbuild.cli.plain` has read what is plain.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from hostbuild.cli.commands import COMMANDS, Command
from hostbuild.cli.plain import NEGATABLE
from hostbuild.cli.streams import finish_output, write_output
from hostbuild.errors import EXIT_USAGE, UsageError

_DESCRIPTION = """\
From a source directory to a runnable, reproducible, multi-arch OCI image, on the host:
no daemon, no root, no emulation, no Dockerfile."""


#: Flags that users of other tools have in their fingers.
_OF_OTHERS = {
    "--load": "use -o type=docker,dest=- and pipe it into `docker load` (or `podman load`)",
    "--file": "there is no Dockerfile; what is built is found in the source",
    "-f": "there is no Dockerfile; what is built is found in the source",
    "--build-arg": "set variables of the image with -e K=V",
    "--local": "use -o type=docker,dest=- and pipe it into `docker load` (or `podman load`)",
}


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors like all others: what, the usage, and what to do."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register("action", NEGATABLE, argparse.BooleanOptionalAction)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError, as every wrong request does."""
        raise UsageError(
            f"{self.prog}: {message}", detail=self.format_usage(), fix=f"see `{self.prog} --help`"
        )

    def print_help(self, file: Any = None) -> None:
        """As argparse does, which swallows the errors of writing. Raises as `write_output` does."""
        if file is None:
            write_output(self.format_help())
        else:
            super().print_help(file)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Exit when standard output has taken what was said. Raises as `finish_output` does."""
        finish_output()
        super().exit(status, message)


def parse(command: Command, words: Sequence[str]) -> argparse.Namespace:
    """What follows the command's own words. Raises UsageError for wrong usage; exits with 0 after --help."""
    parser = _parser(command)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        _refuse(parser, command, unknown)
    return arguments


def help_text() -> str:
    """What --help says."""
    return _top_parser().format_help()


def _parser(command: Command) -> Parser:
    parser = Parser(
        prog=f"hostbuild {command.name}",
        usage=f"hostbuild {command.name} {command.usage}",
        description=command.description,
        epilog=command.epilog or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.fill(parser)
    return parser


class _Version(argparse.Action):
    """--version."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Say it and exit. Raises as `write_output` does."""
        from hostbuild.version import VERSION

        write_output(f"hostbuild {VERSION}\n")
        parser.exit()


def _top_parser() -> Parser:
    parser = Parser(
        prog="hostbuild",
        usage="hostbuild COMMAND [flags]",
        description=f"{_DESCRIPTION}\n\ncommands:{_listed(COMMANDS)}",
        epilog="`hostbuild COMMAND --help` tells the flags of each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="show program's version number and exit")
    return parser


def parse_top(argv: Sequence[str]) -> NoReturn:
    """--help and --version; everything else without a command is wrong."""
    parser = _top_parser()
    family = [command for command in COMMANDS if argv and command.name.startswith(f"{argv[0]} ")]
    if family:
        _family(argv, family)
    _, unknown = parser.parse_known_args(argv[:1])
    if not unknown:
        parser.error("which command?")
    if unknown[0].startswith("-"):
        parser.error(f"unknown flag {_name_of(unknown[0])!r}{_near(unknown[0], ('--help', '--version'))}")
    names = [command.name for command in COMMANDS]
    parser.error(f"unknown command {unknown[0]!r}{_near(unknown[0], names)}")


def _family(argv: Sequence[str], family: Sequence[Command]) -> NoReturn:
    """`hostbuild index`: what there is below it. Exits with 2 where nothing was asked for."""
    parser = Parser(
        prog=f"hostbuild {argv[0]}",
        usage=f"hostbuild {argv[0]} COMMAND [flags]",
        description=f"commands:{_listed(family)}",
        epilog=f"`hostbuild {family[0].name if len(family) == 1 else f'{argv[0]} COMMAND'} --help` "
        f"tells {'its flags' if len(family) == 1 else 'the flags of each'}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if len(argv) == 1:
        parser.print_help(sys.stderr)
        parser.exit(EXIT_USAGE)
    _, unknown = parser.parse_known_args(argv[1:2])
    names = [command.name for command in family]
    meant = f"; did you mean {names[0]}?" if len(names) == 1 else _near(f"{argv[0]} {unknown[0]}", names)
    if unknown[0].startswith("-"):
        parser.error(f"unknown flag {_name_of(unknown[0])!r}{meant}")
    parser.error(f"unknown command {f'{argv[0]} {unknown[0]}'!r}{meant}")


def _listed(commands: Sequence[Command]) -> str:
    width = max(len(command.name) for command in COMMANDS) + 4
    return "".join(f"\n  {command.name:{width}}{command.summary}" for command in commands)


def _refuse(parser: Parser, command: Command, unknown: Sequence[str]) -> NoReturn:
    flags = [word for word in unknown if word.startswith("-") and word != "-"]
    if not flags:
        shown = "" if command.secret_words else f": {' '.join(unknown)!r}"
        parser.error(f"{'a word' if len(unknown) == 1 else f'{len(unknown)} words'} too many{shown}")
    name = _name_of(flags[0])
    if name in _OF_OTHERS:
        parser.error(f"there is no flag {name!r}: {_OF_OTHERS[name]}")
    parser.error(f"unknown flag {name!r}{_near(name, command.flag_names)}")


def _name_of(word: str) -> str:
    """A flag without its value; a short one's may follow at once."""
    return word.partition("=")[0] if word.startswith("--") else word[:2]


def _near(word: str, known: Sequence[str]) -> str:
    import difflib

    plain = {each.lstrip("-"): each for each in known}
    longer = [each for each in plain if each.startswith(word.lstrip("-"))]
    near = longer if len(longer) == 1 else difflib.get_close_matches(word.lstrip("-"), plain, n=1)
    return f"; did you mean {plain[near[0]]}?" if near else ""

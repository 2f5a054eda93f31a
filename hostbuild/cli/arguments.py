"""The grammar of the command line, made from the table of settings."""

from __future__ import annotations

import argparse
from typing import Any

from hostbuild.settings.table import SETTINGS, Setting, from_texts

_DESCRIPTION = """\
From a source directory to a runnable, reproducible, multi-arch OCI image, on the host:
no daemon, no root, no emulation, no Dockerfile."""

_BUILD_EPILOG = """\
Standard output is one line, NAME@sha256:DIGEST; everything else goes to standard error.
The image is in DIR/.func/builds/last/oci, an OCI image layout. Settings can also stand in
hostbuild.toml, in [tool.hostbuild] of pyproject.toml, or in HOSTBUILD_* variables.
Exit codes: 0 done, 1 failed, 2 wrong usage, 75 try again later, 130 and 143 interrupted."""


def parse(argv: list[str]) -> argparse.Namespace:
    """The parsed command line. Exits with 2 on wrong usage and 0 after --help, as argparse does."""
    return _parser().parse_args(argv)


def help_text() -> str:
    """What --help says."""
    return _parser().format_help()


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags, by name, with their final values."""
    found: dict[str, Any] = {}
    for setting in SETTINGS:
        value = getattr(arguments, setting.name.replace("-", "_"), None)
        if isinstance(value, bool):
            found[setting.name] = value
        elif value is not None:
            found[setting.name] = from_texts(setting, value, f"--{setting.name}")
    return found


def _parser() -> argparse.ArgumentParser:
    from hostbuild.version import VERSION

    parser = argparse.ArgumentParser(
        prog="hostbuild", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"hostbuild {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _build_command(commands)
    _status_command(commands)
    _clean_command(commands)
    return parser


def _build_command(commands: Any) -> None:
    parser = commands.add_parser(
        "build",
        help="build an image from a source directory",
        description="Build an image from the source in DIR.",
        epilog=_BUILD_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("directory", nargs="?", default=".", metavar="DIR", help="the source (default: here)")
    groups = {
        "image": parser.add_argument_group("the image"),
        "build": parser.add_argument_group("the build"),
    }
    for setting in SETTINGS:
        _add(groups[setting.group], setting)
    shown = parser.add_argument_group("what is shown")
    _add_verbosity(shown)
    shown.add_argument(
        "--progress",
        choices=("auto", "plain", "quiet"),
        default=None,
        help="how progress is shown (default: auto)",
    )


def _add(group: Any, setting: Setting) -> None:
    names = [setting.short] if setting.short else []
    names.append(f"--{setting.name}")
    if setting.kind == "switch":
        action = argparse.BooleanOptionalAction if setting.negatable else "store_true"
        group.add_argument(*names, action=action, default=None, help=setting.help)
    else:
        group.add_argument(*names, action="append", metavar=setting.metavar, help=setting.help)


def _add_verbosity(parser: Any) -> None:
    parser.add_argument("-v", "--verbose", action="store_true", help="show the log as it is written")
    parser.add_argument("-q", "--quiet", action="store_true", help="show errors only")


def _directory_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", nargs="?", default=".", metavar="DIR", help="the source (default: here)")
    parser.add_argument(
        "--build-dir", metavar="DIR", default=None, help="where builds are kept (default: DIR/.func)"
    )
    _add_verbosity(parser)


def _status_command(commands: Any) -> None:
    parser = commands.add_parser(
        "status",
        help="show running, complete and stale builds",
        description="Show the builds of the source in DIR: running, complete, and what dead builders left.",
        allow_abbrev=False,
    )
    _directory_arguments(parser)
    parser.add_argument("--json", action="store_true", help="as one JSON document")


def _clean_command(commands: Any) -> None:
    parser = commands.add_parser(
        "clean",
        help="remove what dead builders left, and old builds",
        description="Remove what dead builders of the source in DIR left, and older complete builds. "
        "A running build, and the last complete one, are never touched.",
        allow_abbrev=False,
    )
    _directory_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument(
        "--keep",
        type=int,
        default=5,
        metavar="N",
        help="complete builds to keep (default: 5; the last one, and those used in the last minute, stay)",
    )

"""The words and flags of the commands below `hostbuild cache`."""

from __future__ import annotations

from typing import Any


def _dir(parser: Any) -> None:
    """None of its own."""


def _info(parser: Any) -> None:
    _json(parser)


def _verify(parser: Any) -> None:
    parser.add_argument(
        "--repair", action="store_true", help="drop what is damaged; the next build makes it anew"
    )
    _json(parser)


def _prune(parser: Any) -> None:
    parser.add_argument(
        "--max-used-space", metavar="SIZE", help="remove until the cache has at most SIZE: 10G, 500MB"
    )
    parser.add_argument(
        "--min-free-space", metavar="SIZE", help="remove until SIZE of the cache's disk is free"
    )
    parser.add_argument(
        "--older-than", metavar="AGE", help="remove what was not used for so long: 30d, 12h, 90m"
    )
    parser.add_argument("--all", action="store_true", help="remove all that no running build uses")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    _json(parser)


def _json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="as one JSON document")


_INFO = """\
Tell how many blobs, records and temporary files the cache has, which processes use it, what it may
use, and when it was last pruned."""

_VERIFY = """\
Read every blob of the cache and compare it with its digest. Exit code 1 when one is damaged and was
not dropped with --repair. Safe while builds run."""

_PRUNE = """\
Remove blobs and records of the cache, those first that were not used for longest, until the goals
are met; without flags those of the settings cache-max-used-space and cache-min-free-space. What a
running build uses stays. Safe while builds run."""

#: Name, what --help says shortly and at length, and what adds the flags.
COMMANDS = (
    ("dir", "print where the cache is", "Print the path of the cache directory.", _dir),
    ("info", "tell what is in the cache", _INFO, _info),
    ("verify", "read the whole cache, and tell what is damaged", _VERIFY, _verify),
    ("prune", "remove what was not used for longest", _PRUNE, _prune),
)

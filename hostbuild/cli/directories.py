"""Which directories of hostbuild's own a command means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.errors import SourceError, UsageError
from hostbuild.settings.load import default_cache_dir
from hostbuild.settings.tomlfile import read_settings
from hostbuild.store.builds import BuildDir

if TYPE_CHECKING:
    from argparse import Namespace


class Skipped(NamedTuple):
    """A directory that was not looked into, and why."""

    path: str
    why: str


def build_directories(arguments: Namespace) -> tuple[list[BuildDir], list[Skipped]]:
    """The build directory of DIR, or with --under all below a tree; and what below it cannot be looked into.

    Raises UsageError, SourceError and SettingsError.
    """
    if not arguments.under:
        return [build_directory(arguments)], []
    for given, name in ((arguments.directory, "DIR"), (arguments.build_dir, "--build-dir")):
        if given is not None:
            raise UsageError(f"--under and {name} exclude each other", fix="leave one of them out")
    from hostbuild.store.finding import find_build_directories

    skipped: list[Skipped] = []
    found = find_build_directories(
        _existing(arguments.under), lambda path, why: skipped.append(Skipped(path, why))
    )
    return [BuildDir(places.root) for places in found], skipped


def build_directory(arguments: Namespace) -> BuildDir:
    """The build directory of DIR: --build-dir, HOSTBUILD_BUILD_DIR, the project's setting, else DIR/.func.

    Raises SourceError where DIR is not there, and SettingsError.
    """
    root = _existing(arguments.directory or ".")
    given = (
        arguments.build_dir or os.environ.get("HOSTBUILD_BUILD_DIR") or read_settings(root).get("build-dir")
    )
    # A link that somebody names is meant; one that lies in a source may be a trap, and is not followed.
    return BuildDir(os.path.realpath(given) if given else os.path.join(root, ".func"))


def _existing(directory: str) -> str:
    root = os.path.realpath(directory)
    if not os.path.isdir(root):
        raise SourceError(
            f"there is no directory {directory!r}", fix="name the directory that holds the source"
        )
    return root


def own_places(source: str = "") -> tuple[str, ...]:
    """The cache that the environment names, and the build directory of `source` if there is one: where a
    command that builds nothing must write no answer.
    """
    cache = os.environ.get("HOSTBUILD_CACHE_DIR") or default_cache_dir(os.environ)
    return (cache, os.path.join(source, ".func")) if source else (cache,)


def plain(text: str) -> str:
    """A path or a name as a terminal may get it: one line, without escape codes."""
    return text if text.isprintable() else repr(text)

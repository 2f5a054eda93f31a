"""Which directories of hostbuild's own a command means."""

from __future__ import annotations

import os
from argparse import Namespace

from hostbuild.errors import SourceError
from hostbuild.settings.load import default_cache_dir
from hostbuild.settings.tomlfile import read_settings
from hostbuild.store.builds import BuildDir


def build_directory(arguments: Namespace) -> BuildDir:
    """The build directory of DIR: --build-dir, HOSTBUILD_BUILD_DIR, the project's setting, else DIR/.func.

    Raises SourceError where DIR is not there, and SettingsError.
    """
    root = os.path.realpath(arguments.directory)
    if not os.path.isdir(root):
        raise SourceError(
            f"there is no directory {arguments.directory!r}", fix="name the directory that holds the source"
        )
    given = arguments.build_dir or os.environ.get("HOSTBUILD_BUILD_DIR")
    return BuildDir(given or read_settings(root).get("build-dir") or os.path.join(root, ".func"))


def own_places(source: str = "") -> tuple[str, ...]:
    """The cache that the environment names, and the build directory of `source` if there is one: where a
    command that builds nothing must write no answer.
    """
    cache = os.environ.get("HOSTBUILD_CACHE_DIR") or default_cache_dir(os.environ)
    return (cache, os.path.join(source, ".func")) if source else (cache,)

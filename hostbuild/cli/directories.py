"""Which build directory a command means."""

from __future__ import annotations

import os
from argparse import Namespace

from hostbuild.errors import SourceError
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

"""Compilers that compile nothing, in place of a machine's own: what they were asked for is written down.

A package that can do without machine code is then built without it on every machine, with a compiler or not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

#: What compiles, by the name that it is started by.
_COMMANDS = (
    *("cc", "c89", "c99", "c++", "gcc", "g++", "clang", "clang++", "tcc", "icx", "nvcc"),
    *("gfortran", "f77", "f90", "flang", "rustc", "cargo", "maturin", "zig", "go", "nasm", "yasm"),
)

#: The variables by which a build is told another compiler than that in PATH.
_VARIABLES = {
    "CC": "cc",
    "CXX": "c++",
    "F77": "gfortran",
    "F90": "gfortran",
    "FC": "gfortran",
    "LDSHARED": "cc",
    "CARGO": "cargo",
    "RUSTC": "rustc",
}

#: How files end that are compiled.
_SOURCES = (".c", ".cc", ".cpp", ".cxx", ".c++", ".cu", ".f", ".f90", ".go", ".m", ".mm", ".rs", ".s", ".zig")

_SCRIPT = """#!/bin/sh
{ printf '%s\\t' "${0##*/}" "$@"; echo; } >> "${0%/*}/asked.log"
echo "hostbuild: there is no compiler here: an image's wheels are for every machine" >&2
exit 1
"""


class NoCompilers:
    """Such compilers in an empty directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        for name in _COMMANDS:
            path = os.path.join(directory, name)
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(_SCRIPT)
            os.chmod(path, 0o700)

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The variables by which a build finds these and no others."""
        search = environment.get("PATH", os.defpath)
        found = {name: os.path.join(self._directory, command) for name, command in _VARIABLES.items()}
        return {**found, "PATH": f"{self._directory}{os.pathsep}{search}"}

    def asked(self) -> tuple[str, ...]:
        """What was to be compiled: the source files, each once, else the names of the commands.

        Nothing where they were only asked what they are (`cc --version`).
        """
        try:
            with open(os.path.join(self._directory, "asked.log"), encoding="utf-8", errors="replace") as log:
                lines = [line.rstrip("\n\t").split("\t") for line in log]
        except FileNotFoundError:
            return ()
        words = [word for _, *words in lines for word in words]
        sources = [word for word in words if word.lower().endswith(_SOURCES) and not word.startswith("-")]
        commands = [command for command, *words in lines if not _only_asks(words)]
        # Absolute paths are those of scratch directories: a project's own, or trials of what a compiler can.
        own = [each for each in sources if not os.path.isabs(each)]
        shown = own or [os.path.basename(each) for each in sources]
        return tuple(dict.fromkeys(shown or commands))


def _only_asks(words: list[str]) -> bool:
    return all(word in {"--version", "-V", "-v", "-dumpversion", "-dumpmachine", "version"} for word in words)

"""The commands that a wheel brings: small scripts that call its entry points, and scripts of its own.

Sources: packaging.python.org, "Entry points specification" (use for scripts) and "Binary distribution format"
(recommended installer features: rewrite #!python).
"""

from __future__ import annotations

from hostbuild.wheels.metadata import Command

#: Bytes of a first line that every Linux kernel reads whole (binfmt_script: 127 before 5.1, and the newline).
_MAX_SHEBANG = 127

_MARK = b"#!python"


def shebang(python: str) -> bytes:
    """The first line, or lines, that start a script with the interpreter `python`.

    The kernel splits that line at the first space and cuts it off when it is long; such an interpreter is
    started by the shell, from lines that are a string to Python. Raises ValueError for what cannot be a path.
    """
    if not python.startswith("/") or any(character < " " for character in python):
        raise ValueError(f"not an absolute path of an interpreter: {python!r}")
    line = b"#!" + python.encode("utf-8", "surrogateescape") + b"\n"
    if len(line) <= _MAX_SHEBANG and b" " not in line:
        return line
    if any(character in python for character in "\"'$`\\"):
        raise ValueError(f"the path of the interpreter has characters that the shell reads: {python!r}")
    quoted = python.encode("utf-8", "surrogateescape")
    return b"#!/bin/sh\n'''exec' \"" + quoted + b'" "$0" "$@"\n\' \'\'\'\n'


def command_script(command: Command, python: str) -> bytes:
    """The script that calls a command's entry point and ends with what it returns."""
    first = command.attribute.partition(".")[0]
    text = (
        "import sys\n"
        "\n"
        f"from {command.module} import {first}\n"
        "\n"
        'if __name__ == "__main__":\n'
        f"    sys.exit({command.attribute}())\n"
    )
    return shebang(python) + text.encode()


def wants_interpreter(start: bytes) -> bool:
    """Whether a script, by its first bytes, leaves the interpreter to the installer."""
    return start.startswith(_MARK)


def with_interpreter(script: bytes, python: str) -> bytes:
    """The script with its first line, `#!python` and whatever follows there, replaced."""
    return shebang(python) + script.partition(b"\n")[2]


def replaced_by_command(name: str, commands: frozenset[str]) -> bool:
    """Whether a script of this name is an old build tool's stand-in for one of the commands."""
    for suffix in ("", ".exe", "-script.py", "-script.pyw"):
        if name.endswith(suffix) and name.removesuffix(suffix) in commands:
            return True
    return False

"""Loaded at the start of each Python that has this directory in PYTHONPATH: a disk that fails on demand.

Stands alone (standard library only) and does nothing without FAULTY_DISK in the environment, which holds a
JSON object; tests/rig/faulty_disk.py writes it. hostbuild's workers are isolated from PYTHONPATH, so their
start is wrapped, too. Tools that are no Python (git, go) are left alone.
"""

from __future__ import annotations

import builtins
import fcntl
import io
import json
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

_VARIABLE = "FAULTY_DISK"
_PACKAGE = f"{os.sep}hostbuild{os.sep}"
#: How many of hostbuild's own frames tell one call from another.
_FRAMES = 4
#: What takes two names; the second is where something is made.
_TWO_NAMES = ("rename", "replace", "link", "symlink")
_ONE_NAME = ("mkdir", "unlink", "rmdir", "utime", "chmod", "listdir", "scandir")
_DESCRIPTOR = ("write", "read", "fsync", "fchmod", "ftruncate")
#: What a disk still does that takes no more changes.
_HARMLESS = frozenset({"open", "read", "listdir", "scandir", "flock"})


class _Shim:
    """Wraps the calls; `plan` says below which directories, and which one fails how."""

    def __init__(self, plan: dict[str, Any], write: Callable[[int, bytes], int]) -> None:
        self._below = tuple(os.path.join(each, "") for each in plan["below"])
        self._log = plan["log"]
        self._fault = plan.get("fault") or {}
        self._seen = 0
        self._broken = False
        self._write = write
        self._open = os.open

    def check(self, function: str, path: str) -> None:
        """Note the call, or fail it."""
        if not (path + os.sep).startswith(self._below):
            return
        fault = self._fault
        if not fault:
            self._note({"function": function, "path": path, "site": _site()})
            return
        if self._broken and function not in _HARMLESS:
            raise self._error(path)
        if function != fault["function"] or _site() != fault["site"]:
            return
        self._seen += 1
        if self._seen < fault["nth"] or (self._seen > fault["nth"] and fault["mode"] == "once"):
            return
        self._broken = fault["mode"] == "stays"
        self._note({"function": function, "path": path, "site": fault["site"]})
        raise self._error(path)

    def _error(self, path: str) -> OSError:
        code = self._fault["errno"]
        return OSError(code, os.strerror(code), path)

    def _note(self, what: dict[str, str]) -> None:
        descriptor = self._open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._write(descriptor, json.dumps(what).encode() + b"\n")
        finally:
            os.close(descriptor)

    def wrap(self, module: Any, name: str, path_of: Callable[..., str], function: str = "") -> None:
        """Put a checked call in the place of `module.name`."""
        real = getattr(module, name)

        def checked(*arguments: Any, **named: Any) -> Any:
            self.check(function or name, path_of(*arguments))
            return real(*arguments, **named)

        setattr(module, name, checked)

    def wrap_open(self) -> None:
        """os.open: what makes a file is a function of its own, "create"."""
        real = os.open

        def checked(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            self.check("create" if flags & os.O_CREAT else "open", _path(path))
            return real(path, flags, *arguments, **named)

        os.open = checked

    def wrap_streams(self) -> None:
        """open(): a file that is written goes through os.write then."""
        real = io.open
        shim = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                shim.check("write", _of_descriptor(self.fileno()))
                return super().write(data)

        def checked(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: str | None = None,
            errors: str | None = None,
            newline: str | None = None,
            closefd: bool = True,
            opener: Any = None,
        ) -> Any:
            path = _path(file)
            if not set(mode) & set("wax+") or not (path + os.sep).startswith(shim._below):
                if not isinstance(file, int):
                    shim.check("open", path)
                return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
            if not isinstance(file, int):
                shim.check("create", path)
            raw = Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
            buffered = raw if buffering == 0 else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        builtins.open = checked
        io.open = checked

    def wrap_workers(self) -> None:
        """A worker is an isolated Python that is given its program as a text: this file comes before it."""
        real = os.posix_spawn

        def spawn(path: Any, argv: Any, *arguments: Any, **named: Any) -> int:
            words = list(argv)
            if "-c" in words:
                at = words.index("-c") + 1
                before = f"exec(compile(open({__file__!r}).read(), {__file__!r}, 'exec'))\n"
                words[at] = before + words[at]
            return real(path, words, *arguments, **named)

        os.posix_spawn = spawn


def _path(value: Any) -> str:
    if isinstance(value, int):
        return _of_descriptor(value)
    return os.path.abspath(os.fsdecode(value))


def _of_descriptor(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def _site() -> str:
    """Where in hostbuild the call comes from: its innermost frames there, nearest first."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and len(found) < _FRAMES:
        name = frame.f_code.co_filename
        if _PACKAGE in name and "site-packages" not in name.rpartition(_PACKAGE)[2]:
            module = name.rpartition(_PACKAGE)[2].removesuffix(".py")
            found.append(f"{module}:{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(found)


def _install() -> None:
    plan = json.loads(os.environ[_VARIABLE])
    shim = _Shim(plan, os.write)
    for name in _ONE_NAME:
        shim.wrap(os, name, lambda path=".", *_: _path(path))
    for name in _TWO_NAMES:
        shim.wrap(os, name, lambda _, path, *__: _path(path), "rename" if name == "replace" else "")
    for name in _DESCRIPTOR:
        shim.wrap(os, name, lambda descriptor, *_: _of_descriptor(descriptor))
    shim.wrap(fcntl, "flock", lambda descriptor, *_: _path(descriptor))
    shim.wrap_open()
    shim.wrap_streams()
    shim.wrap_workers()


if _VARIABLE in os.environ:
    _install()

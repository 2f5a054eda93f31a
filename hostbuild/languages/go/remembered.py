"""What Go files and go.mod said the last time, by the digests of their bytes.

Reading one is a pure function of its bytes; compiling what reads the first takes longer than all else in a
build with nothing to do. One record holds all files of a project. What is damaged in it, or of another
version, is read anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from hostbuild.errors import HostbuildError
from hostbuild.languages.go.gofile import Func, GoFile, Import, TypeDecl
from hostbuild.languages.go.gomod import GoMod, Replace, Require

if TYPE_CHECKING:
    from hostbuild.languages.base import Project, Workshop

#: Changes whenever the same bytes would be read otherwise than by the hostbuild before.
_VERSION = 1
_MOST = 2000  # files; a record stays below the limit of the cache's
_KIND = "go files"

_T = TypeVar("_T")


class Remembered:
    """A memory of one project's files; without a workshop it is empty and stays so.

    `digest_file` gives the SHA-256 of a file in hex, as `Project.digest_file` does.
    """

    def __init__(
        self,
        workshop: Workshop | None = None,
        root: str = "",
        digest_file: Callable[[str], str] | None = None,
    ) -> None:
        self._workshop = workshop
        self._inputs = {"root": root, "version": _VERSION}
        self._digest_file = digest_file if workshop is not None else None
        found = workshop.recall(_KIND, self._inputs) if workshop is not None else None
        files = (found or {}).get("files")
        self._before: dict[str, Any] = files if isinstance(files, dict) else {}
        self._now: dict[str, Any] = {}
        self._digests: dict[str, str] = {}

    @classmethod
    def of(cls, project: Project) -> Remembered:
        """The memory of this project."""
        return cls(project.workshop, project.root, project.digest_file)

    def header(self, path: str) -> GoFile | None:
        """What `parse_header` gave for a file with these bytes, or None."""
        return self._recall("header", path, lambda packed: _go_file(path, packed))

    def whole(self, path: str) -> GoFile | None:
        """What `parse_file` gave, or None."""
        return self._recall("whole", path, lambda packed: _go_file(path, packed))

    def constraint(self, path: str) -> str | None:
        """What `find_constraint` gave, or None."""
        return self._recall("constraint", path, _text)

    def gomod(self, path: str) -> GoMod | None:
        """What `parse_gomod` gave, or None."""
        return self._recall("gomod", path, _gomod)

    def learn(self, kind: str, path: str, data: bytes, value: GoFile | GoMod | str) -> None:
        """Remember what was read of `data`, the bytes of `path`, by the method named `kind`."""
        digest = self._digest(path)
        if digest and hashlib.sha256(data).hexdigest() == digest:  # else it was edited meanwhile
            self._now[f"{kind} {digest}"] = _packed(value)

    def save(self) -> None:
        """Keep for the next time what was asked for this time, if there is anything new."""
        if self._workshop is None or self._now.keys() <= self._before.keys() or len(self._now) > _MOST:
            return
        self._workshop.remember(_KIND, self._inputs, lambda: {"files": self._now}, anew=True)

    def _recall(self, kind: str, path: str, unpack: Callable[[Any], _T]) -> _T | None:
        if not self._before:
            return None
        key = f"{kind} {self._digest(path)}"
        packed = self._before.get(key)
        if packed is None:
            return None
        try:
            value = unpack(packed)
        except (LookupError, TypeError, ValueError):
            return None
        self._now[key] = packed
        return value

    def _digest(self, path: str) -> str:
        """Empty where it cannot be known; who reads the file then says why."""
        if self._digest_file is None:
            return ""
        if path not in self._digests:
            try:
                self._digests[path] = self._digest_file(path)
            except (HostbuildError, OSError):
                return ""
        return self._digests[path]


def _packed(value: GoFile | GoMod | str) -> Any:
    return list(value[1:]) if isinstance(value, GoFile) else value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError("not a list")
    return tuple(map(_text, values))


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not a switch")
    return value


def _go_file(path: str, packed: Any) -> GoFile:
    package, imports, constraint, embeds, cgo, functions, types = packed
    return GoFile(
        path,
        _text(package),
        tuple(Import(*_texts(each)) for each in imports),
        _text(constraint),
        _texts(embeds),
        _switch(cgo),
        tuple(map(_function, functions)),
        tuple(map(_type, types)),
    )


def _function(packed: Any) -> Func:
    name, receiver, params, results, generic, line, column = packed
    place = int(line), int(column)
    return Func(_text(name), _text(receiver), _texts(params), _texts(results), _switch(generic), *place)


def _type(packed: Any) -> TypeDecl:
    name, kind, embeds, line = packed
    return TypeDecl(_text(name), kind, _switch(embeds), int(line))


def _gomod(packed: Any) -> GoMod:
    module, go, toolchain, requires, replaces = packed
    return GoMod(
        _text(module),
        _text(go),
        _text(toolchain),
        tuple(
            Require(_text(path), _text(version), _switch(indirect)) for path, version, indirect in requires
        ),
        tuple(Replace(*_texts(each)) for each in replaces),
    )

"""What a directory of Go files is: a program, or a function, and of which signature.

The rules are those of knative func: `package main` is a program; else a function `New` makes an instance
that has a method `Handle`, or a function `Handle` is the handler itself. Only files that belong to the
build of a platform count, so test files, excluded files, comments and methods named `New` do not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from hostbuild.errors import DetectionError, SettingsError, SourceError
from hostbuild.languages.go.constraints import file_matches, find_constraint, tags_for
from hostbuild.languages.go.gofile import Func, GoFile, parse_file, parse_header
from hostbuild.languages.go.modules import read_bytes
from hostbuild.languages.go.remembered import Remembered
from hostbuild.languages.go.signatures import FORMS, Invoke, can_serve, takes_context

if TYPE_CHECKING:
    from hostbuild.oci.platform import Platform


class Signature(NamedTuple):
    """How a function is to be called.

    `instanced`: through `New()`; else through a function `Handle`. `params` and `results` are the type
    texts of Handle as written (empty where it cannot be seen, as New gives an interface or a foreign
    type). `context` tells that Handle takes a context.Context first.
    """

    instanced: bool
    invoke: Invoke
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    context: bool = False

    @property
    def name(self) -> str:
        """As knative func calls it: instanced-http, static-cloudevents, …"""
        kind = "instanced" if self.instanced else "static"
        return f"{kind}-{'http' if self.invoke == 'http' else 'cloudevents'}"


class Detected(NamedTuple):
    """A program, or a function with its signature. `package` is the name in the package clause."""

    kind: Literal["program", "function"]
    package: str
    signature: Signature | None = None


def detect(
    directory: str,
    platforms: Sequence[Platform],
    user_tags: Sequence[str],
    go_minor: int,
    invoke: str = "",
    *,
    memory: Remembered | None = None,
) -> Detected:
    """Tell what the Go package in `directory` is, for all of `platforms` alike.

    `invoke` is func.yaml's hint: "http" (also ""), or "cloudevent". Raises SettingsError for another hint,
    DetectionError where the files allow no answer or differ between platforms, SourceError for a
    file that cannot be read or parsed.
    """
    hint = _invoke(invoke)
    memory = memory or Remembered()
    names = _names(directory)
    files: dict[str, GoFile] = {}
    answers: dict[str, Detected] = {}
    for platform in platforms:
        tags = tags_for(platform, go_minor, user_tags)
        chosen = [
            file for name in names if (file := _read(os.path.join(directory, name), tags, files, memory))
        ]
        if not chosen:
            raise _nothing(directory, names, str(platform))
        answers[str(platform)] = _detect(directory, chosen, hint)
    first, *rest = answers
    for other in rest:
        if answers[other] != answers[first]:
            raise DetectionError(
                f"{directory} is {_describe(answers[first])} for {first}, "
                f"{_describe(answers[other])} for {other}",
                why="build constraints give each platform other files",
                fix="give New or Handle the same form in all of them",
            )
    return answers[first]


def _invoke(invoke: str) -> Invoke:
    if invoke not in ("", "http", "cloudevent"):
        raise SettingsError(
            f"invoke {invoke!r} is not known",
            fix="in func.yaml, set invoke to http or cloudevent, or leave it out",
        )
    return cast("Invoke", invoke or "http")


def _names(directory: str) -> list[str]:
    """The names of all Go files that could belong to a build, sorted."""
    try:
        with os.scandir(directory) as scan:
            names = [entry.name for entry in scan if entry.name.endswith(".go") and entry.is_file()]
    except OSError as error:
        raise SourceError(
            f"cannot read {directory}", why=str(error.strerror), fix="name a directory"
        ) from error
    return sorted(name for name in names if name[0] not in "_." and not name.endswith("_test.go"))


def _read(path: str, tags: frozenset[str], files: dict[str, GoFile], memory: Remembered) -> GoFile | None:
    """The file, or None if it does not belong to a build with these tags; then it is not parsed."""
    file = files.get(path)
    data: bytes | None = None
    constraint = file.constraint if file is not None else memory.constraint(path)
    if constraint is None:
        data = read_bytes(path)
        constraint = find_constraint(data)
        memory.learn("constraint", path, data, constraint)
    if not file_matches(os.path.basename(path), constraint, tags):
        return None
    if file is None:
        file = files[path] = memory.whole(path) or _parse(path, data, memory)
    return None if file.cgo or file.package == "documentation" else file  # as go/build, without cgo


def _parse(path: str, data: bytes | None, memory: Remembered) -> GoFile:
    data = read_bytes(path) if data is None else data
    file = parse_header(data, path)
    if file.package != "main":  # the rest of a program is for the compiler to judge
        file = parse_file(data, path)
    memory.learn("whole", path, data, file)
    return file


def _detect(directory: str, files: list[GoFile], invoke: Invoke) -> Detected:
    package = files[0].package
    for file in files:
        if file.package != package:
            raise DetectionError(
                f"{files[0].name} is in package {package}, {file.name} in package {file.package}",
                why="all Go files of a directory belong to one package",
                fix="move one away, or exclude it with //go:build ignore",
            )
    if package == "main":
        return Detected("program", package)
    return Detected("function", package, _signature(directory, files, invoke))


def _nothing(directory: str, names: list[str], platform: str) -> DetectionError:
    if not names:
        return DetectionError(
            f"no Go files in {directory}", fix="name the directory of the program with --package ./cmd/NAME"
        )
    return DetectionError(
        f"no Go file in {directory} belongs to {platform}",
        why=f'build constraints, or import "C", exclude {", ".join(names)}',
        fix="leave the platform out with --platform, or set the tags with --tags",
    )


def _signature(directory: str, files: list[GoFile], invoke: Invoke) -> Signature:
    news = _functions(files, "New")
    handles = _functions(files, "Handle")
    if news and handles:
        raise DetectionError(
            f"both New ({_where(*news[0])}) and Handle ({_where(*handles[0])}) are functions",
            why="either New makes an instance with a method Handle, or Handle is the handler itself",
            fix="remove or rename one of them",
        )
    if news:
        return _instanced(files, *news[0], invoke)
    if handles:
        file, handle = handles[0]
        if handle.generic:
            raise _wrong(file, handle, invoke, instanced=False, why="it has type parameters")
        return _checked(file, handle, invoke, instanced=False)
    raise _neither(directory, files)


def _functions(files: Iterable[GoFile], name: str) -> list[tuple[GoFile, Func]]:
    return [(file, f) for file in files for f in file.functions if f.name == name and not f.receiver]


def _methods(files: Iterable[GoFile], name: str) -> list[tuple[GoFile, Func]]:
    return [(file, f) for file in files for f in file.functions if f.name == name and f.receiver]


def _neither(directory: str, files: list[GoFile]) -> DetectionError:
    seen = [
        f"method {f.receiver}.{f.name} ({_where(file, f)})"
        for n in ("Handle", "New")
        for file, f in _methods(files, n)
    ]
    found = f"; found {', '.join(seen)}" if seen else ""
    names = ", ".join(os.path.basename(file.name) for file in files)
    return DetectionError(
        f"package {files[0].package} in {directory} has no function New and no function Handle",
        why=f"it is not package main either ({names}){found}",
        fix="add func Handle(w http.ResponseWriter, r *http.Request), "
        "or a New with a method Handle, or make it package main",
    )


def _instanced(files: list[GoFile], file: GoFile, new: Func, invoke: Invoke) -> Signature:
    if new.generic or not (not new.params or new.params[0].startswith("...")) or len(new.results) != 1:
        raise DetectionError(
            f"{_where(file, new)}: {_written(new)} cannot make the function's instance",
            why="it is called without arguments and must give one value",
            fix="write it as func New() *T, with a method Handle of T",
        )
    name = new.results[0].lstrip("*").partition("[")[0]
    methods = [found for found in _methods(files, "Handle") if found[1].receiver == name]
    if methods:
        return _checked(*methods[0], invoke, instanced=True)
    declared = [(found, t) for found in files for t in found.types if t.name == name]
    if declared and declared[0][1].kind == "struct" and not declared[0][1].embeds:
        raise DetectionError(
            f"{_where(file, new)}: New gives {new.results[0]}, which has no method Handle",
            why=f"{name} is declared at {declared[0][0].name}:{declared[0][1].line}, without embedded types",
            fix=f"add the method: func (f *{name}) {FORMS[invoke, True]}",
        )
    return Signature(instanced=True, invoke=invoke)  # an interface, a foreign type, a promoted method


def _checked(file: GoFile, handle: Func, invoke: Invoke, *, instanced: bool) -> Signature:
    if not can_serve(file, handle.params, handle.results, invoke=invoke, instanced=instanced):
        other: Invoke = "cloudevent" if invoke == "http" else "http"
        why = f"invoke is {invoke}, which asks for {FORMS[invoke, instanced]}"
        if can_serve(file, handle.params, handle.results, invoke=other, instanced=instanced):
            raise _wrong(
                file, handle, invoke, instanced=instanced, why=why, fix=f"set invoke: {other} in func.yaml"
            )
        raise _wrong(file, handle, invoke, instanced=instanced, why=why)
    return Signature(instanced, invoke, handle.params, handle.results, takes_context(file, handle.params))


def _wrong(
    file: GoFile, handle: Func, invoke: Invoke, *, instanced: bool, why: str, fix: str = ""
) -> DetectionError:
    return DetectionError(
        f"{_where(file, handle)}: {_written(handle)} cannot be served",
        why=why,
        fix=fix or f"write it as {FORMS[invoke, instanced]}",
    )


def _where(file: GoFile, func: Func) -> str:
    return f"{file.name}:{func.line}"


def _written(func: Func) -> str:
    results = ", ".join(func.results)
    if len(func.results) > 1:
        results = f"({results})"
    return f"{func.name}({', '.join(func.params)}) {results}".rstrip()


def _describe(detected: Detected) -> str:
    return detected.signature.name if detected.signature is not None else "a program"

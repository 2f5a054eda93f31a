"""What a Go project is, and everything that its binaries depend on; no process is started.

The local files come from `packages.load`; modules that come from the module cache are pinned by go.mod and
go.sum, which are among those files; the rest is in the recipe.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

from hostbuild.errors import DetectionError, UsageError
from hostbuild.languages.base import Input, Inspection, Kind, Project, TreePlan
from hostbuild.languages.go import funcgo
from hostbuild.languages.go.detect import Signature, detect
from hostbuild.languages.go.gofile import parse_header
from hostbuild.languages.go.modules import read_bytes
from hostbuild.languages.go.packages import Closure, load
from hostbuild.languages.go.remembered import Remembered
from hostbuild.languages.go.signatures import is_version
from hostbuild.languages.go.toolchain import (
    Toolchain,
    byte_variables,
    check_version,
    find,
    flag_values,
    platform_environment,
    tool_environment,
)
from hostbuild.records import record

#: Goes into the key: changes whenever go would be called otherwise for the same project.
GO_RECIPE_VERSION = 1

KODATA = "/var/run/ko"

_NOT_ZERO = tuple("123456789")

#: Flags whose files would decide the result without being seen.
_REFUSED_FLAGS = ("modfile", "overlay")


@record
class _Request:
    """The project's settings that more than one step asks for."""

    directory: str
    package: str
    ldflags: str
    tags: str
    flags: dict[str, str]
    mod: str
    variables: dict[str, str]

    @property
    def user_tags(self) -> tuple[str, ...]:
        """The tags in effect: those asked for stand in place of those in GOFLAGS."""
        return _tag_list(self.tags or self.flags.get("tags", ""))


def inspect(project: Project) -> Inspection:
    """See `Language.inspect`.

    Raises DetectionError where the source does not tell what to build, UsageError for flags and platforms
    that cannot be, SourceError where the source cannot be read, ToolMissingError and ToolError for the
    toolchain.
    """
    looked_at = time.time_ns()
    environment = tool_environment(project.environment, project.build_env)
    tool = find(environment, cwd=project.root, memo=project.memo, probe=project.probe)
    request = _request(project, tool)
    for platform in project.platforms:
        platform_environment(environment, platform, cwd=request.directory)
    memory = Remembered.of(project)
    signature, closure = _look(project, tool, request, memory)
    memory.save()
    kind: Kind = "program" if signature is None else "function"
    name = executable_name(closure.import_path) if signature is None else "f"
    binary = f"/app/{name}" if signature is None else "/func/f"
    inputs = _inputs(project, closure, request)
    recipe = _recipe(project, tool, closure, request, signature) | {"kind": kind, "binary": binary}
    kodata = os.path.join(request.directory, "kodata")
    has_data = signature is None and os.path.isdir(kodata)
    if signature is None:
        env: tuple[tuple[str, str], ...] = (("KO_DATA_PATH", KODATA),) if has_data else ()
    else:
        env = (("LISTEN_ADDRESS", "[::]:8080"),)
    return Inspection(
        kind=kind,
        name=name,
        language="go",
        summary=_summary(closure, signature, tool),
        inputs=inputs,
        looked_at=looked_at,
        recipe=recipe,
        own=tuple((TreePlan("go", recipe, inputs),) for _ in project.platforms),
        tools={"go": tool.go},
        environment=environment,
        entrypoint=(binary,) if signature is None else (),
        cmd=() if signature is None else (binary,),
        env=env,
        labels=() if signature is None else (("middleware-version", funcgo.VERSION),),
        ships_source=kind == "function",
        trees={KODATA: kodata} if has_data else {},
        warnings=_warnings(closure, request, signature),
        memo=tool.memo,
    )


def executable_name(import_path: str) -> str:
    """What go calls the program: the import path's last element, or the one before a major version."""
    before, _, last = import_path.rpartition("/")
    if before and last != "v1" and last[1:2] in _NOT_ZERO and is_version(last):
        return before.rpartition("/")[2]
    return last


def _request(project: Project, tool: Toolchain) -> _Request:
    variables = byte_variables(tool, project.build_env)
    flags = flag_values(variables.get("GOFLAGS", ""))
    for name in _REFUSED_FLAGS:
        if name in flags:
            raise UsageError(
                f"GOFLAGS has -{name}, which hostbuild does not follow",
                why="a change of the files that it names would not be seen",
                fix=f"take -{name} out of GOFLAGS (go env -u GOFLAGS), or build with GOFLAGS= in front",
            )
    mod = flags.get("mod", "")
    return _Request(
        directory=_package_directory(project.root, project.package),
        package=project.package,
        ldflags=project.options.get("ldflags", ""),
        tags=",".join(_tag_list(project.options.get("tags", ""))),
        flags=flags,
        mod="readonly" if mod == "mod" else mod,
        variables=variables,
    )


def _tag_list(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _package_directory(root: str, package: str) -> str:
    directory = os.path.realpath(os.path.join(root, package))
    if directory != root and not directory.startswith(root.rstrip("/") + "/"):
        raise UsageError(
            f"the package {package!r} is not below {root!r}", fix="name a directory as --package ./cmd/NAME"
        )
    if not os.path.isdir(directory):
        raise DetectionError(f"there is no directory {package!r} in {root!r}", fix=_offer(root, ""))
    return directory


def _look(
    project: Project, tool: Toolchain, request: _Request, memory: Remembered
) -> tuple[Signature | None, Closure]:
    minor = _minor(tool.setting("GOTOOLCHAIN")) or _minor(tool.version)
    try:
        found = detect(
            request.directory, project.platforms, request.user_tags, minor, project.invoke, memory=memory
        )
    except DetectionError as error:
        programs = _programs(project.root) if not request.package and not project.invoke else []
        if not programs:
            raise
        raise DetectionError(
            f"{error.what}, but there are programs: {', '.join(programs)}",
            why=error.why,
            fix=_offer(project.root, error.fix),
        ) from error
    scaffold = funcgo.imports(found.signature.invoke) if found.signature else ()
    closure = _load(project, tool, request, minor, scaffold=scaffold, memory=memory)
    newest = max(_minor(version) for version, _ in _wanted(closure))
    if newest > minor and tool.setting("GOTOOLCHAIN") != "local":
        # The go command will fetch that one.
        closure = _load(project, tool, request, newest, scaffold=scaffold, memory=memory)
    for version, source in _wanted(closure):
        check_version(tool, version, source)
    if found.signature is not None:
        _refuse_workspace_vendor(closure)
    return found.signature, closure


def _load(
    project: Project,
    tool: Toolchain,
    request: _Request,
    minor: int,
    *,
    scaffold: tuple[str, ...],
    memory: Remembered,
) -> Closure:
    return load(
        request.directory,
        platforms=project.platforms,
        user_tags=request.user_tags,
        go_minor=minor,
        gowork=dict(project.build_env).get("GOWORK") or tool.setting("GOWORK"),
        mod_flag=request.mod,
        also_imports=scaffold,
        memory=memory,
    )


def _wanted(closure: Closure) -> list[tuple[str, str]]:
    wanted = [(closure.gomod.go, "go.mod")]
    if closure.gowork is not None:
        wanted.append((closure.gowork.go, "go.work"))
    return wanted


def _minor(version: str) -> int:
    """N of "go1.N" and "1.N", whatever follows; 0 for what is none."""
    major, _, rest = version.removeprefix("go").partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return int(rest[:digits]) if major == "1" and digits else 0


def _refuse_workspace_vendor(closure: Closure) -> None:
    if closure.workspace and closure.vendor:
        raise UsageError(
            "a function cannot be built with the vendor directory of a workspace",
            why=f"the one beside {closure.workspace} does not hold {funcgo.MODULE}, and nothing else counts",
            fix="set GOFLAGS=-mod=readonly to leave it aside, or GOWORK=off to build the module alone",
        )


def _programs(root: str) -> list[str]:
    """The directories with a package main that people use to have: ./NAME and ./cmd/NAME, sorted."""
    found: list[str] = []
    for above in ("", "cmd"):
        folder = os.path.join(root, above)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        for name in names:
            path = os.path.join(folder, name)
            if name[0] not in "._" and name not in {"testdata", "vendor"} and _is_program(path):
                found.append("./" + os.path.join(above, name))
    return sorted(found)


def _is_program(folder: str) -> bool:
    if not os.path.isdir(folder):
        return False
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if (
            name.endswith(".go")
            and not name.endswith("_test.go")
            and name[0] not in "._"
            and os.path.isfile(path)
        ):
            header = parse_header(read_bytes(path), path)
            if not header.constraint:
                return header.package == "main"
    return False


def _offer(root: str, otherwise: str) -> str:
    programs = _programs(root)
    if not programs:
        return otherwise or "name the directory of the program with --package"
    return "build one of them: " + ", ".join(f"--package {program}" for program in programs)


def _inputs(project: Project, closure: Closure, request: _Request) -> tuple[Input, ...]:
    paths = set(closure.files)
    profile = request.flags.get("pgo", "")
    if profile not in {"", "auto", "off", "true"}:
        paths.add(os.path.join(request.directory, profile))
    return tuple(sorted(Input(_label(project.root, path), project.digest_file(path)) for path in paths))


def _label(root: str, path: str) -> str:
    relative = os.path.relpath(path, root)
    return relative.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _recipe(
    project: Project, tool: Toolchain, closure: Closure, request: _Request, signature: Signature | None
) -> dict[str, Any]:
    recipe: dict[str, Any] = {
        "build_env": {name: _secret(name, value) for name, value in project.build_env},
        "import": closure.import_path,
        "ldflags": request.ldflags,
        "middleware version": "",
        "mod": request.mod if request.mod and request.flags.get("mod") != request.mod else "",
        "module": os.path.relpath(closure.module_root, project.root),
        "package": os.path.relpath(closure.directory, project.root),
        "recipe": GO_RECIPE_VERSION,
        "scaffold": None,
        "tags": request.tags,
        "variables": request.variables,
        "vendor": closure.vendor,
        "version": tool.version,
        "workspace": os.path.relpath(closure.workspace, project.root) if closure.workspace else "",
    }
    if signature is not None:
        recipe["middleware version"] = funcgo.VERSION
        recipe["scaffold"] = {
            "import": closure.import_path,
            "instanced": signature.instanced,
            "invoke": signature.invoke,
            "recipe": funcgo.SCAFFOLD_VERSION,
        }
    return recipe


def _secret(name: str, value: str) -> str:
    """A variable's value may be a secret: its hash will do to see a change."""
    return hashlib.sha256(f"{name}={value}".encode("utf-8", "surrogateescape")).hexdigest()


def _summary(closure: Closure, signature: Signature | None, tool: Toolchain) -> str:
    if signature is None:
        return f"Go program {closure.import_path}, {tool.version}"
    return f"Go function {closure.import_path} ({signature.name}), {tool.version}, func-go {funcgo.VERSION}"


def _warnings(closure: Closure, request: _Request, signature: Signature | None) -> tuple[str, ...]:
    found = [
        f"the package {package} needs cgo, which is off: its files with cgo are left out"
        for package in closure.cgo_packages
    ]
    if request.flags.get("mod") == "mod":
        found.append("GOFLAGS has -mod=mod, which would write into the source: -mod=readonly is used")
    if signature is not None and closure.vendor:
        from hostbuild.languages.go import vendored

        found += vendored.unused_warnings(vendored.read_vendored(closure.module_root, signature.invoke))
    return tuple(found)

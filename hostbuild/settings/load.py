"""One `BuildRequest` out of flags, variables and the project's files.

Order (promise): flag, then HOSTBUILD_* (and FUNC_IMAGE, FUNC_REGISTRY), then hostbuild.toml or
[tool.hostbuild], then func.yaml. Lists are replaced by the stronger place; variables and labels are
merged by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hostbuild.errors import SettingsError, UsageError
from hostbuild.model import Access, BuildRequest, Output, Pairs
from hostbuild.settings.funcfile import FunctionFile, Parsed, read_function
from hostbuild.settings.table import (
    ACCESS,
    BY_ANY_NAME,
    BY_NAME,
    BY_OPPOSITE,
    CACHE,
    SETTINGS,
    Setting,
    from_texts,
    variable_of,
)
from hostbuild.settings.tomlfile import read_settings, refuse_outside

#: HOSTBUILD_* variables that are no settings of a build: how progress is shown, and hostbuild's own marks.
_OTHER_VARIABLES = frozenset(
    f"HOSTBUILD_{word}" for word in ("PROGRESS", "UV", "BUILD_ID", "OWNER", "RUN", "BUILDER")
)
#: What no tool is handed: it holds logins.
_SECRET_VARIABLES = frozenset(setting.variable for setting in SETTINGS if setting.secret)


def load_request(
    root: str | os.PathLike[str] = ".",
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    parsed: Callable[[str], Parsed] | None = None,
) -> BuildRequest:
    """The request for the source directory `root`.

    `flags` holds settings by their names in `hostbuild.settings.table` (only those that were given);
    `environ` the environment, which is also what tools are started with, without logins; None takes this
    process's. `parsed` opens, in the cache directory, the memory of what was parsed before. Raises
    SettingsError or UsageError.
    """
    environment = os.environ if environ is None else environ
    directory = os.fspath(root)
    settings = _Settings(dict(flags or {}), _from_variables(environment, SETTINGS), read_settings(directory))
    pick, every = settings.pick, settings.every
    cache_dir = pick("cache-dir") or default_cache_dir(environment)
    memory = None if parsed is None or pick("no-cache", False) else parsed(cache_dir)
    file = read_function(directory, environment, memory) or FunctionFile()
    tools_environment = _without_secrets(environment)
    outputs = _outputs(settings, directory)
    compression, level = _compression(settings)
    name = file.name or _name_of(directory)
    tags = _tags(pick("tag", ()), outputs, file, name, environment)
    _refuse_contradictions(settings, outputs, tags)
    tags = tags or (f"{name}:latest",)
    wait_timeout = pick("wait-timeout")
    access = _access(settings, tools_environment, tags[0])
    _check_files(access)
    return BuildRequest(
        root=directory,
        tags=tags,
        platforms=pick("platform", ()) or BuildRequest.platforms,
        package=pick("package", ""),
        outputs=outputs,
        base=pick("base") or file.base_image,
        pull=pick("pull", BuildRequest.pull),
        lock=pick("lock", False),
        locked=pick("locked", False),
        certificates=pick("certificates"),
        access=access,
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
        split=pick("split", True),
        compression=compression,
        compression_level=level,
        ldflags=pick("ldflags", ""),
        build_tags=pick("tags", ()),
        extras=pick("extra", ()),
        groups=pick("group", ()),
        requirements=pick("requirements", ()),
        compile=pick("compile", False),
        stamp=pick("stamp"),
        created=_source_date_epoch(environment),
        jobs=pick("jobs"),
        no_cache=pick("no-cache", False),
        cache_dir=cache_dir,
        cache_max_used_space=pick("cache-max-used-space"),
        cache_min_free_space=pick("cache-min-free-space"),
        build_dir=pick("build-dir", ""),
        wait=pick("wait", False) or wait_timeout is not None,
        wait_timeout=wait_timeout,
        timeout=pick("timeout") or None,
        environment=tools_environment,
    )


def load_access(
    reference: str | None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    root: str = "",
) -> Access:
    """The access of a command that builds nothing: flags, then variables, then the files of `root`, if any.

    A login without a registry is for that of `reference`; where this is None, HOSTBUILD_CREDS is left alone.
    Raises SettingsError or UsageError.
    """
    environment = os.environ if environ is None else environ
    wanted = [setting for setting in ACCESS if reference is not None or not setting.secret]
    settings = _Settings(
        dict(flags or {}), _from_variables(environment, wanted), read_settings(root) if root else {}
    )
    access = _access(settings, _without_secrets(environment), reference or "")
    _check_files(access, stores=reference is None)
    return access


def load_cache(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    root: str | os.PathLike[str] = ".",
) -> tuple[str, int | None, int | None]:
    """The cache directory, and its budget (`BuildRequest`): flags, then variables, then the files of `root`.

    Raises SettingsError.
    """
    environment = os.environ if environ is None else environ
    settings = _Settings(
        dict(flags or {}), _from_variables(environment, CACHE), read_settings(os.fspath(root))
    )
    directory = settings.pick("cache-dir") or default_cache_dir(environment)
    return directory, settings.pick("cache-max-used-space"), settings.pick("cache-min-free-space")


class _Settings:
    """The places that settings stand in, the strongest first."""

    def __init__(self, *layers: dict[str, Any]) -> None:
        self._layers = layers
        for layer in layers:
            for name, value in layer.items():
                _refuse_odd_text(name, value)

    def pick(self, name: str, default: Any = None) -> Any:
        """The value from the strongest place that has one."""
        return next((layer[name] for layer in self._layers if name in layer), default)

    def every(self, name: str) -> tuple[str, ...]:
        """The values of all places, the strongest last."""
        return tuple(item for layer in reversed(self._layers) for item in layer.get(name, ()))

    def is_from_file(self, name: str) -> bool:
        """Whether the value that `pick` gives stands in the project's file."""
        return not any(name in layer for layer in self._layers[:-1])

    def has_any(self, names: Iterable[str]) -> bool:
        """Whether one of these was given anywhere."""
        return any(name in layer for name in names for layer in self._layers)


def _refuse_odd_text(name: str, value: object) -> None:
    """Texts go into paths and JSON documents: no NUL, and nothing that is not UTF-8."""
    for text in value if isinstance(value, tuple) else (value,):
        if isinstance(text, str) and ("\0" in text or not _is_utf8(text)):
            shown = "its value" if BY_NAME[name].secret else repr(text)
            raise SettingsError(
                f"{name}: {shown} holds a zero byte or is not UTF-8",
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


def _from_variables(environ: Mapping[str, str], settings: Iterable[Setting]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting in settings:
        given = [name for name in setting.names if environ.get(variable_of(name))]
        if setting.opposite and environ.get(variable_of(setting.opposite)):
            given.append(setting.opposite)
        if len(given) > 1:
            first, second = map(variable_of, given[:2])
            raise SettingsError(f"{first} and {second} are both set", fix="they mean the same: unset one")
        if not given:
            continue
        variable = variable_of(given[0])
        text = environ[variable]
        several = setting.kind in {"list", "pairs"}
        texts = [line for line in text.splitlines() if line.strip()] if several else [text]
        value = from_texts(setting, texts, variable)
        found[setting.name] = not value if given[0] == setting.opposite else value
    return found


def unknown_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each HOSTBUILD_* variable that nobody reads, with the name that may have been meant."""
    names = [name for name in environ if name.startswith("HOSTBUILD_")]
    if not names:
        return ()
    known = {variable_of(name) for name in (*BY_ANY_NAME, *BY_OPPOSITE)} | _OTHER_VARIABLES
    return tuple(_unknown(name, known) for name in sorted(names) if name not in known)


def _unknown(name: str, known: Iterable[str]) -> str:
    import difflib

    words = sorted(each.removeprefix("HOSTBUILD_") for each in known)
    near = difflib.get_close_matches(name.removeprefix("HOSTBUILD_"), words, n=1)
    meant = f"did you mean HOSTBUILD_{near[0]}?" if near else "it means nothing to hostbuild"
    return f"the variable {name} is not known: {meant}"


def _without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment that tools and workers get: without logins."""
    return {name: value for name, value in environ.items() if name not in _SECRET_VARIABLES}


def _access(settings: _Settings, environ: Mapping[str, str], reference: str) -> Access:
    if not settings.has_any(setting.name for setting in ACCESS):
        return Access(environ, offline=settings.pick("offline", False))
    from hostbuild.settings.access import make_access

    return make_access(settings.pick, environ, reference)


def _check_files(access: Access, *, stores: bool = False) -> None:
    """Refuse now what would fail when a registry is first asked; who `stores` a login makes its file."""
    if access.ca_file or (access.authfile and not stores):
        from hostbuild.settings.named_files import check_authorities, check_logins

        check_authorities(access.ca_file)
        if not stores:
            check_logins(access.authfile)


def _outputs(settings: _Settings, root: str) -> tuple[Output, ...]:
    texts, push = settings.pick("output", ()), settings.pick("push", False)
    if not texts and not push:
        return ()
    from hostbuild.settings.outputs import plan_outputs

    if not settings.is_from_file("output"):
        return plan_outputs(texts, push=push)
    from hostbuild.settings.outputs import STANDARD_OUTPUT

    outputs = plan_outputs(texts, push=push, root=root)
    for place in (output.destination for output in outputs):
        if place not in ("", STANDARD_OUTPUT) and "\0" not in place:
            refuse_outside(place, root, "output")
    return outputs


def _compression(settings: _Settings) -> tuple[str, int | None]:
    """Name and level. Layers are made once, so what an output asks for holds for the build."""
    name, level = settings.pick("compression"), settings.pick("compression-level")
    if texts := settings.pick("output", ()):
        from hostbuild.settings.outputs import compression_of_all

        name, level = compression_of_all(texts, name, level)
    return name or BuildRequest.compression, level


def _refuse_contradictions(settings: _Settings, outputs: tuple[Output, ...], tags: tuple[str, ...]) -> None:
    """What can be seen to be no request at all. `tags` are those that somebody wrote."""
    if settings.pick("lock", False) and settings.pick("locked", False):
        raise UsageError(
            "--lock and --locked contradict each other",
            why="one writes hostbuild.lock, the other takes it as it is",
            fix="leave one of the two out (--lock=false, --locked=false where a file or a variable says so)",
        )
    pushed = [output for output in outputs if output.push]
    if pushed and settings.pick("offline", False):
        raise UsageError(
            "--offline forbids the network, and the image is to be pushed",
            fix="leave one of the two out, or push later with `hostbuild push`",
        )
    for output in pushed:
        names = tuple(dict.fromkeys(output.names or tags))
        if not names:
            raise UsageError(
                "the image is to be pushed, but it has no name", fix="name it with -t REGISTRY/NAME:TAG"
            )
        if output.by_digest and len(names) > 1:
            raise UsageError(
                f"push-by-digest=true gives the image no tag, but it has {len(names)} names",
                why=", ".join(names),
                fix="give it one name, such as name=REGISTRY/NAME in that --output",
            )
        if output.by_digest and not output.names:
            _refuse_tagged(settings.pick("tag", ()))


def _refuse_tagged(tags: tuple[str, ...]) -> None:
    from hostbuild.settings.outputs import has_tag, without_tag

    for tag in tags:
        if has_tag(tag):
            raise UsageError(
                f"push-by-digest=true gives the image no tag, and --tag {tag} names one",
                fix=f"add name={without_tag(tag)} to that --output, or leave the tag out",
            )


def _tags(
    given: tuple[str, ...],
    outputs: tuple[Output, ...],
    file: FunctionFile,
    name: str,
    environ: Mapping[str, str],
) -> tuple[str, ...]:
    """The names that somebody wrote; () where nobody did."""
    names = given or tuple(dict.fromkeys(name for output in outputs for name in output.names))
    if names:
        return names
    image = environ.get("FUNC_IMAGE") or file.image
    if image:
        return (image,)
    registry = (environ.get("FUNC_REGISTRY") or file.registry).rstrip("/")
    return (f"{registry}/{name}:latest",) if registry else ()


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

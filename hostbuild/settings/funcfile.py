"""func.yaml, knative func's description of a function: the fields that matter to a build.

Fields that belong to deploying are left alone. `{{ env:NAME }}` is resolved here; `{{ secret:… }}` and
`{{ configMap:… }}` are for the cluster and never enter an image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from hostbuild.errors import SettingsError
from hostbuild.model import Pairs
from hostbuild.patterns import late
from hostbuild.settings.files import read_file

FILE_NAME = "func.yaml"

_MAX_DEPTH = 50

#: The fields that are looked at, and those of the sections among them.
_FIELDS = (
    "name",
    "runtime",
    "registry",
    "image",
    "invoke",
    "build",
    "run",
    "envs",
    "buildEnvs",
    "volumes",
)
_SECTIONS = {"build": ("baseImage", "buildEnvs"), "run": ("envs", "volumes")}

_TEMPLATE = late(r"\{\{\s*(.*?)\s*\}\}")
_ENV = late(r"env:\s*([A-Za-z_][A-Za-z0-9_]*)\Z")
_CLUSTER = late(r"(secret|configMap)\b")
_ENV_NAME = late(r"[^=\0\s]+\Z")


class FunctionFile(NamedTuple):
    """What func.yaml says of the build. Texts are "" where it says nothing."""

    name: str = ""
    runtime: str = ""
    registry: str = ""
    image: str = ""
    invoke: str = ""
    base_image: str = ""
    env: Pairs = ()
    build_env: Pairs = ()
    volumes: tuple[str, ...] = ()


class Parsed(Protocol):
    """What files of settings said, by their bytes: a memory for the next run, which need not parse them."""

    def recall(self, data: bytes) -> Mapping[str, Any] | None:
        """What `keep` was given for these bytes, or None."""

    def keep(self, data: bytes, value: dict[str, Any]) -> None:
        """Remember `value` (JSON values only). What cannot be kept is no error."""


def read_function(root: str, environ: Mapping[str, str], parsed: Parsed | None = None) -> FunctionFile | None:
    """func.yaml of `root`, or None where there is none; `parsed` remembers what was read before.

    Raises SettingsError with line and column for what is not YAML, for null names and values, and for
    a template that names a variable that is not set.
    """
    data = read_file(os.path.join(root, FILE_NAME))
    return None if data is None else parse_function(data, environ, parsed)


def parse_function(data: bytes, environ: Mapping[str, str], parsed: Parsed | None = None) -> FunctionFile:
    """The same for the bytes of a func.yaml."""
    document = _remembered(data, parsed) if parsed is not None else _compose(data)
    build = _table(document.get("build"), "build")
    run = _table(document.get("run"), "run")
    return FunctionFile(
        name=_text(document, "name"),
        runtime=_text(document, "runtime"),
        registry=_text(document, "registry").rstrip("/"),
        image=_text(document, "image"),
        invoke=_text(document, "invoke"),
        base_image=_text(build, "baseImage"),
        env=_environment(run.get("envs") or document.get("envs"), "run.envs", environ),
        build_env=_environment(
            build.get("buildEnvs") or document.get("buildEnvs"), "build.buildEnvs", environ
        ),
        volumes=_volumes(run.get("volumes") or document.get("volumes")),
    )


class _Value(NamedTuple):
    """A YAML value and where it stands (line and column count from 1)."""

    value: Any
    line: int
    column: int

    @property
    def where(self) -> str:
        return f"{FILE_NAME}:{self.line}:{self.column}"


def _remembered(data: bytes, parsed: Parsed) -> dict[str, _Value]:
    """What `_compose` gives, of the fields that matter; loading the parser takes longer than the rest."""
    try:
        found = parsed.recall(data)
        if found is not None:
            return {name: _unpacked(value) for name, value in found["fields"].items()}
    except (LookupError, TypeError, ValueError, AttributeError):
        pass  # damaged, or another version's
    document = _compose(data)
    kept = _only(document, _FIELDS)
    for section, fields in _SECTIONS.items():
        value = kept.get(section)
        if value is not None and isinstance(value.value, dict):
            kept[section] = value._replace(value=_only(value.value, fields))
    if not _may_hold_secrets(kept):
        parsed.keep(data, {"fields": {name: _packed(value) for name, value in kept.items()}})
    return document


def _only(table: Mapping[str, _Value], names: Iterable[str]) -> dict[str, _Value]:
    return {name: table[name] for name in names if name in table}


def _may_hold_secrets(document: Mapping[str, _Value]) -> bool:
    """What tools are given, unlike what the image holds, may be secret: it is kept nowhere."""
    build = document.get("build")
    inner = build.value if build is not None and isinstance(build.value, dict) else {}
    return "buildEnvs" in document or "buildEnvs" in inner


def _packed(value: _Value) -> list[Any]:
    inner: Any = value.value
    if isinstance(inner, dict):
        inner = {name: _packed(item) for name, item in inner.items()}
    elif isinstance(inner, list):
        inner = [_packed(item) for item in inner]
    return [inner, value.line, value.column]


def _unpacked(packed: Any) -> _Value:
    """The value that `_packed` made this of. Raises TypeError and ValueError for what it did not make."""
    inner, line, column = packed
    if type(line) is not int or type(column) is not int:
        raise TypeError("a line and a column are numbers")
    if isinstance(inner, dict):
        return _Value({name: _unpacked(item) for name, item in inner.items()}, line, column)
    if isinstance(inner, list):
        return _Value([_unpacked(item) for item in inner], line, column)
    if inner is not None and not isinstance(inner, str):
        raise TypeError("a value is a text")
    return _Value(inner, line, column)


def _compose(data: bytes) -> dict[str, _Value]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _refuse_depth(yaml.parse(data, Loader=loader))
        node = yaml.compose(data, Loader=loader)
        value = _plain(node, yaml) if node is not None else _Value({}, 1, 1)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{FILE_NAME}:{mark.line + 1}:{mark.column + 1}" if mark else FILE_NAME
        raise SettingsError(f"{place}: not valid YAML", why=error.problem or str(error)) from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{FILE_NAME}: not valid YAML", why=str(error)) from None
    return _table(value, "the file")


def _refuse_depth(events: Iterable[Any]) -> None:
    """Deep nesting is refused: libyaml's composer recurses until the process ends, its parser does not."""
    depth = 0
    for event in events:
        name = type(event).__name__
        if name in {"MappingStartEvent", "SequenceStartEvent"}:
            depth += 1
        elif name in {"MappingEndEvent", "SequenceEndEvent"}:
            depth -= 1
        if depth > _MAX_DEPTH:
            mark = event.start_mark
            raise SettingsError(f"{FILE_NAME}:{mark.line + 1}:{mark.column + 1}: nested too deeply")


def _plain(node: Any, yaml: Any) -> _Value:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    if isinstance(node, yaml.MappingNode):
        table: dict[str, _Value] = {}
        for key, item in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if name in table:
                spot = _Value(None, key.start_mark.line + 1, key.start_mark.column + 1)
                raise SettingsError(f"{spot.where}: {name!r} stands twice", fix="remove one of them")
            table[name] = _plain(item, yaml)
        return _Value(table, line, column)
    if isinstance(node, yaml.SequenceNode):
        return _Value([_plain(item, yaml) for item in node.value], line, column)
    if node.tag == "tag:yaml.org,2002:null":
        return _Value(None, line, column)
    return _Value(node.value, line, column)


def _table(value: _Value | None, name: str) -> dict[str, _Value]:
    if value is None or value.value is None:
        return {}
    if not isinstance(value.value, dict):
        raise SettingsError(f"{value.where}: {name} is not a mapping", fix="write it as `key: value` lines")
    return value.value


def _text(table: Mapping[str, _Value], name: str) -> str:
    value = table.get(name)
    if value is None or value.value is None:
        return ""
    if not isinstance(value.value, str):
        raise SettingsError(f"{value.where}: {name} is not a text")
    return value.value


def _items(value: _Value | None, name: str) -> list[_Value]:
    if value is None or value.value is None:
        return []
    if not isinstance(value.value, list):
        raise SettingsError(f"{value.where}: {name} is not a list", fix="start each item with `- `")
    return value.value


def _environment(value: _Value | None, field: str, environ: Mapping[str, str]) -> Pairs:
    found: dict[str, str] = {}
    for item in _items(value, field):
        table = _table(item, f"an item of {field}")
        name, text = table.get("name"), table.get("value")
        if (name is None or name.value is None) and text is not None and isinstance(text.value, str):
            if _is_cluster_only(text.value):
                continue  # all of a secret or config map: the cluster's business
            raise SettingsError(
                f"{(name or text).where}: a value in {field} has no name",
                fix="add `name: NAME`, or remove the item",
            )
        if name is None or not isinstance(name.value, str):
            raise SettingsError(
                f"{(name or item).where}: a name in {field} is null",
                fix="add `name: NAME`, or remove the item",
            )
        if not _ENV_NAME.match(name.value):
            raise SettingsError(f"{name.where}: {name.value!r} is not a variable's name")
        if text is None or not isinstance(text.value, str):
            raise SettingsError(
                f"{(text or name).where}: the value of {name.value} in {field} is null",
                fix='add `value: TEXT`; an empty one is `value: ""`',
            )
        resolved = _resolve(text, field, environ)
        if resolved is not None:
            found[name.value] = resolved
    return tuple(found.items())


def _is_cluster_only(text: str) -> bool:
    return any(_CLUSTER.match(inner) for inner in _TEMPLATE.findall(text))


def _resolve(text: _Value, field: str, environ: Mapping[str, str]) -> str | None:
    if _is_cluster_only(text.value):
        return None

    def replace(match: re.Match[str]) -> str:
        env = _ENV.match(match.group(1))
        if env is None:
            raise SettingsError(
                f"{text.where}: the template {match.group()!r} in {field} is not understood",
                fix="use {{ env:NAME }}, {{ secret:NAME:KEY }} or {{ configMap:NAME:KEY }}",
            )
        if env.group(1) not in environ:
            raise SettingsError(
                f"{text.where}: {match.group()!r} in {field} names a variable that is not set",
                fix=f"set {env.group(1)}, or write the value itself",
            )
        return environ[env.group(1)]

    return _TEMPLATE.sub(replace, str(text.value))


def _volumes(value: _Value | None) -> tuple[str, ...]:
    found: list[str] = []
    for item in _items(value, "run.volumes"):
        table = _table(item, "an item of run.volumes")
        path = table.get("path")
        if path is None or not isinstance(path.value, str):
            raise SettingsError(
                f"{(path or item).where}: a path in run.volumes is null", fix="add `path: /PATH`"
            )
        if not path.value.startswith("/"):
            raise SettingsError(f"{path.where}: the volume path {path.value!r} is not absolute")
        if path.value not in found:
            found.append(path.value)
    return tuple(found)

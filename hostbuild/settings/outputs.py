"""`-o/--output` as docker buildx spells it: `key=value`, comma-separated, quoted as CSV is (RFC 4180)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from hostbuild.descriptors import descriptor_of
from hostbuild.errors import UsageError
from hostbuild.model import Output
from hostbuild.settings.table import BY_NAME, from_texts, parse_switch

STANDARD_OUTPUT = "-"
_STDOUT = 1  # its descriptor: /dev/stdout, as much as "-", takes the place of the result's line

_WRITTEN = ("oci", "docker")
_PUSHED = ("registry", "image")
_KEYS = {
    "oci": ("type", "dest", "tar"),
    "docker": ("type", "dest", "tar"),
    "registry": ("type", "name", "push", "push-by-digest"),
    "image": ("type", "name", "push", "push-by-digest"),
}
#: They are the build's: see `compression_of_all`.
_COMPRESSION = ("compression", "compression-level")
#: Keys of buildx for what hostbuild does anyway, with the values that say so; "" means any.
_GRANTED = {
    "force-compression": "false",
    "name-canonical": "",
    "oci-mediatypes": "true",
    "rewrite-timestamp": "true",
    "unpack": "false",
}
_ELSEWHERE = {
    "local": "files without an image are not made; write type=oci,tar=false,dest=DIR for an image layout",
    "tar": "files without an image are not made; write type=docker,dest=FILE or type=oci,dest=FILE",
    "cacheonly": "leave -o out: the image is kept in the build directory anyway",
}


class _Spec(NamedTuple):
    """An output, what was said of pushing (True, False or nothing), and of compression."""

    text: str
    output: Output
    push: bool | None
    compression: str | None
    level: int | None


def parse_output(text: str, *, root: str = "") -> Output:
    """The output that `text` asks for; a relative `dest` lies below `root`. Raises UsageError."""
    return _parse(text, root).output


def plan_outputs(texts: Iterable[str], *, push: bool, root: str = "") -> tuple[Output, ...]:
    """All outputs of a build: those of `texts`, pushed where they or `--push` say so.

    With `push` and no output that goes to a registry, one is added. Raises UsageError for what cannot be
    understood and for what contradicts.
    """
    specs = [_parse(text, root) for text in texts]
    _refuse_shared_places(specs)
    outputs = []
    for spec in specs:
        pushed = bool(spec.push) or (push and spec.output.kind in _PUSHED)
        if push and spec.push is False:
            raise UsageError(
                f"--push, and --output {spec.text!r} says push=false", fix="leave one of the two out"
            )
        if spec.output.by_digest and not pushed:
            raise UsageError(
                f"--output {spec.text!r}: push-by-digest=true, but nothing is pushed", fix="add push=true"
            )
        outputs.append(spec.output._replace(push=pushed))
    if push and not any(output.push for output in outputs):
        outputs.append(Output("registry", push=True))
    return tuple(outputs)


def compression_of_all(
    texts: Iterable[str], name: str | None, level: int | None
) -> tuple[str | None, int | None]:
    """The build's compression and level: `name` and `level` where they are told, and what the outputs say.

    An image's layers are made once, for all its outputs: raises UsageError where two places disagree.
    """
    places = {"compression": f"--compression {name}", "compression-level": f"--compression-level {level}"}
    for spec in map(_parse, texts):
        for key, value, told in (
            ("compression", spec.compression, name),
            ("compression-level", spec.level, level),
        ):
            if value is None:
                continue
            if told not in {None, value}:
                raise UsageError(
                    f"{places[key]} and --output {spec.text!r} do not agree",
                    why="layers are made once, for all outputs",
                    fix=f"say {key} once, as --{key} {value}",
                )
            places[key] = f"--output {spec.text!r}"
        name, level = spec.compression or name, spec.level or level
    return name, level


def has_tag(name: str) -> bool:
    """Whether a reference, as somebody wrote it, names a tag: then it is not for a push by digest."""
    return without_tag(name) != name.partition("@")[0]


def without_tag(name: str) -> str:
    """A reference as somebody wrote it, without its tag and its digest."""
    path, slash, last = name.partition("@")[0].rpartition("/")
    return path + slash + last.partition(":")[0]


def split_fields(text: str) -> list[str]:
    """The fields of one line of CSV; one in quotes may hold commas, and a quote written twice.

    Raises ValueError for a quote that is not closed, or stands where none may stand.
    """
    fields: list[str] = []
    rest = text
    while True:
        if rest.startswith('"'):
            field, rest = _quoted(rest[1:])
            if rest and not rest.startswith(","):
                raise ValueError("something follows a closing quote")
        else:
            end = rest.find(",")
            field, rest = (rest, "") if end < 0 else (rest[:end], rest[end:])
            if '"' in field:
                raise ValueError("a quote stands in the middle of a field")
        fields.append(field)
        if not rest:
            return fields
        rest = rest[1:]


def _quoted(rest: str) -> tuple[str, str]:
    """The text up to the closing quote, and what follows it."""
    field = ""
    while True:
        part, quote, rest = rest.partition('"')
        if not quote:
            raise ValueError("a quote is not closed")
        field += part
        if not rest.startswith('"'):
            return field, rest
        field += '"'
        rest = rest[1:]


def _parse(text: str, root: str = "") -> _Spec:
    fields = _fields(text)
    kind = fields.get("type", "")
    if kind in _ELSEWHERE:
        raise _refusal(text, f"type={kind} is not an image", _ELSEWHERE[kind])
    if kind not in _KEYS:
        why = f"there is no type {kind!r}" if kind else "it says no type"
        raise _refusal(text, why, "write type=oci, type=docker, type=registry or type=image")
    _refuse_unknown(text, fields, kind)
    switches = {
        key: parse_switch(value, f"--output {text!r}: {key}")
        for key, value in fields.items()
        if key in {"tar", "push", "push-by-digest"}
    }
    compression, level = (
        from_texts(BY_NAME[key], [fields[key]], f"--output {text!r}: {key}") if key in fields else None
        for key in _COMPRESSION
    )
    if kind in _WRITTEN:
        written = _written(text, kind, fields.get("dest", ""), switches.get("tar", True), root)
        return _Spec(text, written, None, compression, level)
    push = switches.get("push")
    if kind == "registry":
        if push is False:
            raise _refusal(text, "type=registry with push=false", "write type=image, or leave it out")
        push = True
    names = tuple(name.strip() for name in fields.get("name", "").split(",") if name.strip())
    by_digest = switches.get("push-by-digest", False)
    tagged = next((name for name in names if by_digest and has_tag(name)), "")
    if tagged:
        raise _refusal(
            text,
            f"push-by-digest=true gives the image no tag, and {tagged!r} names one",
            f"write name={without_tag(tagged)}; `hostbuild index create {tagged} …` gives the tag later",
        )
    return _Spec(
        text, Output(kind, push=bool(push), by_digest=by_digest, names=names), push, compression, level
    )


def _fields(text: str) -> dict[str, str]:
    if text == STANDARD_OUTPUT:
        raise _refusal(
            text, "what should be written is not said", "write type=docker,dest=- or type=oci,dest=-"
        )
    try:
        parts = split_fields(text)
    except ValueError as error:
        raise _refusal(text, str(error), "quote a whole field, and write a quote inside it twice") from None
    if len(parts) == 1 and "=" not in text:
        fix = f"write type=oci,tar=false,dest={text or 'DIR'} for an image layout in that directory"
        raise _refusal(text, "a bare path would be a file tree, not an image", fix)
    found: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if not equals or not key:
            fix = "write it as type=oci,dest=PATH; quote a field that holds a comma"
            raise _refusal(text, f"{part!r} is not key=value", fix)
        if key in found:
            raise _refusal(text, f"{key!r} stands twice", "write it once, and each output with its own -o")
        found[key] = value
    return found


def _refuse_unknown(text: str, fields: dict[str, str], kind: str) -> None:
    for key, value in fields.items():
        if key in _KEYS[kind] or key in _COMPRESSION:
            continue
        if key in _GRANTED:
            wanted = _GRANTED[key]
            if wanted and value.lower() != wanted:
                raise _refusal(text, f"{key}={value} cannot be had", f"it is always {key}={wanted}")
            continue
        if key == "name":
            raise _refusal(text, f"type={kind} takes the image's names from --tag", "write -t NAME")
        if key.startswith("annotation"):
            raise _refusal(text, f"annotations are not written as {key!r}", "use --annotation")
        known = any(key in keys for keys in _KEYS.values())
        why = f"{key!r} does not go with type={kind}" if known else f"unknown key {key!r}"
        raise _refusal(text, why, f"type={kind} takes {', '.join(_KEYS[kind][1:])}")


def _written(text: str, kind: str, destination: str, tar: bool, root: str) -> Output:
    if not destination:
        fix = "add dest=FILE, or dest=- for standard output"
        if kind == "docker":
            fix += " (… | docker load)"
        raise _refusal(text, "it says no destination", fix)
    if not tar and kind == "docker":
        raise _refusal(text, "type=docker is a tar file", "write type=oci,tar=false for a layout directory")
    place = os.path.join(root, destination)
    if destination == STANDARD_OUTPUT or descriptor_of(place) == _STDOUT:
        if not tar:
            raise _refusal(text, "a directory does not go to standard output", "leave tar=false out")
        return Output(kind, STANDARD_OUTPUT, tar=True)
    return Output(kind, place, tar=tar)


def _refuse_shared_places(specs: list[_Spec]) -> None:
    places: dict[str, str] = {}
    for spec in specs:
        place = spec.output.destination
        if not place:
            continue
        key = place if place == STANDARD_OUTPUT else os.path.realpath(place)
        if key in places:
            where = "standard output" if key == STANDARD_OUTPUT else repr(place)
            raise UsageError(
                f"--output {places[key]!r} and --output {spec.text!r} both write to {where}",
                fix="give each its own dest=",
            )
        places[key] = spec.text


def _refusal(text: str, why: str, fix: str) -> UsageError:
    return UsageError(f"--output {text!r} cannot be understood", why=why, fix=fix)

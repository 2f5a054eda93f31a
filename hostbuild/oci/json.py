"""JSON in and out: one canonical form, and strict reading of documents that others wrote."""

from __future__ import annotations

import json
from typing import Any

from hostbuild.errors import InvalidDocumentError, InvalidValueError
from hostbuild.oci.quoting import describe, quote

#: Bytes that a document may have: what registries must take of a manifest (distribution specification).
MAX_DOCUMENT = 4 * 1024 * 1024
#: Objects and arrays in each other. Real documents have five levels; Python's own limit depends on its stack.
MAX_DEPTH = 64

FIX = "the image is damaged or not an image: use another one, or have it built again"


def canonical(value: object) -> bytes:
    """One value, one text: sorted keys, no spaces, UTF-8 (image specification, considerations.md).

    Raises InvalidValueError for text that is not Unicode (bytes that came through the command line), and
    ValueError for NaN and the infinities.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        near = text[max(0, error.start - 20) : error.end + 20]
        raise InvalidValueError(
            f"{quote(near)} is not UTF-8", why="JSON holds Unicode text only", fix="write the value in UTF-8"
        ) from None


def parse_object(data: bytes, what: str, limit: int = MAX_DOCUMENT) -> dict[str, Any]:
    """The JSON object that `data` holds; `what` names the document in errors, `limit` is in bytes.

    Everything in it can be written again by `canonical`. Raises InvalidDocumentError for what is too
    large, too deep, not UTF-8, not JSON, not an object, or says one thing twice.
    """
    if len(data) > limit:
        raise _invalid(f"{what} is too large", f"it has {len(data)} bytes, at most {limit} are read")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            left = dict(found)
            twice = next(name for name, _ in pairs if left.pop(name, found) is found)
            raise _invalid(
                f"{what} has the field {quote(twice)} twice", "readers would differ in what it says"
            )
        return found

    def finite(text: str) -> float:
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise _invalid(f"{what} holds the number {quote(text)}", "no number can be that large")
        return number

    def no_constant(text: str) -> float:
        raise _invalid(f"{what} holds {text}", "JSON has no such number")

    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=unique, parse_float=finite, parse_constant=no_constant
        )
    except UnicodeDecodeError as error:
        raise _invalid(f"{what} is not UTF-8", f"the byte at {error.start} is not") from None
    except json.JSONDecodeError as error:
        raise _invalid(
            f"{what} is not JSON", f"line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except ValueError:  # Python refuses to read integers of thousands of digits
        raise _invalid(
            f"{what} holds a number that is too long", "no number there needs so many digits"
        ) from None
    except RecursionError:
        raise _too_deep(what) from None
    if not isinstance(value, dict):
        raise _invalid(f"{what} is not a JSON object", f"it is {describe(value)}")
    _check_depth(value, what)
    _check_text(value, data, what)
    return value


def _invalid(what: str, why: str) -> InvalidDocumentError:
    return InvalidDocumentError(what, why=why, fix=FIX)


def _too_deep(what: str) -> InvalidDocumentError:
    return _invalid(f"{what} is nested too deeply", f"at most {MAX_DEPTH} levels are read")


def _check_depth(value: object, what: str) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[object] = []
        for each in level:
            if isinstance(each, dict):
                deeper.extend(each.values())
            elif isinstance(each, list):
                deeper.extend(each)
        if not deeper:
            return
        level = deeper
    raise _too_deep(what)


def _check_text(value: object, data: bytes, what: str) -> None:
    r"""Half of a surrogate pair comes from an escape `\udXXX` only, and cannot be written as UTF-8."""
    if b"\\ud" not in data and b"\\uD" not in data:
        return
    try:
        canonical(value)
    except InvalidValueError as error:
        raise _invalid(f"{what} holds text that is not Unicode", error.what) from None

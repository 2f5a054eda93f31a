"""Reading the fields of a JSON object by their types; what nobody asks for is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hostbuild.errors import InvalidDigestError, InvalidDocumentError
from hostbuild.oci.digest import Digest
from hostbuild.oci.json import FIX
from hostbuild.oci.quoting import describe, quote

_T = TypeVar("_T")

#: Names with their values, in the order given; the same type as `hostbuild.model.Pairs`.
Pairs = tuple[tuple[str, str], ...]

#: image-spec's Go types hold sizes as int64.
MAX_INT64 = 2**63 - 1


class Fields:
    """One JSON object, `where` says which in errors ("manifest.layers[2]").

    A field that is null counts as absent, as config.md says and as Go's reader has it. All methods raise
    InvalidDocumentError for a value of another kind.
    """

    __slots__ = ("_asked", "_document", "where")

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, Mapping):
            raise InvalidDocumentError(
                f"{where} is {describe(document)}", why="it must be an object", fix=FIX
            )
        self._document: Mapping[str, Any] = document
        self._asked: set[str] = set()
        self.where = where

    def _get(self, name: str) -> object:
        self._asked.add(name)
        return self._document.get(name)

    def _wrong(self, name: str, value: object, why: str) -> InvalidDocumentError:
        return InvalidDocumentError(f"{self.where}.{name} is {describe(value)}", why=why, fix=FIX)

    def _missing(self, name: str) -> InvalidDocumentError:
        return InvalidDocumentError(
            f"{self.where} has no {quote(name)}", why="the image specification requires it", fix=FIX
        )

    def has(self, name: str) -> bool:
        """Whether the field is there and not null; it still counts as not asked for."""
        return self._document.get(name) is not None

    def text(self, name: str) -> str:
        """A text, "" where absent."""
        value = self._get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(name, value, "it must be a text")
        return value

    def required_text(self, name: str) -> str:
        """A text that must be there and must not be empty."""
        value = self.text(name)
        if not value:
            raise self._missing(name)
        return value

    def flag(self, name: str) -> bool:
        """True or false, false where absent."""
        value = self._get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, value, "it must be true or false")
        return bool(value)

    def integer(self, name: str) -> int:
        """A whole number of 0 to 2^63-1 that must be there."""
        value = self._get(name)
        if value is None:
            raise self._missing(name)
        if isinstance(value, int) and value > MAX_INT64:
            raise self._wrong(name, value, f"it is too large: at most {MAX_INT64} (2^63-1) are possible")
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(name, value, "it must be a whole number that is not negative")
        return value

    def digest(self, name: str) -> Digest:
        """A digest that must be there."""
        return self._as_digest(name, self.required_text(name))

    def digests(self, name: str) -> tuple[Digest, ...]:
        """An array of digests, empty where absent."""
        return tuple(
            self._as_digest(f"{name}[{number}]", text) for number, text in enumerate(self.texts(name) or ())
        )

    def _as_digest(self, name: str, text: str) -> Digest:
        try:
            return Digest.parse(text)
        except InvalidDigestError as error:
            raise InvalidDocumentError(f"{self.where}.{name}: {error.what}", why=error.why, fix=FIX) from None

    def texts(self, name: str) -> tuple[str, ...] | None:
        """An array of texts, None where absent."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise self._wrong(name, value, "it must be an array of texts")
        return tuple(value)

    def text_map(self, name: str) -> dict[str, str]:
        """An object of texts, empty where absent."""
        value = self._get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
            raise self._wrong(name, value, "it must be an object whose values are texts")
        return dict(value)

    def name_set(self, name: str) -> tuple[str, ...]:
        """The names of an object of empty objects (Go's `map[string]struct{}`), sorted."""
        value = self._get(name)
        if value is None:
            return ()
        if not isinstance(value, Mapping) or not all(
            each is None or isinstance(each, Mapping) for each in value.values()
        ):
            raise self._wrong(name, value, "it must be an object whose values are objects")
        return tuple(sorted(value))

    def child(self, name: str, read: Callable[[object, str], _T]) -> _T | None:
        """What `read(value, where)` makes of the field, None where absent."""
        value = self._get(name)
        return None if value is None else read(value, f"{self.where}.{name}")

    def required_child(self, name: str, read: Callable[[object, str], _T]) -> _T:
        """What `read(value, where)` makes of a field that must be there."""
        value = self._get(name)
        if value is None:
            raise self._missing(name)
        return read(value, f"{self.where}.{name}")

    def children(self, name: str, read: Callable[[object, str], _T]) -> tuple[_T, ...]:
        """What `read(value, where)` makes of each element of an array, nothing where absent."""
        value = self._get(name)
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            raise self._wrong(name, value, "it must be an array")
        return tuple(read(each, f"{self.where}.{name}[{number}]") for number, each in enumerate(value))

    def rest(self) -> dict[str, Any]:
        """The fields that were not asked for, as they are."""
        return {name: value for name, value in self._document.items() if name not in self._asked}


def present(**fields: object) -> dict[str, Any]:
    """The fields that say something: no None, no empty text, array or object, no false."""
    return {name: value for name, value in fields.items() if value}

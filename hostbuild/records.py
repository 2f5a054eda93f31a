"""Frozen values, as `dataclasses` makes them, at a tenth of the cost when a module is loaded.

A build with nothing to do is mostly loading: the standard module costs 10 ms by itself (it loads `inspect`)
and 0.7 ms for each class, and there are three dozen. What is not used here is not here: every record is
frozen, and compares and hashes by its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar, overload

if TYPE_CHECKING:
    from typing import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[Any], Any]:
        """The checker's word, without loading what is behind it."""
        return lambda function: function


__all__ = ["Field", "FrozenRecordError", "asdict", "field", "fields", "record", "replace"]

_T = TypeVar("_T")
_Class = TypeVar("_Class", bound=type)

_ABSENT: Any = object()
_FIELDS = "__record_fields__"
_SIGNS = {"__eq__": "==", "__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}


class FrozenRecordError(AttributeError):
    """A field of a record was to be changed."""


class Field(NamedTuple):
    """What is said of one field; `name` is set when the class is made."""

    default: Any = _ABSENT
    default_factory: Callable[[], Any] | None = None
    repr: bool = True
    compare: bool = True
    hash: bool = True
    kw_only: bool = False
    name: str = ""


@overload
def field(
    *, default: _T, repr: bool = ..., compare: bool = ..., hash: bool = ..., kw_only: bool = ...
) -> _T: ...
@overload
def field(
    *,
    default_factory: Callable[[], _T],
    repr: bool = ...,
    compare: bool = ...,
    hash: bool = ...,
    kw_only: bool = ...,
) -> _T: ...
@overload
def field(*, repr: bool = ..., compare: bool = ..., hash: bool = ..., kw_only: bool = ...) -> Any: ...
def field(
    *,
    default: Any = _ABSENT,
    default_factory: Callable[[], Any] | None = None,
    repr: bool = True,
    compare: bool = True,
    hash: bool = True,
    kw_only: bool = False,
) -> Any:
    """More than a default for one field, as in `dataclasses`: whether it is shown, compared, hashed."""
    return Field(default, default_factory, repr, compare, hash and compare, kw_only)


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: _Class, /) -> _Class: ...
@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(*, slots: bool = ..., order: bool = ..., eq: bool = ...) -> Callable[[_Class], _Class]: ...
def record(cls: type | None = None, /, *, slots: bool = False, order: bool = False, eq: bool = True) -> Any:
    """Make a class of annotated fields a frozen value: `__init__`, `__eq__`, `__hash__`, `__repr__`.

    `slots` saves memory where there are many, `order` adds comparisons, `eq` False leaves identity.
    `__post_init__` is called. Fields of base records come first.
    """

    def make(made: type) -> type:
        return _make(made, slots=slots, order=order, eq=eq)

    return make if cls is None else make(cls)


def fields(of: object) -> tuple[Field, ...]:
    """The fields of a record or of its class, in order."""
    found: tuple[Field, ...] = getattr(of, _FIELDS)
    return found


if TYPE_CHECKING:
    from dataclasses import replace  # the checker knows the names and kinds of the fields
else:

    def replace(of: _T, /, **changes: Any) -> _T:
        """A copy with other values for the fields named."""
        for each in fields(of):
            changes.setdefault(each.name, getattr(of, each.name))
        return type(of)(**changes)


def asdict(of: object) -> dict[str, Any]:
    """The fields by name; values stay as they are."""
    return {each.name: getattr(of, each.name) for each in fields(of)}


def _make(cls: type, *, slots: bool, order: bool, eq: bool) -> type:
    by_name: dict[str, Field] = {}
    for base in reversed(cls.__mro__[1:]):
        by_name |= {each.name: each for each in base.__dict__.get(_FIELDS, ())}
    names = [name for name, kind in cls.__annotations__.items() if not str(kind).startswith("ClassVar")]
    for name in names:
        default = cls.__dict__.get(name, _ABSENT)
        by_name[name] = (default if isinstance(default, Field) else Field(default))._replace(name=name)
    found = tuple(by_name.values())
    comparing = ("__lt__", "__le__", "__gt__", "__ge__") if order else ()
    written = ("__init__", "__repr__", *(("__eq__", "__hash__", *comparing) if eq else ()))
    own = {name for name in ("__repr__", "__eq__", "__hash__") if cls.__dict__.get(name) is not None}
    late = _Late(found, slots=slots, is_checked=hasattr(cls, "__post_init__"))
    added: dict[str, Any] = {name: late.method(name) for name in written if name not in own}
    added |= {"__setattr__": _refuse, "__delattr__": _refuse}
    if slots:
        added |= {"__getstate__": _state, "__setstate__": _set_state}
    added[_FIELDS] = found
    added["__match_args__"] = tuple(by_name)
    if slots:
        inherited = {slot for base in cls.__mro__[1:-1] for slot in base.__dict__.get("__slots__", ())}
        gone = {*names, "__dict__", "__weakref__"}
        body = {name: value for name, value in cls.__dict__.items() if name not in gone}
        body |= added
        body["__slots__"] = tuple(name for name in names if name not in inherited)
        made = type(cls)(cls.__name__, cls.__bases__, body)
        made.__qualname__ = cls.__qualname__
        late.owner = made
        return made
    for each in found:
        if isinstance(cls.__dict__.get(each.name), Field):
            delattr(cls, each.name)  # a default stands in __init__; nothing else asks the class
    for name, value in added.items():
        setattr(cls, name, value)
    late.owner = cls
    return cls


class _Late:
    """The methods of one record, each compiled when it is first called: compiling is what costs."""

    __slots__ = ("found", "is_checked", "owner", "slots")

    def __init__(self, found: tuple[Field, ...], *, slots: bool, is_checked: bool) -> None:
        self.found = found
        self.slots = slots
        self.is_checked = is_checked
        self.owner: type = object

    def method(self, name: str) -> Callable[..., Any]:
        """What stands for the method `name`, and puts it in its own place."""

        def first(of: object, /, *arguments: Any, **named: Any) -> Any:
            lines, words = self._text(name)
            space: dict[str, Any] = {}
            exec("\n".join(lines), words, space)  # the text is made of the class's own field names
            setattr(self.owner, name, space[name])
            return space[name](of, *arguments, **named)

        return first

    def _text(self, name: str) -> tuple[list[str], dict[str, Any]]:
        if name == "__init__":
            return self._init()
        if name == "__repr__":
            shown = ", ".join(f"{each.name}={{self.{each.name}!r}}" for each in self.found if each.repr)
            return ["def __repr__(self):", f' return f"{{type(self).__qualname__}}({shown})"'], {}
        if name == "__hash__":
            hashed = _tuple_of(each.name for each in self.found if each.hash)
            return ["def __hash__(self):", f" return hash({hashed.format('self')})"], {}
        return _comparison(
            name, _SIGNS[name], _tuple_of(each.name for each in self.found if each.compare)
        ), {}

    def _init(self) -> tuple[list[str], dict[str, Any]]:
        words: dict[str, Any] = {"_set": object.__setattr__, "_absent": _ABSENT}
        arguments: list[str] = []
        by_word: list[str] = []
        body: list[str] = [] if self.slots else [" _fields = self.__dict__"]
        for each in self.found:
            name, value = each.name, each.name
            argument = name
            if each.default_factory is not None:
                words[f"_f_{name}"] = each.default_factory
                argument = f"{name}=_absent"
                value = f"_f_{name}() if {name} is _absent else {name}"
            elif each.default is not _ABSENT:
                words[f"_d_{name}"] = each.default
                argument = f"{name}=_d_{name}"
            (by_word if each.kw_only else arguments).append(argument)
            body.append(f" _set(self, {name!r}, {value})" if self.slots else f" _fields[{name!r}] = {value}")
        if by_word:
            arguments += ["*", *by_word]
        if self.is_checked:
            body.append(" self.__post_init__()")
        return [f"def __init__({', '.join(['self', *arguments])}):", *(body or [" pass"])], words


def _tuple_of(names: Iterable[str]) -> str:
    return "(" + "".join(f"{{0}}.{name}," for name in names) + ")"


def _comparison(name: str, sign: str, compared: str) -> list[str]:
    return [
        f"def {name}(self, other):",
        " if other.__class__ is not self.__class__: return NotImplemented",
        f" return {compared.format('self')} {sign} {compared.format('other')}",
    ]


def _refuse(self: object, name: str, *_: object) -> NoReturn:
    raise FrozenRecordError(f"{type(self).__qualname__} is frozen: {name} cannot be changed")


def _state(self: object) -> list[Any]:
    return [getattr(self, each.name) for each in fields(self)]


def _set_state(self: object, state: list[Any]) -> None:
    for each, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)

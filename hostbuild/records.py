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


_T = TypeVar("_T")
_Class = TypeVar("_Class", bound=type)

_ABSENT: Any = object()
_FIELDS = "__record_fields__"


class FrozenRecordError(AttributeError):
    """A field of a record was to be changed."""


class Field(NamedTuple):
    """What is said of one field; `name` is set when the class is made."""

    default: Any = _ABSENT
    default_factory: Callable[[], Any] | None = None
    repr: bool = True
    compare: bool = True
    hash: bool = True
    name: str = ""


@overload
def field(*, default: _T, repr: bool = ..., compare: bool = ..., hash: bool = ...) -> _T: ...
@overload
def field(
    *, default_factory: Callable[[], _T], repr: bool = ..., compare: bool = ..., hash: bool = ...
) -> _T: ...
@overload
def field(*, repr: bool = ..., compare: bool = ..., hash: bool = ...) -> Any: ...
def field(
    *,
    default: Any = _ABSENT,
    default_factory: Callable[[], Any] | None = None,
    repr: bool = True,
    compare: bool = True,
    hash: bool = True,
) -> Any:
    """More than a default for one field, as in `dataclasses`: whether it is shown, compared, hashed."""
    return Field(default, default_factory, repr, compare, hash and compare)


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
    added: dict[str, Any] = _methods(cls, found, slots=slots, order=order, eq=eq)
    added[_FIELDS] = found
    added["__match_args__"] = tuple(by_name)
    for name in ("__repr__", "__eq__", "__hash__"):
        if cls.__dict__.get(name) is not None:
            added.pop(name, None)  # the class has its own
    if slots:
        inherited = {slot for base in cls.__mro__[1:-1] for slot in base.__dict__.get("__slots__", ())}
        gone = {*names, "__dict__", "__weakref__"}
        body = {name: value for name, value in cls.__dict__.items() if name not in gone}
        body |= added
        body["__slots__"] = tuple(name for name in names if name not in inherited)
        made = type(cls)(cls.__name__, cls.__bases__, body)
        made.__qualname__ = cls.__qualname__
        return made
    for each in found:
        if isinstance(cls.__dict__.get(each.name), Field):
            delattr(cls, each.name)  # a default stands in __init__; nothing else asks the class
    for name, value in added.items():
        setattr(cls, name, value)
    return cls


def _methods(cls: type, found: tuple[Field, ...], *, slots: bool, order: bool, eq: bool) -> dict[str, Any]:
    """The methods, compiled together: compiling is what costs."""
    words: dict[str, Any] = {"_set": object.__setattr__}
    arguments, body = [], []
    for each in found:
        name, value = each.name, each.name
        if each.default_factory is not None:
            words[f"_f_{name}"] = each.default_factory
            arguments.append(f"{name}=_absent")
            value = f"_f_{name}() if {name} is _absent else {name}"
        elif each.default is not _ABSENT:
            words[f"_d_{name}"] = each.default
            arguments.append(f"{name}=_d_{name}")
        else:
            arguments.append(name)
        body.append(f" _set(self, {name!r}, {value})" if slots else f" _fields[{name!r}] = {value}")
    words["_absent"] = _ABSENT
    if not slots:
        body.insert(0, " _fields = self.__dict__")
    if hasattr(cls, "__post_init__"):
        body.append(" self.__post_init__()")
    shown = ", ".join(f"{each.name}={{self.{each.name}!r}}" for each in found if each.repr)
    lines = [
        f"def __init__(self, {', '.join(arguments)}):",
        *(body or [" pass"]),
        "def __repr__(self):",
        f' return f"{{type(self).__qualname__}}({shown})"',
    ]
    if eq:
        compared = _tuple_of(each.name for each in found if each.compare)
        hashed = _tuple_of(each.name for each in found if each.hash)
        lines += _comparison("__eq__", "==", compared)
        lines += ["def __hash__(self):", f" return hash({hashed.format('self')})"]
        if order:
            for name, sign in (("__lt__", "<"), ("__le__", "<="), ("__gt__", ">"), ("__ge__", ">=")):
                lines += _comparison(name, sign, compared)
    space: dict[str, Any] = {}
    exec("\n".join(lines), words, space)  # the text is made of the class's own field names
    space["__setattr__"] = _refuse
    space["__delattr__"] = _refuse
    if slots:
        space["__getstate__"] = _state
        space["__setstate__"] = _set_state
    return space


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

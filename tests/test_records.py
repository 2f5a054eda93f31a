"""Records beside the standard library's frozen dataclasses: the same values, the same words."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from hostbuild.records import FrozenRecordError, asdict, field, fields, record, replace


@record
class Plain:
    """Of each kind of field one."""

    a: int
    b: str = "x"
    c: Mapping[str, int] = field(default_factory=dict, hash=False, repr=False)
    d: str = field(default="", compare=False)
    kind: ClassVar[str] = "plain"

    @property
    def twice(self) -> int:
        return 2 * self.a


@dataclasses.dataclass(frozen=True)
class Twin:
    a: int
    b: str = "x"
    c: Mapping[str, int] = dataclasses.field(default_factory=dict, hash=False, repr=False)
    d: str = dataclasses.field(default="", compare=False)
    kind: ClassVar[str] = "plain"


@record(slots=True, order=True)
class Slotted:
    x: int
    y: str = field(default="q", compare=False)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("negative")

    def __str__(self) -> str:
        return f"<{self.x}>"


@record
class Further(Plain):
    z: int = 3


@record(eq=False)
class Same:
    a: int


@record
class Own:
    a: int

    def __repr__(self) -> str:
        return "own"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own)

    def __hash__(self) -> int:
        return 7


@record
class Worded(Plain):
    e: int = field(kw_only=True)


ARGUMENTS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}),
    ((1, "y"), {}),
    ((2,), {"b": "y", "c": {"k": 1}}),
    ((1,), {"d": "other"}),
    ((1, "x", {}, ""), {}),
]


@pytest.mark.parametrize(("one", "more"), ARGUMENTS)
@pytest.mark.parametrize(("two", "others"), ARGUMENTS)
def test_they_compare_as_dataclasses_do(
    one: tuple[Any, ...], more: dict[str, Any], two: tuple[Any, ...], others: dict[str, Any]
) -> None:
    record_, twin = Plain(*one, **more), Twin(*one, **more)
    assert (record_ == Plain(*two, **others)) == (twin == Twin(*two, **others))
    assert repr(record_) == repr(twin).replace("Twin", "Plain")
    assert hash(record_) == hash(twin)
    assert record_.__eq__(twin) is NotImplemented
    assert asdict(record_) == dataclasses.asdict(twin)


@pytest.mark.parametrize("arguments", [((), {}), ((1, 2, 3, 4, 5), {}), ((1,), {"a": 2}), ((1,), {"q": 2})])
def test_wrong_arguments_are_refused(arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    for kind in (Plain, Twin):
        with pytest.raises(TypeError):
            kind(*arguments[0], **arguments[1])


def test_a_default_factory_makes_one_each() -> None:
    assert Plain(1).c == {}
    assert Plain(1).c is not Plain(1).c
    assert not hasattr(Plain, "c")


@pytest.mark.parametrize("value", [Plain(1), Slotted(1), Further(1), Same(1)])
def test_nothing_can_be_changed(value: Any) -> None:
    name = fields(value)[0].name
    with pytest.raises(FrozenRecordError, match=f"frozen: {name}"):
        setattr(value, name, 2)
    with pytest.raises(FrozenRecordError):
        delattr(value, name)
    with pytest.raises(AttributeError):
        value.other = 1
    assert getattr(value, name) == 1


@pytest.mark.parametrize("value", [Plain(1, c={"k": 2}), Slotted(1, "z"), Further(1, z=9), Own(1)])
def test_they_survive_pickling_and_copying(value: Any) -> None:
    for other in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert type(other) is type(value)
        assert asdict(other) == asdict(value)


def test_order_and_slots() -> None:
    assert sorted([Slotted(2), Slotted(1, "z")]) == [Slotted(1), Slotted(2)]
    assert Slotted(1) <= Slotted(1, "z") < Slotted(2)
    assert not hasattr(Slotted(1), "__dict__")
    assert str(Slotted(3)) == "<3>"
    unordered: Any = Plain(1)
    with pytest.raises(TypeError):
        assert unordered < Plain(2)


def test_post_init_has_its_say() -> None:
    with pytest.raises(ValueError, match="negative"):
        Slotted(-1)
    with pytest.raises(ValueError, match="negative"):
        replace(Slotted(1), x=-1)


def test_replace_and_inherit() -> None:
    value = Further(1, z=5)
    assert replace(value, a=2) == Further(2, z=5)
    assert value.twice == 2
    assert [each.name for each in fields(Further)] == ["a", "b", "c", "d", "z"]
    assert Further(1) != Plain(1)
    unknown: dict[str, Any] = {"q": 1}
    with pytest.raises(TypeError):
        replace(value, **unknown)


def test_a_field_may_be_given_by_name_only_and_follow_defaults() -> None:
    value = Worded(1, e=4)
    assert (value.e, replace(value, a=2).e) == (4, 4)
    assert [each.name for each in fields(value)] == ["a", "b", "c", "d", "e"]
    made: Any = Worded
    wrong: list[tuple[Any, ...]] = [(1,), (1, "x", {}, "", 4)]
    for arguments in wrong:
        with pytest.raises(TypeError):
            made(*arguments)


def test_methods_are_compiled_once_and_for_the_class_that_has_them() -> None:
    @record(slots=True, order=True)
    class Late:
        a: int

    class Below(Late):
        __slots__ = ()

    stub = Late.__init__
    assert (Below(1) == Below(1), Below(1) < Below(2), hash(Below(1))) == (True, True, hash((1,)))
    assert repr(Below(1)).endswith("Below(a=1)")
    assert Late.__init__ is not stub
    assert "__init__" not in Below.__dict__
    made = Late.__init__
    Late(2)
    assert Late.__init__ is made


def test_what_a_class_says_itself_stays() -> None:
    assert (repr(Own(1)), Own(1) == Own(2), hash(Own(1))) == ("own", True, 7)
    assert Same(1) != Same(1)
    match Plain(4):
        case Plain(4, word):
            assert word == "x"

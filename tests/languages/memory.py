"""Each look at a Go project with and without a memory of what its files said: all must say the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from hostbuild.errors import HostbuildError
from hostbuild.languages.base import Workshop
from hostbuild.languages.go.remembered import Remembered
from tests.languages.go_project import sha256

_T = TypeVar("_T")


class Kept:
    """The part of a workshop that remembers; values go through JSON, as in the cache."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.saved = 0

    def recall(self, kind: str, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        found: dict[str, Any] | None = json.loads(self.kept.get(json.dumps([kind, inputs]), "null"))
        return found

    def remember(
        self, kind: str, inputs: Mapping[str, Any], make: Callable[[], dict[str, Any]], *, anew: bool = False
    ) -> dict[str, Any]:
        assert anew
        self.saved += 1
        value = {**make(), "layers": []}
        self.kept[json.dumps([kind, inputs])] = json.dumps(value)
        return value


def memory(kept: Kept, root: Path) -> Remembered:
    return Remembered(cast("Workshop", kept), str(root), sha256)


def three_times(root: Path, look: Callable[[Remembered | None], _T]) -> _T:
    """What `look` gives, or raises, without a memory, with an empty one, and with the one that this left."""
    kept = Kept()
    expected = _outcome(look, None)
    for number in range(3):
        remembered = memory(kept, root)
        assert _outcome(look, remembered) == expected, number
        remembered.save()
    assert kept.saved <= 1
    return look(None)


def _outcome(look: Callable[[Remembered | None], _T], remembered: Remembered | None) -> object:
    try:
        return look(remembered)
    except HostbuildError as error:
        return (type(error), error.what, error.why, error.fix)

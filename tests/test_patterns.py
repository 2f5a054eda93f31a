"""Patterns that are compiled at their first use: each of the package is a good one, and works as re's do."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import hostbuild
from hostbuild.patterns import late

HERE = Path(hostbuild.__file__).parent
USERS = sorted(path for path in HERE.rglob("*.py") if "= late(" in path.read_text(encoding="utf-8"))


def test_it_works_as_a_pattern_does(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    real = re.compile

    def counted(text: str, flags: int = 0) -> re.Pattern[str]:
        compiled.append(text)
        return real(text, flags)

    monkeypatch.setattr(re, "compile", counted)
    pattern = late("(a+)b", re.IGNORECASE)
    assert compiled == []
    found = pattern.match("AAb")
    assert found is not None
    assert found[1] == "AA"
    assert pattern.match("b") is None
    assert compiled == ["(a+)b"]
    assert (pattern.sub("x", "aab"), pattern.pattern, pattern.findall("ab ab")) == ("x", "(a+)b", ["a", "a"])
    assert late(b"x").fullmatch(b"x") is not None


@pytest.mark.parametrize("path", USERS, ids=lambda path: path.stem)
def test_each_pattern_of_the_package_compiles(path: Path) -> None:
    parts = path.relative_to(HERE.parent).with_suffix("").parts
    module = importlib.import_module(".".join(parts))
    patterns = [value for value in vars(module).values() if type(value).__name__ == "_Late"]
    assert patterns != []
    for pattern in patterns:
        assert pattern.search("" if isinstance(pattern.pattern, str) else b"") is not pattern

from __future__ import annotations

import ast
import re
from pathlib import Path

import hostbuild
from hostbuild import points

HERE = Path(__file__).parent


def reached() -> list[str]:
    names = []
    for path in Path(hostbuild.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), f"{path}: a point's name is a literal"
                names.append(str(argument.value))
    return names


def test_each_point_is_described_and_reached_at_one_place() -> None:
    assert sorted(reached()) == sorted(points.POINTS)


def test_each_point_has_a_test() -> None:
    tests = "\n".join(
        path.read_text() for path in HERE.rglob("test_*.py") if path.name != Path(__file__).name
    )
    missing = [name for name in points.POINTS if not re.search(rf'"{name}"', tests)]
    assert missing == []


def test_a_hook_hears_names_until_it_is_taken_away() -> None:
    heard: list[str] = []
    points.set_hook(heard.append)
    points.reach("build-locked")
    points.set_hook(None)
    points.reach("build-locked")
    assert heard == ["build-locked"]

"""Which language a directory or func.yaml's word gets."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from hostbuild import languages
from hostbuild.errors import DetectionError, RuntimeNotImplementedError, RuntimeNotRecognisedError


def test_a_language_is_supported_by_its_word_alone() -> None:
    assert languages.get("go").name == "go"
    assert languages.get("python").name == "python"
    assert languages.supported() == ("go", "python")
    assert languages.is_supported("python")
    assert not languages.is_supported("golang")


@pytest.mark.parametrize("runtime", ["node", "quarkus", "rust", "springboot", "typescript"])
def test_a_runtime_of_func_that_is_not_built_is_not_implemented(runtime: str) -> None:
    with pytest.raises(RuntimeNotImplementedError, match=runtime):
        languages.get(runtime)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("golang", "'go'"), ("Go", "'go'"), ("nodejs", "'node'"), ("typscript", "'typescript'")],
)
def test_an_unknown_runtime_is_not_recognised_and_a_near_one_is_offered(word: str, meant: str) -> None:
    with pytest.raises(RuntimeNotRecognisedError, match=word) as caught:
        languages.get(word)
    assert meant in caught.value.fix


def test_a_go_file_or_a_go_mod_above_makes_it_go(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("package main\n")
    assert languages.pick(str(tmp_path)).name == "go"
    below = tmp_path / "module" / "deploy"
    below.mkdir(parents=True)
    (tmp_path / "module" / "go.mod").write_text("module m\n")
    assert languages.pick(str(below)).name == "go"


def test_what_lies_in_the_directory_says_more_than_what_lies_above(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module m\n")
    tool = tmp_path / "tool"
    tool.mkdir()
    (tool / "pyproject.toml").write_text("")
    assert languages.pick(str(tool)).name == "python"
    (tool / "main.go").write_text("package main\n")
    assert languages.pick(str(tool)).name == "go"


def test_an_empty_directory_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / ".func").mkdir()
    with pytest.raises(DetectionError, match="is empty"):
        languages.pick(str(tmp_path))


def test_what_was_looked_for_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DetectionError, match="no language") as caught:
        languages.pick(str(tmp_path))
    assert "go.mod" in caught.value.why


def test_another_languages_project_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}")
    with pytest.raises(RuntimeNotImplementedError, match="node"):
        languages.pick(str(tmp_path))


class _Zig:
    name = "zig"
    runtimes = ("zig",)

    def claims(self, root: str) -> bool:
        return (Path(root) / "build.zig").exists()

    def claims_from_above(self, root: str) -> bool:
        return False


class _Point:
    name = "zig"

    def load(self) -> _Zig:
        return _Zig()


def test_a_package_brings_a_language_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def entry_points(*, group: str) -> list[_Point]:
        asked.append(group)
        return [_Point()]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    assert languages.get("go").name == "go"
    assert asked == [], "a built-in language is found without reading entry points"
    assert languages.get("zig").name == "zig"
    (tmp_path / "build.zig").write_text("")
    assert languages.pick(str(tmp_path)).name == "zig"
    assert asked == ["hostbuild.languages"] * 2

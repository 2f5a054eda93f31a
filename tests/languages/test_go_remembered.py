"""What Go files said the last time: by their bytes, one record a project, and never the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hostbuild.languages.go import detect, modules, packages
from hostbuild.languages.go.packages import Closure, load
from hostbuild.languages.go.remembered import Remembered
from hostbuild.oci.platform import Platform
from tests.languages.go_project import PLAIN, sha256, write
from tests.languages.memory import Kept, memory

FILES = {
    "go.mod": 'module example.com/f\ngo 1.21\nrequire example.com/x v1.2.3 // indirect\nreplace a => "./b"\n',
    "handle.go": PLAIN,
    "inner/inner.go": "//go:build linux || darwin\n\npackage inner\n",
    "more.go": 'package function\n\nimport _ "example.com/f/inner"\n\ntype T struct{ *U }\n',
}
READERS = [
    (detect, "parse_file"),
    (detect, "find_constraint"),
    (modules, "parse_gomod"),
    (packages, "parse_header"),
]


def look(root: Path, remembered: Remembered) -> tuple[object, Closure]:
    targets = [Platform.parse("linux/amd64"), Platform.parse("linux/arm64")]
    found = detect.detect(str(root), targets, (), 26, memory=remembered)
    return found, load(str(root), platforms=targets, go_minor=26, memory=remembered)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "src", FILES)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was parsed: the names of the functions."""
    calls: list[str] = []

    def noted(name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            calls.append(name)
            return function(*arguments)

        return call

    for module, name in READERS:
        monkeypatch.setattr(module, name, noted(name, getattr(module, name)))
    return calls


def test_nothing_is_parsed_twice_and_an_edit_parses_its_file_only(root: Path, read: list[str]) -> None:
    kept = Kept()
    first = memory(kept, root)
    expected = look(root, first)
    first.save()
    assert sorted(set(read)) == sorted(name for _, name in READERS)
    read.clear()
    again = memory(kept, root)
    assert look(root, again) == expected
    again.save()
    assert (read, kept.saved) == ([], 1)
    (root / "more.go").write_text("package function\n")
    edited = memory(kept, root)
    assert look(root, edited) != expected
    edited.save()
    assert sorted(read) == ["find_constraint", "parse_file", "parse_header"]
    assert kept.saved == 2
    assert FILES["more.go"] not in str(kept.kept)


def test_a_file_that_is_edited_while_it_is_read_is_not_learned(root: Path) -> None:
    kept = Kept()
    remembered = memory(kept, root)
    path = str(root / "more.go")
    assert remembered.header(path) is None
    remembered.learn("constraint", path, b"other bytes", "linux")
    remembered.save()
    assert kept.saved == 0


@pytest.mark.parametrize("text", ["5", "null", '"x"', "[]", "[1, 2]", "{}", '["x", 1, "", [], 0, [], []]'])
def test_a_damaged_record_is_none(root: Path, read: list[str], text: str) -> None:
    kept = Kept()
    first = memory(kept, root)
    expected = look(root, first)
    first.save()
    ((key, record),) = kept.kept.items()
    files = json.loads(record)["files"]
    kept.kept[key] = json.dumps({"files": dict.fromkeys(files, json.loads(text))})
    if text != '"x"':  # a text is what a constraint is
        read.clear()
        again = memory(kept, root)
        assert look(root, again) == expected
        assert sorted(set(read)) == sorted(name for _, name in READERS)
    kept.kept[key] = json.dumps({"files": json.loads(text)})
    assert look(root, memory(kept, root)) == expected


def test_without_a_workshop_there_is_no_memory(root: Path) -> None:
    remembered = Remembered(None, str(root), sha256)
    expected = look(root, remembered)
    remembered.save()
    assert look(root, remembered) == expected
    assert remembered.header(str(root / "more.go")) is None

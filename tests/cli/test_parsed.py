"""The memory of parsed files in a cache: by their bytes, and never a fault."""

from __future__ import annotations

from pathlib import Path

from hostbuild.cli.parsed import ParsedFiles


def test_it_is_kept_by_the_bytes(tmp_path: Path) -> None:
    ParsedFiles(str(tmp_path / "cache")).keep(b"one", {"a": [1, None, "x"]})
    other = ParsedFiles(str(tmp_path / "cache"))
    assert other.recall(b"one") == {"a": [1, None, "x"]}
    assert other.recall(b"two") is None


def test_a_damaged_record_is_none(tmp_path: Path) -> None:
    files = ParsedFiles(str(tmp_path / "cache"))
    files.keep(b"one", {"a": 1})
    (record,) = (tmp_path / "cache/keys").rglob("*.json")
    record.write_bytes(record.read_bytes()[:-3])
    assert files.recall(b"one") is None


def test_large_files_are_parsed_each_time(tmp_path: Path) -> None:
    files = ParsedFiles(str(tmp_path / "cache"))
    files.keep(b"x" * 70_000, {"a": 1})
    assert files.recall(b"x" * 70_000) is None


def test_a_cache_that_cannot_be_used_is_no_fault_here(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    files = ParsedFiles(str(tmp_path / "cache"))
    files.keep(b"one", {"a": 1})
    assert files.recall(b"one") is None

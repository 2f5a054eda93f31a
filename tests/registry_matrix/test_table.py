"""The fault matrix as data: complete, without doubles, and what the documentation shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hostbuild import errors
from tests.registry_matrix.actions import ACTIONS, TARGETS
from tests.registry_matrix.operations import RUNS
from tests.registry_matrix.table import CELLS, EXIT_CODES, OPERATIONS, ROWS, in_page, to_markdown

ROOT = Path(__file__).parent.parent.parent


def test_every_row_has_an_action_and_every_action_a_row() -> None:
    assert {row.fault for row in ROWS} == set(ACTIONS)
    assert set(RUNS) == set(TARGETS) == set(OPERATIONS)


def test_no_cell_stands_twice() -> None:
    names = [cell.name for cell in CELLS]
    assert len(set(names)) == len(names)
    shown = [(row.words, row.times) for row in ROWS]
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize("kind", EXIT_CODES)
def test_exit_codes_are_those_of_the_errors(kind: str) -> None:
    assert getattr(errors, kind).exit_code == EXIT_CODES[kind]


def test_the_documentation_shows_the_table() -> None:
    page = (ROOT / "docs/registries.md").read_text(encoding="utf-8")
    assert in_page(page) == page, "run scripts/fault_matrix --write"


def test_the_script_prints_the_table_without_the_tests_requirements() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-E", ROOT / "scripts/fault_matrix"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == to_markdown()


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(SystemExit, match="lacks the marks"):
        in_page("# Registries\n")

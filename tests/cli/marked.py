"""Keeps what a test runs in this process from judging processes that it did not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostbuild.process import liveness
from hostbuild.process.liveness import Marked
from hostbuild.process.marks import Marks


def judge_only_below(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`find_marked` finds the processes whose owner lies below `directory`, and no others."""
    find = liveness.find_marked

    def find_mine(wanted: Marks | None = None) -> list[Marked]:
        return [each for each in find(wanted) if each.marks.owner.startswith(str(directory))]

    monkeypatch.setattr("hostbuild.process.liveness.find_marked", find_mine)
    monkeypatch.setattr("hostbuild.cli.status_command.find_marked", find_mine)

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .helpers import Recorder, Word


@pytest.fixture
def word() -> Iterator[Word]:
    """A word that nobody may carry at the end of the test, without waiting."""
    word = Word()
    yield word
    assert word.carriers() == []


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()

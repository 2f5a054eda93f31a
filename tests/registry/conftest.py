"""The small registry, and a client for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.registry.image import Client, client
from tests.registry.server import MemoryRegistry


@pytest.fixture
def registry() -> Iterator[MemoryRegistry]:
    with MemoryRegistry().running() as running:
        yield running


@pytest.fixture
def user() -> Iterator[Client]:
    with client() as one:
        yield one

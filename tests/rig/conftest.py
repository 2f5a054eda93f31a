"""A registry with something in it, behind a fault proxy: for the tests of the proxy itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig.fault_proxy import FaultProxy
from tests.rig.raw import Raw, digest_of
from tests.rig.registries import Registry

DATA = bytes(range(256)) * 1024
DIGEST = digest_of(DATA)
BLOB = f"/v2/app/blobs/{DIGEST}"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry in which `app` and `other` have DATA, and `app` an image `v1`."""
    with Registry("distribution", tmp_path_factory.mktemp("registry")) as registry:
        raw = Raw(registry.address)
        raw.put_blob("app", DATA)
        raw.put_blob("other", b"other's")
        raw.put_image("app", "v1", [b"layer"])
        yield registry


@pytest.fixture
def proxy(registry: Registry) -> Iterator[FaultProxy]:
    with FaultProxy(registry.address) as proxy:
        yield proxy

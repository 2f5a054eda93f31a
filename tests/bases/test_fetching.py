"""Fetching one blob: what is refused before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostbuild.bases.fetching import refuse_larger_than_disk
from hostbuild.errors import StoreError
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.store.cache import Cache


def test_what_no_disk_holds_is_refused_before_a_byte_is_asked_for(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    huge = Descriptor("application/vnd.oci.image.layer.v1.tar", Digest.of(b"x"), 10**15)
    with pytest.raises(StoreError, match="no room") as caught:
        refuse_larger_than_disk(huge, cache)
    assert "--cache-dir" in caught.value.fix
    refuse_larger_than_disk(Descriptor(huge.media_type, huge.digest, 1000), cache)

"""What tells a build of one's own from one that came with a checkout, an archive or another machine.

A build directory lies in the source, and its names follow from the source: whoever writes a checkout can put
a "complete" build there, and git overwrites ignored files without a word. So build.json carries a seal: a
keyed hash of itself and of index.json, whose key is random and stays in the cache, where nobody else reads or
writes. What has no such seal counts as not made, and is made (from the cache, where that was copied too).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from hostbuild.store.failures import Explaining
from hostbuild.store.locks import remove_file
from hostbuild.store.syncing import read_small, replace_file, temporary_name, write_new_file

_FILE = "secret"
_LENGTH = 32
_PURPOSE = b"hostbuild build"


class Seal:
    """Seals what this cache's owner made. Without a secret (no cache yet) it made nothing."""

    def __init__(self, secret: bytes | None) -> None:
        self._secret = secret

    def of(self, record: Mapping[str, Any], index: bytes) -> str:
        """The seal of `record` (build.json's object, its own "seal" left out) and the bytes of index.json.

        "" without a secret: no record has that seal.
        """
        if self._secret is None:
            return ""
        plain = {name: value for name, value in record.items() if name != "seal"}
        data = json.dumps(plain, sort_keys=True).encode()
        hasher = hashlib.blake2b(key=self._secret, person=_PURPOSE, digest_size=_LENGTH)
        hasher.update(hashlib.sha256(index).digest())
        hasher.update(data)
        return hasher.hexdigest()

    def fits(self, record: Mapping[str, Any], index: bytes) -> bool:
        """Whether `record` carries this seal."""
        seal = self.of(record, index)
        return seal != "" and record.get("seal") == seal


def open_seal(cache: str, *, create: bool = True) -> Seal:
    """The seal of the cache in the directory `cache`, which exists; made at the first use, or not at all.

    Raises `StoreError`.
    """
    path = os.path.join(cache, _FILE)
    with Explaining("read the seal", cache):
        secret = _read(path)
        if secret is None and create:
            secret = _make(path)
    return Seal(secret)


def _read(path: str) -> bytes | None:
    secret = read_small(path, _LENGTH + 1)
    return secret if secret is not None and len(secret) == _LENGTH else None


def _make(path: str) -> bytes:
    """Two processes may make one at once: the first one's stays."""
    temp = temporary_name(path)
    write_new_file(temp, os.urandom(_LENGTH), mode=0o600)
    try:
        os.link(temp, path)
    except OSError:  # it is there, torn or whole; or a disk without hard links
        if (secret := _read(path)) is not None:
            return secret
        replace_file(path, os.urandom(_LENGTH), mode=0o600)
    finally:
        remove_file(temp)
    secret = _read(path)
    if secret is None:
        raise FileNotFoundError(2, "the seal's secret vanished", path)
    return secret

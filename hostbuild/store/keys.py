"""Recipe keys: "this recipe gave that blob". A memory, never the truth: a lost record costs work only."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from hostbuild.patterns import late
from hostbuild.points import reach
from hostbuild.store.blobs import make_directories
from hostbuild.store.claims import Claims
from hostbuild.store.failures import Explaining
from hostbuild.store.syncing import read_small
from hostbuild.store.tempfiles import TempFile

KEY_VERSION = 1
_KEY = late(r"[0-9a-f]{64}\Z")
_LIMIT = 1 << 20  # bytes; a record is some hundred
_TOUCH_AFTER = 3600.0


class KeyStore:
    """Records below `directory`, one JSON file a key: `<first 2 hex>/<other 62>.json`."""

    def __init__(self, directory: str, temp: str, owner: str, claims: Claims) -> None:
        self.directory = directory
        self._claims = claims
        self._temp = temp
        self._owner = owner

    def path(self, key: str) -> str:
        """Where the record of `key` is, or would be. A key that is not 64 hex digits is a ValueError."""
        if not _KEY.match(key):
            raise ValueError(f"not a key: {key!r}")
        return f"{self.directory}/{key[:2]}/{key[2:]}.json"

    def get(self, key: str, *, touch: bool = True) -> dict[str, Any] | None:
        """The value recorded for `key`; None when there is none, or a torn, foreign or older one.

        With `touch` its use is noted for `prune`, to the hour.

        Raises `StoreError` when the file cannot be read.
        """
        return self.read(key, touch=touch)[0]

    def read(self, key: str, *, touch: bool = True) -> tuple[dict[str, Any] | None, object]:
        """As `get`, and what was `seen` of the blobs when it was put."""
        path = self.path(key)
        with Explaining("read a cache record", os.path.dirname(path)):
            data = read_small(path, _LIMIT)
        if data is None:
            return None, None
        try:
            record = json.loads(data)
        except (ValueError, RecursionError):
            return None, None
        if not isinstance(record, dict) or record.get("version") != KEY_VERSION or record.get("key") != key:
            return None, None
        value = record.get("value")
        if not isinstance(value, dict):
            return None, None
        if touch:
            _touch(path)
        return value, record.get("seen")

    def put(self, key: str, value: dict[str, Any], *, seen: object = None) -> None:
        """Record `value` (JSON values only) for `key`, replacing an older one at once.

        `seen` tells of the blobs that it names (`rechecking`). Not synced: a record that a crash tears reads
        as absent. Raises `StoreError`.
        """
        path = self.path(key)
        record: dict[str, Any] = {"version": KEY_VERSION, "key": key, "value": value}
        if seen is not None:
            record["seen"] = seen
        data = json.dumps(record, sort_keys=True, allow_nan=False).encode()
        temp = TempFile(self._temp, self._owner)
        try:
            temp.write(data)
            with Explaining("write a cache record", os.path.dirname(path)):
                make_directories(self.directory, os.path.dirname(path))
                reach("key-before-rename")
                shared = self._claims.share()  # it may replace one that another process has claimed
                try:
                    temp.rename(path)
                    self._claims.touch(path)
                finally:
                    os.close(shared)
        finally:
            temp.discard()

    def discard(self, key: str) -> None:
        """Forget `key`. Raises `StoreError`."""
        path = self.path(key)
        with Explaining("remove a cache record", os.path.dirname(path)):
            try:
                os.unlink(path)
            except FileNotFoundError:
                return


def _touch(path: str) -> None:
    """Note that the record was used, not more than once an hour. A time that cannot be noted is no fault."""
    try:
        if time.time() - os.stat(path).st_mtime > _TOUCH_AFTER:
            os.utime(path)
    except OSError:
        return

"""What files of settings said, kept in the cache by their bytes: parsers are loaded for new ones only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from hostbuild.errors import HostbuildError
from hostbuild.plan import key_of
from hostbuild.store.cache import Cache

#: Changes whenever the same bytes would give another value than with the hostbuild before.
_VERSION = 1
_LIMIT = 64 * 1024  # bytes of a file; what is larger is parsed each time

_T = TypeVar("_T")


class ParsedFiles:
    """`settings.funcfile.Parsed` in the cache at `directory`; what is wrong with that is told later."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def recall(self, data: bytes) -> dict[str, Any] | None:
        """What was kept for these bytes, or None."""
        return self._of_cache(data, lambda cache, key: cache.keys.get(key))

    def keep(self, data: bytes, value: dict[str, Any]) -> None:
        """Remember `value` for these bytes."""
        self._of_cache(data, lambda cache, key: cache.keys.put(key, value))

    def _of_cache(self, data: bytes, use: Callable[[Cache, str], _T]) -> _T | None:
        if len(data) > _LIMIT:
            return None
        key = key_of("settings file", digest=hashlib.sha256(data).hexdigest(), version=_VERSION)
        try:
            with Cache(self._directory) as cache:
                return use(cache, key)
        except HostbuildError:
            return None

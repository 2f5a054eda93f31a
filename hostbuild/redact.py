"""Secrets out of texts that are shown or kept: the user information in URLs."""

from __future__ import annotations

import re

_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def redact(text: str) -> str:
    """`text` with the user and password of each URL in it replaced by ***."""
    return _USER_INFO.sub("***", text) if "@" in text else text

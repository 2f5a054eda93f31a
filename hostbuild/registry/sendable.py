"""Texts that can go into a request as a login: others are refused when read, not when sent."""

from __future__ import annotations

import re

_VISIBLE = re.compile(r"[!-~]+")


def is_unicode(text: str) -> bool:
    """Whether it can be written in UTF-8: JSON's escapes can spell halves of characters."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def why_not_login(user: str, secret: str) -> str:
    """Why the two cannot be sent as Basic, in which they are UTF-8 (RFC 7617), or exchanged for a token; ""
    where they can. It shows nothing of them.
    """
    if not is_unicode(user):
        return "the user name holds what is no character"
    return "" if is_unicode(secret) else "the secret holds what is no character"


def is_bearer(token: str) -> bool:
    """Whether it can stand in a header as it is: ASCII without spaces (RFC 6750, 2.1, has even less)."""
    return _VISIBLE.fullmatch(token) is not None

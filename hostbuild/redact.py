"""Secrets out of texts that are shown or kept: the user information in URLs and addresses."""

from __future__ import annotations

from hostbuild.patterns import late

#: After "@" a digest may follow (`app:v1@sha256:…`): what stands before it is a name and a tag.
_END = r"(?=@)(?!@sha[0-9]+:)"
#: A port and a path, which have a colon before "@" too: `host:443/mod/@v/list`.
_NO_PORT = r"(?![0-9]+/)"
_IN_URL = late(rf"(?<=://)(?:[^/\s]+|[^/\s:@]+:{_NO_PORT}[^\s@]+){_END}")
#: `user:password@host` without a scheme; not in the middle of a word, a path or a longer address.
_BARE = late(rf"(?<![\w.%+~/@:*-])[\w.%+~-]+:(?!/){_NO_PORT}(?:[^/\s]+|[^\s@]+){_END}(?=@[\w\[])")


def redact(text: str) -> str:
    """`text` with what stands before the "@" of each address in it replaced by ***.

    In a URL that is any user information, without a scheme what looks like USER:PASSWORD@HOST.
    """
    return _BARE.sub("***", _IN_URL.sub("***", text)) if "@" in text else text

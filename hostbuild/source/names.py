"""File names: bytes on disk, text elsewhere, and never by the locale.

The walk works on bytes. Text is UTF-8 with the other bytes surrogate-escaped, whatever the file system
encoding of this process is, so that one source is one tree under every LANG.
"""

from __future__ import annotations


def decode(path: bytes) -> str:
    """The text of a path."""
    return path.decode("utf-8", "surrogateescape")


def encode(path: str) -> bytes:
    """The bytes of a path that `decode` gave."""
    return path.encode("utf-8", "surrogateescape")


def sort_key(path: str) -> bytes:
    """The order of entries in trees and layers: by the bytes of the whole path.

    A directory comes before all that is in it. "a-b" comes before "a/b", because "-" is less than "/".
    """
    return path.encode("utf-8", "surrogateescape")


def show(path: str | bytes) -> str:
    """A path as messages show it: on one line, quoted, what cannot be printed escaped."""
    text = decode(path) if isinstance(path, bytes) else path
    return f'"{text}"' if text.isprintable() and '"' not in text else repr(text)

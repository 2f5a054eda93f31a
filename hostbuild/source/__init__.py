"""The source directory: which files ship, what they are, and an index that depends on content only."""

from __future__ import annotations

from hostbuild.source.copies import Copy, copy_entries, find_copy
from hostbuild.source.digests import FileContent, FileDigests
from hostbuild.source.ignore import EVERYTHING, IgnoreRules, load_ignore
from hostbuild.source.index import StatIndex, decode_index
from hostbuild.source.names import show, sort_key
from hostbuild.source.tree import Change, SourceEntry, SourceTree, shipped_entries
from hostbuild.source.unchanged import is_unchanged
from hostbuild.source.walk import scan, survey

__all__ = [
    "EVERYTHING",
    "Change",
    "Copy",
    "FileContent",
    "FileDigests",
    "IgnoreRules",
    "SourceEntry",
    "SourceTree",
    "StatIndex",
    "copy_entries",
    "decode_index",
    "find_copy",
    "is_unchanged",
    "load_ignore",
    "scan",
    "shipped_entries",
    "show",
    "sort_key",
    "survey",
]

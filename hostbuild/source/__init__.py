"""The source directory: which files ship, what they are, and an index that depends on content only."""

from __future__ import annotations

from hostbuild.source.copies import copy_entries
from hostbuild.source.digests import FileContent, FileDigests, Signature
from hostbuild.source.ignore import EVERYTHING, IgnoreRules, load_ignore
from hostbuild.source.names import show, sort_key
from hostbuild.source.tree import Change, SourceEntry, SourceTree, shipped_entries
from hostbuild.source.unchanged import is_unchanged
from hostbuild.source.walk import scan

__all__ = [
    "EVERYTHING",
    "Change",
    "FileContent",
    "FileDigests",
    "IgnoreRules",
    "Signature",
    "SourceEntry",
    "SourceTree",
    "copy_entries",
    "is_unchanged",
    "load_ignore",
    "scan",
    "shipped_entries",
    "show",
    "sort_key",
]

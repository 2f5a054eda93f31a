"""Base images: which one is meant, which image of it serves a platform, and its layers in the cache."""

from __future__ import annotations

from hostbuild.bases.naming import SCRATCH, BaseName, parse_base
from hostbuild.bases.network import Network
from hostbuild.bases.values import NO_BASE, Base, BasePlatform

__all__ = ["NO_BASE", "SCRATCH", "Base", "BaseName", "BasePlatform", "Network", "parse_base"]

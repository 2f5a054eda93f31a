"""Images that lie on this machine: image layouts, and tar archives of them or of `docker save`.

Nothing is unpacked and nothing is written. What is not in the image is never read, whatever links and names
in it say.
"""

from __future__ import annotations

from hostbuild.local.image import LocalImage
from hostbuild.local.opening import Kind, guess_kind, open_local

__all__ = ["Kind", "LocalImage", "guess_kind", "open_local"]

"""Where the files of wheels go in an image."""

from __future__ import annotations

from typing import NamedTuple


class Prefix(NamedTuple):
    """Where things go in the image, relative to its root; it does not depend on the base.

    `site` takes what is imported (purelib and platlib alike), `bin` commands, `data` is the root of the
    scheme `data`, `headers` has a directory for each package (as sysconfig's scheme `posix_home` has it).
    """

    site: str = "opt/python/site-packages"
    bin: str = "opt/python/bin"
    data: str = "opt/python"
    headers: str = "opt/python/include/python"


DEFAULT_PREFIX = Prefix()

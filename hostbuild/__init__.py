"""hostbuild: from a source directory to a runnable, reproducible, multi-arch OCI image, on the host.

The library's few names; each is imported when it is first used, because a command that finds nothing
to do must end before most of them could be loaded.
"""

from __future__ import annotations

from hostbuild import version

TYPE_CHECKING = False  # as `typing` has it, which takes longer to load than --version may take
if TYPE_CHECKING:
    from typing import Any

    from hostbuild.build import build
    from hostbuild.errors import HostbuildError
    from hostbuild.languages import is_supported
    from hostbuild.model import BuildRequest, BuildResult, Event
    from hostbuild.settings.load import load_request

__version__ = version.VERSION

__all__ = [
    "BuildRequest",
    "BuildResult",
    "Event",
    "HostbuildError",
    "__version__",
    "build",
    "is_supported",
    "load_request",
]

_HOMES = {
    "BuildRequest": "hostbuild.model",
    "BuildResult": "hostbuild.model",
    "Event": "hostbuild.model",
    "HostbuildError": "hostbuild.errors",
    "build": "hostbuild.build",
    "is_supported": "hostbuild.languages",
    "load_request": "hostbuild.settings.load",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hostbuild' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value  # `hostbuild.build` is the function, though a module has the same name
    return value

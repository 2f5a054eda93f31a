"""What an image would lack, found out before anything is built: for `hostbuild check`."""

from __future__ import annotations

from hostbuild.bases import Network
from hostbuild.languages.base import Report
from hostbuild.model import BuildRequest, EventCallback, ignore_event
from hostbuild.observer import Observer
from hostbuild.store.cache import Cache


def check(request: BuildRequest, on_event: EventCallback = ignore_event) -> Report:
    """What the image of `request` would lack, platform by platform; nothing of the project is written.

    Raises HostbuildError in one of its kinds where that cannot be found out.
    """
    with Cache(request.cache_dir) as cache, Network(request.access, on_event) as network:
        seen = Observer(request, cache, network, writes=False).look()
        return seen.language.check(seen.project)

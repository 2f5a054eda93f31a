"""Where a wheel comes from: a server, or a file of this machine."""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from hostbuild.errors import AuthenticationError, HostbuildError, NetworkError, ProtocolError
from hostbuild.model import Event, EventCallback
from hostbuild.wheels.archive import open_archive
from hostbuild.wheels.credentials import Credentials
from hostbuild.wheels.names import wheel_error

if TYPE_CHECKING:
    from hostbuild.http import Response, Transport

#: Bytes of a wheel whose size nobody told beforehand.
MAX_SIZE = 8 << 30

_PIECE = 1 << 20
_TELL_EVERY = 0.2


class Reach(NamedTuple):
    """How servers are asked, and who is told what happens."""

    transport: Transport
    credentials: Credentials
    on_event: EventCallback


class Place(ABC):
    """A location that can be copied from. Its text names the server or the file, and no secret."""

    is_here = False

    @staticmethod
    def parse(location: str, reach: Reach | None = None) -> Place:
        """The place of a URL (http, https, file) or a path; without `reach` it can only be looked at.

        Raises WheelError for a URL of another scheme, InvalidValueError for none.
        """
        scheme, mark, rest = location.partition("://")
        if not mark or scheme.lower() == "file":
            return _File(location)
        if scheme.lower() in ("http", "https"):
            return _Server(location, reach)
        raise wheel_error(
            rest.partition("?")[0].rpartition("/")[2],
            f"it would come by {scheme!r}, and wheels come by https, http or from files",
            fix="lock anew, from an index",
        )

    @abstractmethod
    def copy(self, filename: str, size: int | None, write: Callable[[bytes | memoryview], object]) -> None:
        """Hand all bytes of the wheel `filename` to `write`, in their order; `size` is what is expected."""


class _File(Place):
    is_here = True

    def __init__(self, location: str) -> None:
        self._location = location

    def __str__(self) -> str:
        return repr(self._path())

    def copy(self, filename: str, size: int | None, write: Callable[[bytes | memoryview], object]) -> None:
        """Raises WheelError where the file is not there, or not of the expected size."""
        path = self._path()
        descriptor = open_archive(path, path)
        with os.fdopen(descriptor, "rb") as stream:
            has = os.fstat(descriptor).st_size
            if size not in (None, has):
                raise wheel_error(filename, f"{path!r} has {has} bytes, expected are {size}", fix="lock anew")
            try:
                while piece := stream.read(_PIECE):
                    write(piece)
            except OSError as error:
                raise wheel_error(filename, f"{path!r} cannot be read: {error.strerror}") from error

    def _path(self) -> str:
        if not self._location.lower().startswith("file:"):
            return self._location
        parts = urlsplit(self._location)
        if parts.netloc not in ("", "localhost"):
            raise wheel_error(parts.path, f"a file URL names another machine, {parts.hostname!r}")
        return unquote(parts.path, errors="surrogateescape")


class _Server(Place):
    def __init__(self, url: str, reach: Reach | None) -> None:
        self._url, self._headers = (reach.credentials if reach else Credentials()).apply(url)
        self._reach = reach

    def __str__(self) -> str:
        return urlsplit(self._url).netloc

    def copy(self, filename: str, size: int | None, write: Callable[[bytes | memoryview], object]) -> None:
        """Resumed after breaks where the size is known, from the lock or from the server.

        Raises AuthenticationError, NetworkError, and what `hostbuild.http.download` raises.
        """
        if self._reach is None:
            raise ValueError("a place that is only looked at")
        from hostbuild.http import download

        what = f"fetching {filename}"
        transport, _, on_event = self._reach
        with self._ask(transport, 0, what) as first:
            size = first.size if size is None else size
            if size is None:
                _take_all(first, write, what)
                return
            given = [first]

            def open_at(offset: int) -> Response:
                return given.pop() if given and not offset else self._ask(transport, offset, what)

            download(open_at, write, size=size, what=what, access=transport.access, on_event=on_event)

    def _ask(self, transport: Transport, offset: int, what: str) -> Response:
        headers = self._headers | ({"Range": f"bytes={offset}-"} if offset else {})
        response = transport.request("GET", self._url, headers=headers, what=what, stream=True)
        if response.status in (200, 206, 416):
            page = response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/html"
            if not page:
                return response
            response.close()
            raise ProtocolError(
                f"{what} failed",
                why=f"{self} answers with a web page",
                fix="check the index's address, and whether a proxy or a login page is between here and it",
            )
        with response:
            raise self._refusal(response.status, what)

    def _refusal(self, status: int, what: str) -> HostbuildError:
        if status in (401, 403):
            known = "does not accept our credentials" if self._headers else "asks for user and password"
            return AuthenticationError(
                f"{what} failed",
                why=f"{self} {known} ({status})",
                fix=f"give them in netrc for {self}, or in the index's URL",
                status=status,
            )
        fix = "lock anew: the index no longer has this file" if status in (404, 410) else "try again later"
        return NetworkError(f"{what} failed", why=f"{self} answers {status}", fix=fix, status=status)


def _take_all(response: Response, write: Callable[[bytes | memoryview], object], what: str) -> None:
    """A body of which nobody knows the size."""
    count = 0
    for piece in response.pieces():
        count += len(piece)
        if count > MAX_SIZE:
            raise ProtocolError(f"{what} failed", why=f"it has more than {MAX_SIZE} bytes")
        write(piece)


class Tally:
    """Bytes of all wheels that are being fetched, told now and then; safe from many threads."""

    def __init__(self, on_event: EventCallback, total: int) -> None:
        self._on_event = on_event
        self._lock = threading.Lock()
        self._total = total
        self._done = 0
        self._told = time.monotonic()

    def counting(
        self, write: Callable[[bytes | memoryview], object], size: int | None
    ) -> Callable[[bytes | memoryview], object]:
        """A `write` that counts what goes through it; `size` None adds to the whole as well."""

        def count(data: bytes | memoryview) -> object:
            result = write(data)
            event = None
            with self._lock:
                self._done += len(data)
                if size is None:
                    self._total += len(data)
                if (now := time.monotonic()) - self._told >= _TELL_EVERY:
                    self._told = now
                    share = {"step": "wheels", "done": self._done, "total": max(self._total, self._done)}
                    event = Event("progress", "fetching wheels", data=share)
            if event is not None:
                self._on_event(event)
            return result

        return count

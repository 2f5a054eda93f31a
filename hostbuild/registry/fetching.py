"""A blob's bytes: from mirrors, the registry, or (foreign layers) the addresses that its descriptor names.

One stream, whoever serves it: `hostbuild.http.download` asks for the rest after a break, and a source that
fails is left for the next one at the offset that was reached. So what a mirror served is never fetched twice.
The bytes are verified as a whole: by the caller's writer, and here as well where a mirror had a part in them,
to tell whose fault it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from hostbuild.errors import (
    CorruptBlobError,
    HostbuildError,
    NotInRegistryError,
    ProtocolError,
    RegistryError,
)
from hostbuild.oci import media_types
from hostbuild.oci.descriptor import Descriptor
from hostbuild.registry.answers import registry_error
from hostbuild.registry.digests import refuse_page
from hostbuild.registry.mirrors import FAULTS, Answers, Mirror, Mirrors
from hostbuild.registry.place import Place

if TYPE_CHECKING:
    from hostbuild.http import Response, Transport

FOREIGN = frozenset(
    {
        media_types.OCI_FOREIGN_LAYER,
        media_types.OCI_FOREIGN_LAYER_GZIP,
        media_types.OCI_FOREIGN_LAYER_ZSTD,
        media_types.DOCKER_FOREIGN_LAYER,
        media_types.DOCKER_FOREIGN_LAYER_GZIP,
    }
)


class Source(Protocol):
    """One place that may have the blob."""

    @property
    def mirror(self) -> Mirror | None:
        """The mirror that it is, None for the registry itself and for foreign addresses."""

    def open(self, descriptor: Descriptor, offset: int) -> Response:
        """The answer with the bytes from `offset` on. Raises what is wrong with the source."""
        ...


class PlaceSource:
    """A repository, the registry's own or a mirror's."""

    def __init__(self, place: Place, mirror: Mirror | None = None) -> None:
        self.mirror = mirror
        self._place = place

    def open(self, descriptor: Descriptor, offset: int) -> Response:
        """GET the blob, its rest by Range."""
        what = f"fetching blob {descriptor.digest} from {self._place.name}"
        response = self._place.session.request(
            "GET",
            self._place.path(f"blobs/{descriptor.digest}"),
            scopes=self._place.pull_scopes,
            headers=_range(offset),
            retry=self.mirror is None,
            what=what,
            stream=True,
        )
        if response.status in (200, 206) or (response.status == 416 and self.mirror is None):
            return _checked(response, descriptor, offset, what, exact=self.mirror is not None)
        raise self._place.session.error(response, what, self._place.pull_scopes)


class UrlSource:
    """An address that a foreign layer's descriptor names; it gets no credentials of any registry."""

    mirror = None

    def __init__(self, transport: Transport, url: str) -> None:
        self._transport = transport
        self._url = url

    def open(self, descriptor: Descriptor, offset: int) -> Response:
        """GET the layer, its rest by Range."""
        what = f"fetching foreign layer {descriptor.digest}"
        response = self._transport.request(
            "GET", self._url, headers=_range(offset), what=what, trusted=False, stream=True
        )
        if response.status in (200, 206, 416):
            return _checked(response, descriptor, offset, what, exact=False)
        raise registry_error(response, what)


def foreign_sources(descriptor: Descriptor, transport: Transport) -> list[Source]:
    """The addresses of a foreign layer (image specification, descriptor.md, `urls`); of other blobs they are
    ignored.
    """
    urls = descriptor.extra.get("urls")
    if descriptor.media_type not in FOREIGN or not isinstance(urls, list | tuple):
        return []
    return [UrlSource(transport, url) for url in urls if isinstance(url, str) and _is_web_address(url)]


class OneStream:
    """Opens a blob at an offset wherever it can be had; `used` are the mirrors that served some of it."""

    def __init__(
        self, descriptor: Descriptor, sources: Sequence[Source], mirrors: Mirrors, answers: Answers
    ) -> None:
        self._descriptor = descriptor
        self._sources = list(sources)
        self._mirrors = mirrors
        self._answers = answers
        self._opened: tuple[Source, int] | None = None
        self.used: list[Mirror] = []

    def __call__(self, offset: int) -> Response:
        """For `download`: called again with what it has after each break."""
        while True:
            source = self._sources[0]
            if source.mirror is not None and self._opened == (source, offset):
                broken = RegistryError("it broke off", why="no bytes came since it was asked last")
                self._leave(source, broken)
                continue
            try:
                response = source.open(self._descriptor, offset)
            except FAULTS as error:
                if len(self._sources) == 1 or not (source.mirror or isinstance(error, NotInRegistryError)):
                    raise
                self._leave(source, error)
                continue
            self._opened = (source, offset)
            if source.mirror is not None and source.mirror not in self.used:
                self.used.append(source.mirror)
            return response

    def _leave(self, source: Source, error: HostbuildError) -> None:
        """Go on to the next source. A mirror that merely lacks this blob is asked for others."""
        del self._sources[0]
        if source.mirror is None:
            return
        self._answers.add(source.mirror, error)
        if not isinstance(error, NotInRegistryError):
            self._mirrors.pass_over(source.mirror, error)


class Verifying:
    """A `write` that also hashes what goes through it."""

    def __init__(self, descriptor: Descriptor, write: Callable[[bytes | memoryview], object]) -> None:
        import hashlib

        self._descriptor = descriptor
        self._write = write
        self._hasher = hashlib.new(descriptor.digest.algorithm)

    def __call__(self, data: bytes | memoryview) -> object:
        """Hash and pass on."""
        self._hasher.update(data)
        return self._write(data)

    def check(self, used: Sequence[Mirror], mirrors: Mirrors) -> None:
        """Raise CorruptBlobError when mirrors served a part of wrong bytes; they are not asked again."""
        if not used or self._hasher.hexdigest() == self._descriptor.digest.hex:
            return
        error = CorruptBlobError(
            f"blob {self._descriptor.digest} is not what was expected",
            why=f"what came from the mirror {' and '.join(map(str, used))} has another digest",
            fix="try again without that mirror",
            digest=str(self._descriptor.digest),
        )
        for mirror in used:
            mirrors.pass_over(mirror, error)
        raise error


def _range(offset: int) -> dict[str, str]:
    return {"Range": f"bytes={offset}-"} if offset else {}


def _checked(response: Response, descriptor: Descriptor, offset: int, what: str, *, exact: bool) -> Response:
    """Refuse what cannot be the blob before taking any of it: a page, or (of a mirror) another length."""
    length = response.headers.get("Content-Length", "")
    expected = descriptor.size - (offset if response.status == 206 else 0)
    try:
        refuse_page(response, what)
        if exact and length.isascii() and length.isdecimal() and int(length[:18]) != expected:
            raise _unfit(what, f"{length} bytes were offered, not {expected}")
    except ProtocolError:
        response.close()
        raise
    return response


def _unfit(what: str, why: str) -> ProtocolError:
    return ProtocolError(f"{what} failed", why=why, fix="try again without that mirror")


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)

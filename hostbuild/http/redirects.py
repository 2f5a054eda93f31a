"""The request that follows a redirect (RFC 9110, 15.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from hostbuild.errors import InvalidValueError, ProtocolError

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 10

_PORTS = {"http": 80, "https": 443}

#: What says who we are: for the first server only.
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})

#: Whose bodies follow to another server: content that a server asks to be stored elsewhere. What a POST
#: carries (a form with a login, for one) is for the server that it was sent to.
_BODY_FOLLOWS = frozenset({"PUT", "PATCH"})

#: What describes a body: gone with it.
_OF_THE_BODY = frozenset({"content-length", "content-type", "content-range", "content-encoding"})


class Origin(NamedTuple):
    """Scheme, host and port: whoever differs in one of them is somebody else."""

    scheme: str
    host: str
    port: int

    @property
    def place(self) -> str:
        """`host`, or `host:port` where the port is not the scheme's own; IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class Hop(NamedTuple):
    """One request of a chain of redirects; `has_body` False where the body is not to be sent (again)."""

    method: str
    url: str
    headers: Mapping[str, str]
    has_body: bool


def split(url: str) -> SplitResult:
    """The parts of an absolute HTTP URL. Raises InvalidValueError, which does not quote user info or
    query.
    """
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        raise InvalidValueError(
            f"not a URL: {url.partition('?')[0].rpartition('@')[2]!r}",
            why="its host or its port cannot be understood (ports go from 1 to 65535)",
            fix="write it as https://HOST or https://HOST:PORT",
        ) from None
    if parts.scheme not in _PORTS or not parts.hostname or not port_is_valid:
        raise InvalidValueError(f"not an http or https URL: {url.partition('?')[0].rpartition('@')[2]!r}")
    return parts


def origin_of(url: str) -> Origin:
    """Whom the URL names."""
    parts = split(url)
    return Origin(parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _PORTS[parts.scheme])


def public(url: str) -> str:
    """The URL as it may be shown: without user information, query (it may be signed) and fragment."""
    parts = split(url)
    return urlunsplit((parts.scheme, origin_of(url).place, parts.path, "", ""))


def without_user(url: str) -> tuple[str, str]:
    """The URL without user information and fragment, and the user information as it stood ("" if none)."""
    parts = split(url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, host, parts.path or "/", parts.query, "")), user


def follow(hop: Hop, status: int, location: str) -> Hop:
    """The request that a redirect with this status and `Location` asks for.

    303 asks for a GET. 301 and 302 turn a POST into a GET, as every browser does and the RFC allows, and
    leave other methods; 307 and 308 change nothing. Credentials are dropped for another scheme, host or
    port. Raises ProtocolError when the location is none, and when it is another server's and the request has
    a body that is not a PUT's or a PATCH's.
    """
    # http.client reads headers as Latin-1; what servers send is UTF-8, if it is not ASCII.
    location = location.strip().encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        url, _ = without_user(urljoin(hop.url, location))
    except (InvalidValueError, ValueError):
        raise ProtocolError(
            f"{public(hop.url)} redirects to what is no http or https URL",
            why=f"status {status}, Location {location.partition('?')[0].rpartition('@')[2][:200]!r}",
        ) from None
    becomes_get = hop.method not in ("GET", "HEAD") and (
        status == 303 or (status in (301, 302) and hop.method == "POST")
    )
    leaves = origin_of(url) != origin_of(hop.url)
    has_body = hop.has_body and not becomes_get
    if leaves and has_body and hop.method not in _BODY_FOLLOWS:
        raise ProtocolError(
            f"{origin_of(hop.url).place} redirects a {hop.method} with its body to {origin_of(url).place}",
            why="what it carries is for the first server only",
            fix=f"ask who runs {origin_of(hop.url).place}: it has to name the right server beforehand",
        )
    headers = {
        name: value
        for name, value in hop.headers.items()
        if not (leaves and name.lower() in _CREDENTIALS)
        and not (becomes_get and name.lower() in _OF_THE_BODY)
        and name.lower() != "host"
    }
    return Hop("GET" if becomes_get else hop.method, url, headers, has_body)

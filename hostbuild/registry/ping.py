"""GET /v2/: whether a registry is there, how it is spoken to, and what it asks for.

Distribution specification, "Determining Support": 200 or 401. https is tried first; plain http only where it
is allowed (this machine, or any host when certificates are not verified) and TLS is not spoken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from hostbuild.errors import AuthenticationError, HostbuildError, ProtocolError, TlsError, UnreachableError
from hostbuild.registry.answers import (
    explain,
    host_of,
    looks_like_html,
    printable,
    read_messages,
    read_some,
    refusal,
)
from hostbuild.registry.authority import Asked
from hostbuild.registry.challenge import Challenge, choose_challenge, parse_challenges
from hostbuild.registry.docker_config import HUB

if TYPE_CHECKING:
    from hostbuild.http import Response, Transport

#: Docker Hub's API is not where its name is.
HUB_HOST = "registry-1.docker.io"


class Ground(NamedTuple):
    """What a ping found: the base URL (`https://registry.example:5000`), and what it asks for, None where
    open.
    """

    base: str
    asked: Asked | None


def find_registry(transport: Transport, registry: str) -> Ground:
    """Ping a registry. Raises ProtocolError where there is none, TlsError, UnreachableError,
    AuthenticationError.
    """
    try:
        return _find(transport, registry)
    except (UnreachableError, TlsError) as error:
        _name(error, registry)
        raise


def _find(transport: Transport, registry: str) -> Ground:
    host = HUB_HOST if registry == HUB else registry
    secure, plain = f"https://{host}", f"http://{host}"
    if not transport.plain_http_allowed(host):
        return _ping(transport, registry, secure, retry=True)
    # One try each before patience: what speaks only one of the two is found at once.
    for base in (secure, plain):
        try:
            return _ping(transport, registry, base, retry=False)
        except UnreachableError:
            continue
        except TlsError as error:
            if "speaks" not in error.extra:
                raise  # TLS is spoken, and not as it should be
    try:
        return _ping(transport, registry, secure, retry=True)
    except TlsError as error:
        if error.extra.get("speaks") != "http":
            raise
    return _ping(transport, registry, plain, retry=True)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL. Raises ProtocolError for what is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or (80 if parts.scheme == "http" else 443)
        host = parts.hostname or ""
    except ValueError:
        host, port = "", 0
    if not host or parts.scheme not in ("http", "https"):
        raise ProtocolError(f"{printable(url, 200)!r} is not an address of HTTP")
    return parts.scheme, host, port


def find_challenge(response: Response) -> Challenge | None:
    """The challenge of a 401 that can be answered, None where there is none."""
    return choose_challenge(parse_challenges(response.headers.get("WWW-Authenticate", "")))


def _what(registry: str) -> str:
    return f"asking {registry} for its API"


def _name(error: HostbuildError, registry: str) -> None:
    """Say who cannot be reached, once; where another is to blame (a proxy), that stays in the reason."""
    blamed = error.what.removeprefix(_what(registry)).removeprefix(" failed").removeprefix(": ")
    if blamed.removesuffix(" cannot be reached") not in ("", registry):
        error.why = f"{blamed}: {error.why}" if error.why else blamed
    error.what = f"{registry} cannot be reached as a registry"


def _ping(transport: Transport, registry: str, base: str, *, retry: bool) -> Ground:
    response = transport.request("GET", f"{base}/v2/", retry=retry, what=_what(registry))
    if origin(response.url) != origin(base):
        base = _moved(response, registry, base)
    if response.status == 401:
        page = response.url
        return Ground(base, Asked(_asked_for(response, registry), page))
    if response.status in (200, 404):
        kind = response.headers.get("Content-Type", "")
        versioned = "Docker-Distribution-API-Version" in response.headers
        with response:
            data = read_some(response)
        if response.status == 200 and (versioned or not looks_like_html(data, kind)):
            return Ground(base, None)
        raise _no_registry(registry, response.status, data, kind)
    raise refusal(response.status, read_messages(response), _what(registry), registry)


def _asked_for(response: Response, registry: str) -> Challenge:
    header = response.headers.get("WWW-Authenticate", "")
    challenge = find_challenge(response)
    if challenge is not None:
        with response:
            read_some(response)
        return challenge
    kind = response.headers.get("Content-Type", "")
    messages = read_messages(response)
    if not header and looks_like_html(b"", kind):
        raise _no_registry(registry, response.status, b"", kind)
    asked = ", ".join(dict.fromkeys(challenge.scheme for challenge in parse_challenges(header)))
    if "bearer" in asked.split(", "):
        raise AuthenticationError(
            f"{registry} asks for a token and does not say where to get one",
            why="its challenge (WWW-Authenticate: Bearer) has no realm",
            fix="ask who runs the registry, or the proxy before it",
            status=401,
        )
    raise AuthenticationError(
        f"{registry} asks for a login of a kind that hostbuild does not know",
        why=f"it wants {printable(asked, 60)}, known are Bearer and Basic"
        if asked
        else f"{explain(401, messages, registry)}, without a challenge (WWW-Authenticate)",
        fix="ask who runs the registry, or the proxy before it",
        status=401,
        codes=tuple(message.code for message in messages if message.code),
    )


def _moved(response: Response, registry: str, base: str) -> str:
    """The base after a redirect: the same host's TLS is welcome, anything else is another registry."""
    scheme, host, _ = origin(response.url)
    if scheme == "https" and host == origin(base)[1]:
        return f"https://{host_of(response.url)}"
    other = host_of(response.url)
    response.close()
    raise ProtocolError(
        f"{registry} is not a registry",
        why=f"/v2/ there leads to {printable(other, 100)}",
        fix=f"where that is the registry, write {printable(other, 100)} in the image's name",
    )


def _no_registry(registry: str, status: int, data: bytes, kind: str) -> ProtocolError:
    page = " with a page for people (HTML)" if looks_like_html(data, kind) else ""
    return ProtocolError(
        f"{registry} is not a registry",
        why=f"it answers {status} at /v2/{page}",
        fix="check the registry's name and port in the image's name",
    )

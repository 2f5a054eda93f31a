"""One registry host: found, logged in to, and asked; from many threads at once.

A login is sent to the registry itself and to the token server that its challenge names, to nobody else. A
stored login that is refused does not stop what everybody may read; see `RegistrySession.request`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hostbuild.errors import AuthenticationError, HostbuildError
from hostbuild.model import Event, EventCallback, ignore_event
from hostbuild.registry.answers import read_messages, read_some, refusal, status_text, warning_texts
from hostbuild.registry.authority import Asked, Authority, Grant
from hostbuild.registry.docker_config import canonical_registry
from hostbuild.registry.flights import Flights
from hostbuild.registry.ping import Ground, find_challenge, find_registry, origin
from hostbuild.registry.tokens import Scopes, pull_only

if TYPE_CHECKING:
    from hostbuild.http import Body, Response, Transport
    from hostbuild.registry.credentials import CredentialStore

#: Different warnings of one registry that are shown.
MAX_WARNINGS = 20


class RegistrySession:
    """Requests to one registry: scheme, challenge, tokens and login are its business; safe from many threads.

    `registry` is a reference's registry (`docker.io`, `registry.example:5000`). Nothing is sent before the
    first request; what is learnt (scheme, challenge, tokens) lasts as long as the session.
    """

    def __init__(
        self,
        transport: Transport,
        credentials: CredentialStore,
        registry: str,
        on_event: EventCallback = ignore_event,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = canonical_registry(registry)
        self._transport = transport
        self._on_event = on_event
        self._authority = Authority(transport, credentials, self.registry, on_event, clock)
        self._lock = threading.Lock()
        self._ground: Ground | None = None
        self._pings: Flights[Ground] = Flights()
        self._said: set[str] = set()

    def request(
        self,
        method: str,
        path_or_url: str,
        *,
        scopes: Sequence[str],
        headers: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
        retry: bool = True,
        what: str = "",
        stream: bool = False,
    ) -> Response:
        """The answer to one request, also a refusing one (403, 404, 5xx), except 401: that is raised.

        `path_or_url` is `/v2/…`, or an absolute URL (a Location already joined). `scopes` are what a token
        must allow, the one that matters first: ("repository:team/app:push,pull", "repository:base:pull").
        After a 401 the login or token is made anew and the request sent again, once; where the scopes only
        pull and a stored login is refused (401, 403), once more without it. A URL of another host is asked
        without any login, and its answer returned whatever it is. The caller closes the answer.

        Raises AuthenticationError (401 in the end, or a refused login; says which one, and what to do),
        ProtocolError (no registry there), CredentialsError, and what the transport raises.
        """
        ground = self._find()
        url = _locate(ground, path_or_url)
        wanted = tuple(scopes)

        own = origin(url) == origin(ground.base)

        def send(grant: Grant) -> Response:
            complete = {**(headers or {}), **({"Authorization": grant.header} if grant.header else {})}
            answer = self._transport.request(
                method, url, headers=complete, body=body, retry=retry, what=what, trusted=own,
                stream=stream,
            )  # fmt: skip
            self._pass_on_warnings(answer)
            return answer

        if not own:
            return send(Grant())
        grant = self._authority.grant(ground.asked, wanted)
        response = send(grant)
        if response.status == 401 and _is_at(response, url):
            response, grant = self._after_401(response, grant, wanted, send)
        if response.status in (401, 403) and _is_at(response, url):
            response, grant = self._without_login(response, grant, wanted, send)
        if response.status == 401 and _is_at(response, url):
            raise self._explained(response, what, wanted, grant)
        if response.status < 400:
            self._authority.accepted(grant)
        return response

    def url(self, path: str) -> str:
        """The absolute URL of `/v2/…` on this registry; finds the scheme first (may ping, may raise)."""
        return self._find().base + path

    def verify(self) -> bool:
        """Whether the registry takes the login that there is; False where it asks for none and so cannot
        tell.

        Raises AuthenticationError where it is refused.
        """
        if self._find().asked is None:
            return False
        what = f"logging in to {self.registry}"
        response = self.request("GET", "/v2/", scopes=(), what=what)
        if response.status != 200:
            raise self.error(response, what)
        _drain(response)
        return True

    def error(self, response: Response, what: str, scopes: Sequence[str] = ()) -> HostbuildError:
        """As `registry_error(response, what)`, and for 401 and 403 it says with which login; closes
        `response`.
        """
        wanted = tuple(scopes)
        return self._explained(response, what, wanted, Grant(credential=self._authority.login(wanted)))

    def _after_401(
        self, response: Response, grant: Grant, scopes: Scopes, send: Callable[[Grant], Response]
    ) -> tuple[Response, Grant]:
        """Another answer with a login or token made anew, where there is something to make; else the same."""
        challenge = find_challenge(response)
        page = response.url
        with self._lock:
            ground = self._ground
            if ground is not None and challenge is not None:
                ground = self._ground = ground._replace(asked=Asked(challenge, page))
        asked = ground.asked if ground is not None else None
        more = challenge.get("scope") if challenge is not None else ""
        again = self._authority.again(asked, more, grant, scopes)
        if again is None:
            return response, grant
        _drain(response)
        return send(again), again

    def _without_login(
        self, response: Response, grant: Grant, scopes: Scopes, send: Callable[[Grant], Response]
    ) -> tuple[Response, Grant]:
        """Another answer to a request that only reads and whose login was refused, if it is better; else the
        same.
        """
        if grant.credential is None or not pull_only(scopes):
            return response, grant
        anonymous = self._authority.without_login(self._ground.asked if self._ground else None, scopes)
        if anonymous is None:
            return response, grant
        other = send(anonymous)
        if other.status in (401, 403):
            _drain(other)
            return response, grant
        why = f"{self.registry} answered {status_text(response.status)}"
        _drain(response)
        self._authority.went_without(grant.credential, scopes, why)
        return other, anonymous

    def _explained(self, response: Response, what: str, scopes: Scopes, grant: Grant) -> HostbuildError:
        messages = read_messages(response, self._authority.secrets.hide)
        error = refusal(response.status, messages, what, self.registry)
        if isinstance(error, AuthenticationError):
            return self._authority.explained(error, scopes, grant.credential)
        return error

    def _find(self) -> Ground:
        def make() -> Ground:
            ground = self._ground = find_registry(self._transport, self.registry)
            return ground

        return self._ground or self._pings.run("ping", lambda: self._ground, make)

    def _pass_on_warnings(self, response: Response) -> None:
        for text in warning_texts(response.headers.get("Warning", ""), self._authority.secrets.hide):
            with self._lock:
                new = text not in self._said and len(self._said) < MAX_WARNINGS
                if new:
                    self._said.add(text)
            if new:
                self._on_event(Event("warning", f"{self.registry} says: {text}"))


def _locate(ground: Ground, path_or_url: str) -> str:
    """The absolute URL. A registry behind a proxy that ends TLS names itself with http: https is kept."""
    if path_or_url.startswith("/"):
        return ground.base + path_or_url
    host = urlsplit(path_or_url).netloc
    if path_or_url.startswith("http://") and ground.base == f"https://{host}":
        return "https" + path_or_url.removeprefix("http")
    return path_or_url


def _is_at(response: Response, url: str) -> bool:
    """Whether it is the registry that answered, not who it redirected to."""
    return origin(response.url) == origin(url)


def _drain(response: Response) -> None:
    """Read a small answer to its end, so that its connection is used again."""
    with response:
        read_some(response)

"""Bearer tokens: asked for at a realm, kept while they are good, shared by all threads.

Sources: distribution specification's token authentication ("Docker Registry v2 authentication", "OAuth2 token
authentication"), RFC 6749, 6 (refresh tokens).
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit, urlunsplit

from hostbuild.errors import AuthenticationError, HostbuildError, ProtocolError, UnreachableError
from hostbuild.records import field, record
from hostbuild.registry.answers import LATER, explain, host_of, printable, read_messages, refusal
from hostbuild.registry.flights import Flights
from hostbuild.registry.helpers import TOKEN_USER
from hostbuild.registry.patience import Pacing, Patience
from hostbuild.registry.scrub import Secrets

if TYPE_CHECKING:
    from hostbuild.http import Response, Transport
    from hostbuild.registry.answers import Hide
    from hostbuild.registry.docker_config import Credential

#: Bytes that a token server's answer may have.
MAX_REPLY = 64 * 1024
#: Seconds that a token lives where the answer does not say it (the specification's default).
DEFAULT_LIFETIME = 60.0
#: A token is renewed so many seconds before it ends, or after three quarters of a short life.
SLACK = 10.0
CLIENT_ID = "hostbuild"

PACING = Pacing()

_TOKEN = re.compile(r"[!-~]+")

Scopes = tuple[str, ...]


@record(eq=False)
class Token:
    """A bearer token; good until `expires` (the clock that it was fetched with). Its repr does not show it.

    `identity_token` is a newer one that came with it; `credential` the login that it was given for.
    """

    value: str = field(repr=False)
    expires: float
    slack: float
    identity_token: str = field(default="", repr=False)
    credential: Credential | None = None

    def is_fresh(self, now: float) -> bool:
        """Whether it lasts a while yet."""
        return now < self.expires - self.slack


class TokenCache:
    """Tokens by the scopes they were asked for; safe from many threads, one request for all that wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens: dict[Scopes, Token] = {}
        self._flights: Flights[Token] = Flights()

    def get(self, scopes: Scopes, fetch: Callable[[], Token], *, refused: Token | None = None) -> Token:
        """A fresh token for these scopes, or for more, that is not `refused`; else what `fetch` gives."""

        def make() -> Token:
            token = fetch()
            self._tokens[scopes] = token
            return token

        return self._flights.run(scopes, lambda: self._held(scopes, refused), make)

    def _held(self, scopes: Scopes, refused: Token | None) -> Token | None:
        now = self._clock()
        exact = self._tokens.get(scopes)
        if exact is not None and exact is not refused and exact.is_fresh(now):
            return exact
        for others, token in list(self._tokens.items()):
            if token is not refused and token.is_fresh(now) and covers(others, scopes):
                return token
        return None


def parse_scope(scope: str) -> tuple[str, frozenset[str]]:
    """`repository:team/app:push,pull` as its resource and its actions."""
    resource, _, actions = scope.rpartition(":")
    return resource, frozenset(actions.split(","))


def covers(having: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether all that `wanted` allows is allowed by `having`, too; nothing wanted is covered by nothing
    only.
    """
    allowed: dict[str, frozenset[str]] = {}
    for scope in having:
        resource, actions = parse_scope(scope)
        allowed[resource] = allowed.get(resource, frozenset()) | actions
    wanted = tuple(wanted)
    if not wanted:
        return not allowed
    return all(
        actions <= allowed.get(resource, frozenset()) for resource, actions in map(parse_scope, wanted)
    )


def pull_only(scopes: Sequence[str]) -> bool:
    """Whether these scopes read only, and something."""
    return bool(scopes) and all(parse_scope(scope)[1] <= {"pull"} for scope in scopes)


def basic(user: str, secret: str) -> str:
    """The Authorization of RFC 7617, in UTF-8."""
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode("ascii")


def realm_url(realm: str, base: str, plain_http_allowed: Callable[[str], bool], hide: Hide = str) -> str:
    """Where tokens are asked for: `realm` as a challenge of the page `base` has it, absolute or relative.
    `hide` is as for `answers.printable`.

    Raises ProtocolError where it is no URL, and where it would send a login in the clear.
    """
    try:
        parts = urlsplit(urljoin(base, realm))
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = SplitResult("", "", "", "", "")
    registry = host_of(base)
    if not host or parts.scheme not in ("http", "https"):
        raise ProtocolError(
            f"{registry} names no usable token server",
            why=f"its challenge has the realm {printable(realm, hide=hide)!r}",
        )
    if parts.scheme == "http" and not plain_http_allowed(host):
        plain = urlunsplit(parts._replace(query=""))
        raise ProtocolError(
            f"{registry} wants a login to be sent in the clear",
            why=f"its token server is {printable(plain, hide=hide)}: plain HTTP",
            fix="have the registry name a token server with https, or accept it with --tls-verify=false",
        )
    shown = f"[{host}]" if ":" in host else host
    netloc = shown if port is None else f"{shown}:{port}"
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))


def fetch_token(
    transport: Transport,
    realm: str,
    service: str,
    scopes: Scopes,
    credential: Credential | None,
    *,
    clock: Callable[[], float] = time.monotonic,
    pacing: Pacing = PACING,
    secrets: Secrets | None = None,
) -> Token:
    """Ask the realm (an absolute URL) for a token for `scopes`; without a credential an anonymous one.

    `secrets` learns what is sent and what comes; no message shows any of it.

    Raises AuthenticationError where the login is refused (401, 403), ProtocolError for what is not a token
    server's answer, and what the transport raises.
    """
    host = host_of(realm)
    what = f"asking {host} for a token"
    asked = clock()
    secrets = secrets or Secrets()
    secrets.add_login(credential)
    login = _login_of(credential)
    secrets.add(login.removeprefix("Basic "))
    response = None
    if credential is not None and credential.identity_token:
        form = _form(service, scopes, credential.identity_token)
        response = _post(transport, realm, form, what, pacing, hide=secrets.hide)
        if response.status in (404, 405):  # not every token server speaks OAuth 2: all speak GET
            response.close()
            response = None
    if response is None:
        response = _get(transport, _address(realm, service, scopes), login, what)
    if response.status != 200:
        raise _refused(response, what, host, secrets.hide)
    token = _token(response, host, asked, secrets.hide)
    secrets.add(token.value, token.identity_token)
    return token


def _login_of(credential: Credential | None) -> str:
    if credential is None:
        return ""
    if credential.secret:
        return basic(credential.user, credential.secret)
    return basic(credential.user or TOKEN_USER, credential.identity_token)


def _address(realm: str, service: str, scopes: Scopes) -> str:
    query = urlencode([*([("service", service)] if service else []), *(("scope", scope) for scope in scopes)])
    if not query:
        return realm
    return f"{realm}{'&' if '?' in realm else '?'}{query}"


def _form(service: str, scopes: Scopes, identity_token: str) -> bytes:
    fields = {
        "grant_type": "refresh_token",
        "service": service,
        "client_id": CLIENT_ID,
        "scope": " ".join(scopes),
        "refresh_token": identity_token,
    }
    return urlencode(fields).encode("ascii")


def _get(transport: Transport, url: str, authorization: str, what: str) -> Response:
    headers = {"Accept": "application/json"}
    if authorization:
        headers["Authorization"] = authorization
    return transport.request("GET", url, headers=headers, what=what, trusted=False)


def _post(transport: Transport, url: str, form: bytes, what: str, pacing: Pacing, *, hide: Hide) -> Response:
    """Send a form that holds a login: the transport takes it to no other server."""
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    patience = Patience(pacing, what)
    while True:
        try:
            response = transport.request(
                "POST", url, headers=headers, body=form, retry=False, what=what, trusted=False
            )
        except UnreachableError as error:
            patience.spend(error)
            continue
        if response.status not in LATER:
            return response
        asked, date = response.headers.get("Retry-After", ""), response.headers.get("Date", "")
        patience.spend(_refused(response, what, host_of(url), hide), asked=asked, date=date)


def _refused(response: Response, what: str, host: str, hide: Hide) -> HostbuildError:
    messages = read_messages(response, hide)
    # RFC 6749, 5.2: a refresh token that is no good is answered with 400 invalid_grant.
    if response.status == 400 and any(message.code == "invalid_grant" for message in messages):
        return AuthenticationError(
            f"{what} failed",
            why=explain(response.status, messages, host),
            status=response.status,
            codes=tuple(message.code for message in messages),
        )
    return refusal(response.status, messages, what, host)


def _token(response: Response, host: str, asked: float, hide: Hide) -> Token:
    with response:
        kind = response.headers.get("Content-Type", "")
        date = response.headers.get("Date", "")
        data = response.read(MAX_REPLY)
    reply, why = _object(data, printable(kind, 60, hide=hide))
    if reply is None:
        raise ProtocolError(
            f"{host} gave no token",
            why=why,
            fix="what answered may be a proxy or a page to log in at: ask who runs the registry",
        )
    value = reply.get("token") or reply.get("access_token")
    if not isinstance(value, str) or _TOKEN.fullmatch(value) is None:
        raise ProtocolError(f"{host} gave no token", why="its answer has neither token nor access_token")
    lifetime, age = _lifetime(reply), _age(reply, date)
    if age < lifetime:  # else the server's times contradict each other
        lifetime -= age
    renewed = reply.get("refresh_token")
    return Token(
        value, asked + lifetime, min(SLACK, lifetime / 4), renewed if isinstance(renewed, str) else ""
    )


def _object(data: bytes, kind: str) -> tuple[dict[str, Any] | None, str]:
    """The JSON object that an answer of the content type `kind` holds, or None and why there is none."""
    other = f" but {kind}" if kind and "json" not in kind.lower() else ""
    try:
        reply = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None, f"its answer is not JSON{other}"
    except ValueError:  # Python refuses to read integers of thousands of digits
        return None, "its answer holds a number of too many digits"
    except RecursionError:
        return None, "its answer is nested too deeply"
    return (reply, "") if isinstance(reply, dict) else (None, "its answer is JSON, but not an object")


def _lifetime(reply: dict[str, Any]) -> float:
    seconds = reply.get("expires_in")
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit() and len(seconds) < 12:
        seconds = int(seconds)
    # Zero is what servers write that do not know; no one gives out a token that is dead.
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e9:
        return DEFAULT_LIFETIME
    return float(seconds)


def _age(reply: dict[str, Any], date: str) -> float:
    """Seconds since a token was issued, by the server's own clock alone: ours may be wrong."""
    issued = reply.get("issued_at")
    if not isinstance(issued, str) or not date:
        return 0.0
    try:
        age = parsedate_to_datetime(date) - datetime.fromisoformat(issued)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return age.total_seconds() if timedelta(0) < age < timedelta(days=1) else 0.0

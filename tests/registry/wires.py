"""A transport without a network: routes answer, and what was asked is kept."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from requests.structures import CaseInsensitiveDict

from hostbuild.errors import HostbuildError, TransferBrokenError, UnreachableError
from hostbuild.http import Body, Response, Transport
from hostbuild.model import Access, Event
from hostbuild.process.command import Captured


@dataclass
class Ask:
    """One request as the fake transport was given it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    trusted: bool = True
    retry: bool = True

    @property
    def authorization(self) -> str:
        return self.headers.get("Authorization", "")

    @property
    def login(self) -> str:
        """`user:password` of a Basic Authorization."""
        kind, _, rest = self.authorization.partition(" ")
        return base64.b64decode(rest).decode() if kind == "Basic" else ""

    @property
    def bearer(self) -> str:
        kind, _, rest = self.authorization.partition(" ")
        return rest if kind == "Bearer" else ""

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.url).query)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    def __str__(self) -> str:
        return f"{self.method} {self.url.partition('?')[0]}"


@dataclass
class Reply:
    """What a route answers; `url` where redirects ended, "" the one that was asked."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


Route = Callable[[Ask], Reply | HostbuildError]


class _Incoming:
    length_remaining: int | None = None

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        return self._stream.read(-1 if amt is None else amt)

    def close(self) -> None: ...

    def release_conn(self) -> None: ...


def _broken(error: Exception, came: int) -> HostbuildError:
    return TransferBrokenError("the answer broke", why=f"{error!r} after {came} bytes")


def response_of(reply: Reply, ask: Ask) -> Response:
    return Response(
        reply.status,
        reply.url or ask.url,
        CaseInsensitiveDict({"Content-Length": str(len(reply.body)), **reply.headers}),
        _Incoming(reply.body),
        method=ask.method,
        broken=_broken,
        pause=lambda _seconds: None,
    )


class FakeTransport(Transport):
    """Answers from `routes`: host (with port), or `scheme://host`, to a function."""

    def __init__(self, access: Access | None = None, **routes: Route) -> None:
        super().__init__(access or Access())
        self.routes: dict[str, Route] = dict(routes)
        self.asks: list[Ask] = []
        self._asks_lock = threading.Lock()
        self.plain: set[str] = set()

    def plain_http_allowed(self, host: str) -> bool:
        return not self.access.verify or host.partition(":")[0] in self.plain

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
        retry: bool = True,
        what: str = "",
        trusted: bool = True,
        stream: bool = False,
    ) -> Response:
        data = body if isinstance(body, bytes) else body.open(0).read() if body is not None else b""
        ask = Ask(method, url, dict(headers or {}), data, trusted, retry)
        with self._asks_lock:
            self.asks.append(ask)
        parts = urlsplit(url)
        route = self.routes.get(f"{parts.scheme}://{parts.netloc}") or self.routes.get(parts.netloc)
        if route is None:
            raise UnreachableError(f"{what} failed: {parts.netloc} cannot be reached")
        reply = route(ask)
        if isinstance(reply, HostbuildError):
            raise reply
        return response_of(reply, ask)

    @property
    def story(self) -> list[str]:
        return [str(ask) for ask in self.asks]

    def to(self, host: str) -> list[Ask]:
        return [ask for ask in self.asks if urlsplit(ask.url).netloc == host]


class Events:
    """Keeps events; `warnings` are the texts of those."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.all.append(event)

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.all if event.kind == "warning"]


class FakeHelpers:
    """Stands in for docker-credential-* programs; `stores` maps a helper's name to server: (user, secret)."""

    def __init__(self, **stores: dict[str, tuple[str, str]]) -> None:
        self.stores = stores
        self.calls: list[tuple[str, str, str]] = []
        self.argv: list[Sequence[str]] = []

    def __call__(
        self,
        argv: Sequence[str],
        *,
        cwd: Any,
        env: Mapping[str, str],
        timeout: float | None,
        stdin: bytes | None,
    ) -> Captured:
        self.argv.append(list(argv))
        name, verb = argv[0].removeprefix("docker-credential-"), argv[1]
        text = (stdin or b"").decode()
        store = self.stores[name]
        if verb == "store":
            document = json.loads(text)
            text = document["ServerURL"]
            store[text] = (document["Username"], document["Secret"])
            self.calls.append((name, verb, text))
            return Captured(0, b"", "")
        self.calls.append((name, verb, text))
        if text not in store:
            return Captured(1, b"credentials not found in native keychain\n", "")
        if verb == "erase":
            del store[text]
            return Captured(0, b"", "")
        user, secret = store[text]
        return Captured(0, json.dumps({"ServerURL": text, "Username": user, "Secret": secret}).encode(), "")


def auth(user: str, secret: str) -> dict[str, str]:
    """An entry of `auths`."""
    return {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode()}


def errors_body(code: str, message: str = "") -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()

"""Registries and a token server that answer a fake transport."""

from __future__ import annotations

import json
import threading
from typing import Any

from hostbuild.model import Access
from hostbuild.registry.credentials import CredentialStore
from hostbuild.registry.session import RegistrySession

from .wires import Ask, Events, FakeTransport, Reply, Route, errors_body

REG = "reg.example"
HTML = {"Content-Type": "text/html; charset=utf-8"}
PULL = ("repository:team/app:pull",)
PUSH = ("repository:team/app:push,pull",)


class TokenWorld:
    """A registry and its token server; users and what they may do; tokens are their own text."""

    def __init__(self) -> None:
        self.users = {"joe": "secret"}
        self.public = {"repository:team/app:pull"}
        self.lifetime = 300
        self.count = 0
        self.valid: set[str] = set()
        self.ping = 401
        self.lock = threading.Lock()

    def challenge(self, scope: str = "", error: str = "") -> dict[str, str]:
        more = (f',scope="{scope}"' if scope else "") + (f',error="{error}"' if error else "")
        return {"WWW-Authenticate": f'Bearer realm="https://auth.example/token",service="{REG}"{more}'}

    def registry(self, ask: Ask) -> Reply:
        if ask.path == "/v2/":
            if ask.bearer in self.valid:
                return Reply(200, b"{}")
            return Reply(self.ping, errors_body("UNAUTHORIZED"), self.challenge() if self.ping == 401 else {})
        need = (
            "repository:team/app:push,pull" if ask.method in ("PUT", "POST") else "repository:team/app:pull"
        )
        if ask.bearer not in self.valid:
            return Reply(401, errors_body("UNAUTHORIZED", "authentication required"), self.challenge(need))
        granted = json.loads(ask.bearer.partition("!")[2].replace("~", '"'))
        if need not in granted and not (need.endswith(":pull") and PUSH[0] in granted):
            body = errors_body("DENIED", "insufficient scope")
            return Reply(401, body, self.challenge(need, "insufficient_scope"))
        return Reply(200, b"content")

    def tokens(self, ask: Ask) -> Reply:
        user, _, secret = ask.login.partition(":")
        if user and self.users.get(user) != secret:
            return Reply(401, b'{"details": "incorrect username or password"}')
        scopes = ask.query.get("scope", [])
        granted = [scope for scope in scopes if user or scope in self.public]
        with self.lock:
            self.count += 1
            value = f"t{self.count}!" + json.dumps(granted, separators=(",", ":")).replace('"', "~")
            self.valid.add(value)
        return Reply(200, json.dumps({"token": value, "expires_in": self.lifetime}).encode())

    def session(
        self, events: Events | None = None, user: str = "", **more: Any
    ) -> tuple[RegistrySession, FakeTransport]:
        access = Access(credentials=((REG, user),) if user else ())
        transport = FakeTransport(access, **{REG: self.registry, "auth.example": self.tokens})
        events = events or Events()
        return RegistrySession(transport, CredentialStore(access), REG, events, **more), transport


def basic_route(users: dict[str, str], *, ping: int = 401, public: bool = False) -> Route:
    def route(ask: Ask) -> Reply:
        user, _, secret = ask.login.partition(":")
        known = bool(user) and users.get(user) == secret
        if known or (public and not user and ask.method in ("GET", "HEAD") and ask.path != "/v2/"):
            return Reply(200, b"{}")
        if ask.path == "/v2/" and ping == 200:
            return Reply(200, b"{}")
        return Reply(401, errors_body("UNAUTHORIZED"), {"WWW-Authenticate": 'Basic realm="reg"'})

    return route


def opened(route: Route, access: Access | None = None, events: Events | None = None, **more: Any) -> tuple[
    RegistrySession, FakeTransport
]:  # fmt: skip
    access = access or Access()
    transport = FakeTransport(access, **{REG: route})
    return RegistrySession(transport, CredentialStore(access, **more), REG, events or Events()), transport


def get(session: RegistrySession, method: str = "GET", scopes: tuple[str, ...] = PULL, **more: Any) -> int:
    path = more.pop("path", "/v2/team/app/manifests/v1")
    with session.request(method, path, scopes=scopes, what="fetching team/app:v1", **more) as response:
        return response.status

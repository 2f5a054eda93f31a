"""A token server of the distribution project's specification, whose tokens live for seconds.

It signs ES256 tokens that docker-registry and distribution verify, gives each account what it may do and
not more, and counts what it was asked. Registries accept a token for a minute after its end (for clocks that
differ), so the end written into a token lies that minute earlier: a token is refused when its `lifetime` is
over, by the next whole second.
Sources: distribution's "Token Authentication Specification" and "Registry v2 authentication using OAuth2".
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.rig.tls import Authority

SERVICE = "registry.test"
ISSUER = "tokens.test"
_REGISTRY_LEEWAY = 60


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """A key, its self-signed certificate, and JSON web tokens signed by it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def bundle(self) -> bytes:
        """What a registry takes as `rootcertbundle`."""
        return self._certificate.public_bytes(Encoding.PEM)

    def sign(self, claims: Mapping[str, Any]) -> str:
        chain = [base64.b64encode(self._certificate.public_bytes(Encoding.DER)).decode()]
        header = {"typ": "JWT", "alg": "ES256", "x5c": chain}
        text = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        r, s = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@dataclass(frozen=True)
class Account:
    """Who may do what. `grants` maps repositories ("*": any) to actions; `refresh` is the identity token."""

    password: str
    grants: Mapping[str, frozenset[str]]
    refresh: str = ""


ALL_ACTIONS = frozenset({"pull", "push", "delete"})
ANYBODY_PULLS = Account("", {"*": frozenset({"pull"})})


class TokenRequest(NamedTuple):
    """One request: `account` "" is anonymous; `granted` "" when it was refused."""

    method: str
    account: str
    scopes: tuple[str, ...]
    granted: tuple[str, ...]
    status: int
    headers: Mapping[str, str]


@dataclass
class TokenServer:
    """The server; a context manager. Change its fields while it runs to change how it answers.

    `accounts` by user name; `anonymous` what one gets without credentials (None: refused). `lifetime` seconds
    a token lives; `told_lifetime` what `expires_in` says (None: the truth, 0: not said). `field_name` is the
    answer's key; `posts` False answers 404 to POST, as old servers do; `broken` answers that status to all.
    `ends` are the times (seconds since the epoch) from which on registries refuse the tokens given so far.
    """

    accounts: dict[str, Account] = field(default_factory=dict)
    anonymous: Account | None = None
    lifetime: float = 300
    told_lifetime: int | None = None
    field_name: str = "token"
    posts: bool = True
    broken: int = 0
    authority: Authority | None = None
    signer: Signer = field(default_factory=Signer)
    requests: list[TokenRequest] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner._answer_get(self)

            def do_POST(self) -> None:
                owner._answer_post(self)

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Requests are recorded, not printed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        scheme = "http"
        if self.authority is not None:
            context = self.authority.server_context()
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        # By name: crane refuses a realm that is a private address and not the registry's own.
        self.realm = f"{scheme}://localhost:{self._server.server_address[1]}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def registry_auth(self, directory: Path) -> dict[str, Any]:
        """The `auth` section of a registry's configuration; the certificate is written to `directory`."""
        bundle = directory / "tokens.crt"
        bundle.write_bytes(self.signer.bundle)
        values = {"realm": self.realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(bundle)}
        return {"token": values}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What the answers are made of.

    def _granted(self, account: Account, scopes: tuple[str, ...]) -> list[dict[str, Any]]:
        """Of what is asked for, what the account may: less than asked is an answer, not an error."""
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = account.grants.get(name, account.grants.get("*", frozenset()))
            may = sorted(set(actions.split(",")) & allowed) if kind == "repository" else []
            if may:
                access.append({"type": kind, "name": name, "actions": may})
        return access

    def _token(self, user: str, access: list[dict[str, Any]]) -> dict[str, Any]:
        now = time.time()
        end = math.ceil(now + self.lifetime)
        self.ends.append(end)
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "exp": end - _REGISTRY_LEEWAY,
            "nbf": int(now - 2 * _REGISTRY_LEEWAY),
            "iat": int(now),
            "jti": f"{time.monotonic_ns()}",
            "access": access,
        }
        answer: dict[str, Any] = {self.field_name: self.signer.sign(claims)}
        told = int(self.lifetime) if self.told_lifetime is None else self.told_lifetime
        if told:
            answer["expires_in"] = told
            answer["issued_at"] = dt.datetime.fromtimestamp(now, dt.UTC).isoformat()
        return answer

    def _finish(
        self, handler: BaseHTTPRequestHandler, user: str, account: Account | None, scopes: tuple[str, ...]
    ) -> None:
        status, document = 200, {}
        access: list[dict[str, Any]] = []
        if self.broken:
            status, document = self.broken, {"errors": [{"code": "UNKNOWN", "message": "broken on purpose"}]}
        elif account is None:
            status, document = 401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}
        else:
            access = self._granted(account, scopes)
            document = self._token(user, access)
        granted = tuple(f"{item['type']}:{item['name']}:{','.join(item['actions'])}" for item in access)
        headers = dict(handler.headers.items())
        self.requests.append(
            TokenRequest(handler.command, user if account else "", scopes, granted, status, headers)
        )
        send_json(handler, status, document)

    def _answer_get(self, handler: BaseHTTPRequestHandler) -> None:
        query = parse_qs(urlsplit(handler.path).query)
        scopes = tuple(text for value in query.get("scope", []) for text in value.split(" ") if text)
        kind, _, encoded = handler.headers.get("Authorization", "").partition(" ")
        if not kind:
            self._finish(handler, "", self.anonymous, scopes)
            return
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        account = self.accounts.get(user)
        good = kind == "Basic" and account is not None and account.password == password
        self._finish(handler, user, account if good else None, scopes)

    def _answer_post(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        scopes = tuple(text for text in form.get("scope", "").split(" ") if text)
        if not self.posts:
            self.requests.append(TokenRequest("POST", "", scopes, (), 404, dict(handler.headers.items())))
            send_json(handler, 404, {})
            return
        user, found = "", None
        for name, account in self.accounts.items():
            by_refresh = form.get("grant_type") == "refresh_token" and account.refresh
            by_password = form.get("grant_type") == "password" and form.get("username") == name
            if (by_refresh and form.get("refresh_token") == account.refresh) or (
                by_password and form.get("password") == account.password
            ):
                user, found = name, account
        self._finish(handler, user, found, scopes)


def send_json(handler: BaseHTTPRequestHandler, status: int, document: Mapping[str, Any]) -> None:
    """Answer with one JSON document."""
    data = json.dumps(document).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hostbuild.errors import (
    AuthenticationError,
    HostbuildError,
    ProtocolError,
    TransferBrokenError,
    UnreachableError,
)
from hostbuild.http import Transport
from hostbuild.model import Access
from hostbuild.registry.docker_config import Credential
from hostbuild.registry.tokens import (
    MAX_REPLY,
    Token,
    covers,
    fetch_token,
    parse_scope,
    pull_only,
    realm_url,
)

from .token_values import NO_WAIT, PULL, PUSH, REALM, Clock
from .wires import Ask, FakeTransport, Reply


def replying(document: Any = None, **more: Any) -> FakeTransport:
    body = document if isinstance(document, bytes) else json.dumps(document or {"token": "t1"}).encode()
    return FakeTransport(None, **{"auth.example": lambda _ask: Reply(body=body, **more)})


def ask(transport: FakeTransport, credential: Credential | None = None, **more: Any) -> Token:
    arguments: dict[str, Any] = {"realm": REALM, "service": "registry.example", "scopes": PUSH, **more}
    return fetch_token(transport, credential=credential, pacing=NO_WAIT, **arguments)


def test_an_anonymous_token_by_get_with_each_scope_in_order() -> None:
    transport = replying()
    assert ask(transport).value == "t1"
    (seen,) = transport.asks
    assert (seen.method, seen.authorization, seen.trusted) == ("GET", "", False)
    assert seen.query == {"service": ["registry.example"], "scope": list(PUSH)}


def test_a_login_goes_as_basic_in_utf8() -> None:
    transport = replying()
    assert ask(transport, Credential("joe", "pässword")).credential is None
    assert transport.asks[0].login == "joe:pässword"


def test_a_realm_keeps_its_own_query() -> None:
    transport = replying()
    ask(transport, realm=f"{REALM}?tenant=a%20b", service="")
    assert transport.asks[0].query == {"tenant": ["a b"], "scope": list(PUSH)}
    ask(transport, realm=REALM, service="", scopes=())
    assert transport.asks[1].url == REALM


def test_access_token_is_as_good() -> None:
    assert ask(replying({"access_token": "t2"})).value == "t2"
    assert ask(replying({"token": "", "access_token": "t2"})).value == "t2"


def test_an_identity_token_goes_by_post() -> None:
    transport = replying({"access_token": "t", "refresh_token": "next"})
    token = ask(transport, Credential("joe", "", "idt"))
    (seen,) = transport.asks
    assert (seen.method, seen.url, seen.authorization, seen.trusted) == ("POST", REALM, "", False)
    assert seen.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert seen.form == {
        "grant_type": "refresh_token",
        "service": "registry.example",
        "client_id": "hostbuild",
        "scope": " ".join(PUSH),
        "refresh_token": "idt",
    }
    assert token.identity_token == "next"


@pytest.mark.parametrize("status", [404, 405])
def test_a_token_server_without_post_is_asked_by_get(status: int) -> None:
    def route(asked: Ask) -> Reply:
        return Reply(status) if asked.method == "POST" else Reply(body=b'{"token": "t"}')

    transport = FakeTransport(None, **{"auth.example": route})
    assert ask(transport, Credential("joe", "password", "idt")).value == "t"
    assert [seen.method for seen in transport.asks] == ["POST", "GET"]
    assert transport.asks[1].login == "joe:password"
    ask(transport, Credential(identity_token="idt"))
    assert transport.asks[3].login == "<token>:idt"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "credential", [None, Credential("joe", "hunter2"), Credential(identity_token="hunter3")]
)
def test_a_refusal(status: int, credential: Credential | None) -> None:
    transport = replying({"details": "incorrect username or password"}, status=status)
    with pytest.raises(AuthenticationError, match="incorrect username or password") as caught:
        ask(transport, credential)
    assert caught.value.extra["status"] == status
    assert "auth.example" in str(caught.value)
    assert "hunter" not in f"{caught.value!r}{caught.value}{caught.value.fix}"


def test_a_refused_refresh_token() -> None:
    transport = replying({"error": "invalid_grant", "error_description": "expired"}, status=400)
    with pytest.raises(AuthenticationError, match="invalid_grant: expired"):
        ask(transport, Credential(identity_token="idt"))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>log in</html>",
        b"",
        b"[]",
        b"{}",
        b'{"token": 7}',
        b'{"token": "two words"}',
        b'{"token": "line\\r\\nX-Evil: 1"}',
        b'{"token": "\xc3\xa4"}',
        b"[" * 50_000,
    ],
)
def test_answers_that_are_no_token(body: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"auth\.example gave no token"):
        ask(replying(body))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[" * 50_000, "its answer is nested too deeply"),
        (
            b'{"token": "t", "expires_in": ' + b"1" * 5000 + b"}",
            "its answer holds a number of too many digits",
        ),
        (b"[]", "its answer is JSON, but not an object"),
        (b"", "its answer is not JSON"),
        (b"\xff", "its answer is not JSON"),
    ],
)
def test_why_an_answer_is_no_token(body: bytes, why: str) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    transport = FakeTransport(None, **{"auth.example": lambda _ask: Reply(200, body, headers)})
    with pytest.raises(ProtocolError) as caught:
        ask(transport)
    assert caught.value.why == why


def test_an_answer_that_is_too_long() -> None:
    exact = b'{"token": "t"}'.ljust(MAX_REPLY)
    assert ask(replying(exact)).value == "t"
    with pytest.raises(ProtocolError, match="too long"):
        ask(replying(exact + b" "))


@pytest.mark.parametrize(
    ("document", "lifetime"),
    [
        ({}, 60),
        ({"expires_in": 300}, 300),
        ({"expires_in": 2}, 2),
        ({"expires_in": "300"}, 300),
        ({"expires_in": 0}, 60),
        ({"expires_in": -5}, 60),
        ({"expires_in": True}, 60),
        ({"expires_in": None}, 60),
        ({"expires_in": 1e300}, 60),
        ({"expires_in": "long"}, 60),
        # A token that the server had kept: it has lived a while, by the server's own clock.
        ({"expires_in": 300, "issued_at": "2026-01-01T00:00:00Z"}, 200),
        ({"expires_in": 300, "issued_at": "2026-01-01T00:00:00.123456789+00:00"}, pytest.approx(200.123456)),
        ({"expires_in": 300, "issued_at": "2026-01-01T00:05:00Z"}, 300),  # in the future
        ({"expires_in": 60, "issued_at": "2026-01-01T00:00:00Z"}, 60),  # dead on arrival: they contradict
        ({"expires_in": 300, "issued_at": "yesterday"}, 300),
        ({"expires_in": 300, "issued_at": "2026-01-01T00:00:00"}, 300),  # of no time zone
        ({"expires_in": 300, "issued_at": 7}, 300),
    ],
)
def test_how_long_a_token_lives(document: dict[str, Any], lifetime: float) -> None:
    clock = Clock()
    headers = {"Date": "Thu, 01 Jan 2026 00:01:40 GMT"}
    token = ask(replying({"token": "t", **document}, headers=headers), clock=clock)
    assert token.expires - clock.now == lifetime
    assert 0 < token.slack <= 10
    assert token.is_fresh(clock.now)
    assert not token.is_fresh(token.expires - token.slack)


def test_no_repr_shows_a_token() -> None:
    token = ask(replying({"token": "hunter2", "refresh_token": "hunter3"}))
    assert "hunter" not in repr(token)


def test_a_post_is_tried_again_while_the_server_is_busy() -> None:
    answers: list[Reply | HostbuildError] = [
        Reply(503),
        TransferBrokenError("broke"),
        Reply(429, headers={"Retry-After": "1"}),
        Reply(body=b'{"token": "t"}'),
    ]
    transport = FakeTransport(None, **{"auth.example": lambda _ask: answers.pop(0)})
    assert ask(transport, Credential(identity_token="idt")).value == "t"
    assert [seen.method for seen in transport.asks] == ["POST"] * 4


def test_a_post_is_given_up() -> None:
    transport = FakeTransport(None, **{"auth.example": lambda _ask: Reply(503)})
    with pytest.raises(UnreachableError, match="503"):
        ask(transport, Credential(identity_token="idt"))
    assert len(transport.asks) < 20


# Realms.


@pytest.mark.parametrize(
    ("realm", "url"),
    [
        ("https://auth.example/token", "https://auth.example/token"),
        ("https://auth.example:8443/t?x=y", "https://auth.example:8443/t?x=y"),
        ("/service/token", "https://reg.example:5000/service/token"),
        ("token", "https://reg.example:5000/v2/token"),
        ("//auth.example/t", "https://auth.example/t"),
        ("https://u:p@auth.example/t#f", "https://auth.example/t"),
        ("https://[::1]:5001/t", "https://[::1]:5001/t"),
        ("http://plain.example/t", "http://plain.example/t"),
    ],
)
def test_realms(realm: str, url: str) -> None:
    assert realm_url(realm, "https://reg.example:5000/v2/", lambda host: host == "plain.example") == url


@pytest.mark.parametrize("realm", ["ftp://x/t", "https://a:b/", "file:///etc/passwd", "https://[::1/"])
def test_realms_that_are_none(realm: str) -> None:
    with pytest.raises(ProtocolError, match=r"reg\.example names no usable token server"):
        realm_url(realm, "https://reg.example/v2/", lambda _host: True)


def test_a_realm_in_the_clear_is_refused() -> None:
    with pytest.raises(ProtocolError, match="plain HTTP") as caught:
        realm_url("http://auth.example/t?secret=1", "https://reg.example/v2/", lambda _host: False)
    assert "secret" not in str(caught.value)
    assert "--tls-verify=false" in caught.value.fix


# Scopes.


def test_scopes() -> None:
    assert parse_scope("repository:host:5000/a:push,pull") == (
        "repository:host:5000/a",
        frozenset({"push", "pull"}),
    )
    assert pull_only(PULL)
    assert pull_only(("repository:a:pull", "repository:b:pull"))
    assert not pull_only(PUSH)
    assert not pull_only(())
    assert not pull_only(("registry:catalog:*",))


def test_what_covers_what() -> None:
    assert covers(PUSH, PULL)
    assert covers(PUSH, ("repository:base:pull", "repository:team/app:push"))
    assert not covers(PULL, PUSH)
    assert not covers(PUSH, ("repository:base:push",))
    assert not covers(PUSH, ("repository:other:pull",))
    assert covers((), ())
    assert not covers(PUSH, ())
    assert not covers((), PULL)


# Over real sockets: no login leaves the token server's own address.


class _Listening(AbstractContextManager["_Listening"]):
    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, bytes], None]) -> None:
        seen = self.seen = list[tuple[str, str, bytes]]()

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                seen.append((self.command, self.headers.get("Authorization", ""), body))
                answer(self, body)

            def log_message(self, *_: object) -> None: ...

        for method in ("GET", "POST"):
            setattr(Handler, f"do_{method}", Handler.handle_any)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def give(handler: BaseHTTPRequestHandler, _body: bytes = b"") -> None:
    data = b'{"token": "t"}'
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


@pytest.mark.parametrize("credential", [Credential("joe", "hunter2"), Credential(identity_token="hunter2")])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_no_login_to_another_server(status: int, credential: Credential) -> None:
    with _Listening(give) as other:

        def away(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
            handler.send_response(status)
            handler.send_header("Location", other.url)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with _Listening(away) as server, Transport(Access()) as transport:
            if credential.identity_token and status in (307, 308):
                with pytest.raises(ProtocolError, match="redirects a POST with its body"):
                    fetch_token(transport, server.url, "s", PULL, credential, pacing=NO_WAIT)
            else:
                fetch_token(transport, server.url, "s", PULL, credential, pacing=NO_WAIT)
            assert any(b"hunter2" in body or login for _, login, body in server.seen)
            assert not any(b"hunter2" in body or login for _, login, body in other.seen)


def test_a_real_token_server_is_tried_again() -> None:
    count = []

    def busy(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        count.append(body)
        if len(count) == 1:
            handler.send_response(503)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        elif len(count) == 2:
            handler.close_connection = True  # without an answer
        else:
            give(handler)

    with _Listening(busy) as server, Transport(Access()) as transport:
        got = fetch_token(transport, server.url, "s", PULL, Credential(identity_token="idt"), pacing=NO_WAIT)
    assert got.value == "t"
    assert len(count) == 3
    assert all(b"refresh_token=idt" in body for body in count)

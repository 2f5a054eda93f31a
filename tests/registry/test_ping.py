from __future__ import annotations

import socket

import pytest

from hostbuild.errors import (
    AuthenticationError,
    ProtocolError,
    RegistryError,
    TlsError,
    UnreachableError,
)
from hostbuild.http import Transport
from hostbuild.model import Access
from hostbuild.registry.credentials import CredentialStore
from hostbuild.registry.session import RegistrySession

from .wires import FakeTransport, Reply, Route, errors_body
from .worlds import HTML, REG, get, opened

# The ping.


def plain(answer: Route, *, speaks: str = "http") -> tuple[RegistrySession, FakeTransport]:
    """A registry on this machine that speaks one of the two only."""
    transport = FakeTransport()
    transport.plain = {"localhost"}
    good, bad = ("http", "https") if speaks == "http" else ("https", "http")
    transport.routes[f"{good}://localhost:5000"] = answer
    transport.routes[f"{bad}://localhost:5000"] = lambda _ask: TlsError("wrong", why="other", speaks=speaks)
    return RegistrySession(transport, CredentialStore(Access()), "localhost:5000"), transport


def test_plain_http_is_found_once_and_remembered() -> None:
    session, transport = plain(lambda _ask: Reply(200, b"{}"))
    assert get(session) == 200
    assert get(session) == 200
    assert transport.story == [
        "GET https://localhost:5000/v2/",
        "GET http://localhost:5000/v2/",
        "GET http://localhost:5000/v2/team/app/manifests/v1",
        "GET http://localhost:5000/v2/team/app/manifests/v1",
    ]
    assert session.url("/v2/") == "http://localhost:5000/v2/"


def test_tls_on_this_machine_comes_first() -> None:
    session, transport = plain(lambda _ask: Reply(200, b"{}"), speaks="tls")
    assert get(session) == 200
    assert len(transport.asks) == 2


def test_a_certificate_that_is_not_trusted_is_no_reason_for_plain_http() -> None:
    transport = FakeTransport()
    transport.plain = {"localhost"}
    transport.routes["https://localhost"] = lambda _ask: TlsError("bad", why="self-signed", fix="--ca-file")
    transport.routes["http://localhost"] = lambda _ask: Reply(200, b"{}")
    session = RegistrySession(transport, CredentialStore(Access()), "localhost")
    with pytest.raises(TlsError, match="self-signed"):
        get(session)
    assert len(transport.asks) == 1


def test_plain_http_is_for_this_machine_only() -> None:
    session, transport = opened(
        lambda _ask: TlsError("no TLS", why="plain", fix="--tls-verify=false", speaks="http")
    )
    with pytest.raises(TlsError) as caught:
        get(session)
    assert "--tls-verify=false" in caught.value.fix
    assert transport.story == ["GET https://reg.example/v2/"]


def test_plain_http_where_nothing_is_verified() -> None:
    access = Access(verify=False)
    transport = FakeTransport(access)
    transport.routes["https://reg.example"] = lambda _ask: UnreachableError("refused")
    transport.routes["http://reg.example"] = lambda _ask: Reply(200, b"{}")
    session = RegistrySession(transport, CredentialStore(access), REG)
    assert get(session) == 200
    assert [ask.retry for ask in transport.asks] == [False, False, True]


def test_a_registry_that_is_only_starting_is_waited_for() -> None:
    starting = [UnreachableError("refused"), UnreachableError("refused")]
    transport = FakeTransport()
    transport.plain = {"localhost"}
    good = Reply(200, b"{}")
    wrong = TlsError("no TLS", speaks="http")
    transport.routes["https://localhost:5000"] = lambda _ask: starting.pop() if starting else wrong
    transport.routes["http://localhost:5000"] = lambda _ask: starting.pop() if starting else good
    session = RegistrySession(transport, CredentialStore(Access()), "localhost:5000")
    assert get(session) == 200
    assert [(ask.url[:5], ask.retry) for ask in transport.asks[:4]] == [
        ("https", False),
        ("http:", False),
        ("https", True),
        ("http:", True),
    ]


def test_a_registry_that_cannot_be_reached() -> None:
    transport = FakeTransport()
    session = RegistrySession(transport, CredentialStore(Access()), "nowhere.example")
    with pytest.raises(UnreachableError) as caught:
        get(session)
    assert caught.value.what == "nowhere.example cannot be reached as a registry"


def test_who_is_to_blame_is_said_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        place = f"127.0.0.1:{gone.getsockname()[1]}"
    for environment, registry, why in (
        ({}, place, "connection refused"),
        (
            {"HTTPS_PROXY": f"http://{place}"},
            "reg.example",
            f"the proxy {place} cannot be reached: connection",
        ),
    ):
        access = Access(environment=environment, retry_time=0.0)
        with Transport(access) as transport, pytest.raises(UnreachableError) as caught:
            get(RegistrySession(transport, CredentialStore(access), registry))
        assert caught.value.what == f"{registry} cannot be reached as a registry"
        assert caught.value.why.startswith(why)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<!DOCTYPE html><title>Hi</title>", HTML),
        Reply(200, b"\n <HTML>"),
        Reply(404, b"<html>no</html>", HTML),
        Reply(404, b"404 page not found"),
        Reply(401, b"<html>log in</html>", HTML),
    ],
)
def test_what_is_no_registry(reply: Reply) -> None:
    session, _ = opened(lambda _ask: reply)
    with pytest.raises(ProtocolError, match=r"reg\.example is not a registry") as caught:
        get(session)
    assert str(reply.status) in caught.value.why
    assert "Hi" not in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize("reply", [Reply(200), Reply(200, b"{}"), Reply(200, b"true")])
def test_what_registries_answer(reply: Reply) -> None:
    session, _ = opened(lambda _ask: reply)
    assert session.url("/v2/") == "https://reg.example/v2/"


def test_a_registry_that_says_so_may_answer_as_it_likes() -> None:
    headers = {**HTML, "Docker-Distribution-Api-Version": "registry/2.0"}
    session, _ = opened(lambda _ask: Reply(200, b"<html>", headers))
    assert get(session) == 200


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"WWW-Authenticate": 'Negotiate, NTLM, Custom realm="x"'}, "it wants negotiate, ntlm, custom"),
        ({}, "without a challenge"),
        ({"WWW-Authenticate": "Bearer"}, "does not say where to get one: .* has no realm"),
        ({"WWW-Authenticate": 'Negotiate, Bearer service="x"'}, "has no realm"),
    ],
)
def test_challenges_that_cannot_be_answered(headers: dict[str, str], words: str) -> None:
    session, _ = opened(lambda _ask: Reply(401, errors_body("UNAUTHORIZED"), headers))
    with pytest.raises(AuthenticationError, match=words):
        get(session)


def test_other_statuses_of_a_ping() -> None:
    session, _ = opened(lambda _ask: Reply(403, errors_body("DENIED", "your address is blocked")))
    with pytest.raises(AuthenticationError, match="your address is blocked"):
        get(session)
    session, _ = opened(lambda _ask: Reply(418))
    with pytest.raises(RegistryError, match="418"):
        get(session)


def test_a_ping_that_leads_elsewhere_takes_no_login_there() -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="https://evil.example/"'}
    access = Access(credentials=((REG, "joe:secret"),))
    session, transport = opened(lambda _ask: Reply(401, b"", challenge, "https://www.example/v2/"), access)
    with pytest.raises(ProtocolError, match=r"leads to www\.example") as caught:
        get(session)
    assert "www.example" in caught.value.fix
    assert len(transport.asks) == 1


def test_a_ping_that_leads_to_the_same_hosts_tls() -> None:
    access = Access(verify=False)
    transport = FakeTransport(access)
    transport.routes["https://reg.example:80"] = lambda _ask: TlsError("no TLS", speaks="http")
    transport.routes["http://reg.example:80"] = lambda _ask: Reply(200, b"{}", {}, "https://reg.example/v2/")
    session = RegistrySession(transport, CredentialStore(access), "reg.example:80")
    assert session.url("/v2/x") == "https://reg.example/v2/x"

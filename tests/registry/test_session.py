from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from hostbuild.errors import (
    AuthenticationError,
    ProtocolError,
)
from hostbuild.model import Access
from hostbuild.registry.credentials import CredentialStore
from hostbuild.registry.session import RegistrySession

from .wires import Ask, FakeTransport, Reply, errors_body
from .worlds import PULL, PUSH, REG, TokenWorld, basic_route, get, opened

# Round trips.


def test_nothing_to_do_is_three_round_trips() -> None:
    session, transport = TokenWorld().session(user="joe:secret")
    assert transport.asks == []
    assert get(session, "HEAD", PUSH) == 200
    assert transport.story == [
        "GET https://reg.example/v2/",
        "GET https://auth.example/token",
        "HEAD https://reg.example/v2/team/app/manifests/v1",
    ]
    assert transport.asks[1].query == {"service": [REG], "scope": list(PUSH)}
    assert transport.asks[0].authorization == ""
    assert get(session, "PUT", PUSH) == 200
    assert get(session, "GET", PULL) == 200  # a token for more serves for less
    assert len(transport.asks) == 5


def test_an_open_registry_is_asked_without_any_login() -> None:
    session, transport = opened(lambda _ask: Reply(200, b"{}"), Access(credentials=((REG, "joe:secret"),)))
    assert get(session, "PUT", PUSH) == 200
    assert [ask.authorization for ask in transport.asks] == ["", ""]


def test_a_basic_registry_is_two_round_trips() -> None:
    session, transport = opened(basic_route({"joe": "secret"}), Access(credentials=((REG, "joe:secret"),)))
    assert get(session, "PUT", PUSH) == 200
    assert [ask.login for ask in transport.asks] == ["", "joe:secret"]


def test_docker_hub_is_not_where_its_name_is() -> None:
    transport = FakeTransport(None, **{"registry-1.docker.io": lambda _ask: Reply(200, b"{}")})
    session = RegistrySession(transport, CredentialStore(Access()), "index.docker.io")
    assert session.registry == "docker.io"
    assert session.url("/v2/library/nginx/") == "https://registry-1.docker.io/v2/library/nginx/"


def test_many_threads_share_one_ping_and_one_token() -> None:
    world = TokenWorld()
    session, transport = world.session(user="joe:secret")
    together = threading.Barrier(12)
    statuses: list[int] = []

    def work() -> None:
        together.wait(30)
        statuses.append(get(session, "PUT", PUSH))

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * 12
    assert transport.story.count("GET https://reg.example/v2/") == 1
    assert transport.story.count("GET https://auth.example/token") == 1


# Challenges and tokens.


def test_a_token_is_renewed_before_it_ends() -> None:
    now = [0.0]
    world = TokenWorld()
    world.lifetime = 2
    session, transport = world.session(user="joe:secret", clock=lambda: now[0])
    for moment in (0.0, 1.4, 1.6, 3.0, 3.2):
        now[0] = moment
        assert get(session, "PUT", PUSH) == 200
    assert transport.story.count("GET https://auth.example/token") == 3


def test_a_401_in_mid_work_renews_once_and_sends_the_body_again() -> None:
    world = TokenWorld()
    session, transport = world.session(user="joe:secret")
    assert get(session, "PUT", PUSH, body=b"one") == 200
    world.valid.clear()
    assert get(session, "PUT", PUSH, body=b"two") == 200
    sent = [(ask.method, ask.body) for ask in transport.to(REG)]
    assert sent == [("GET", b""), ("PUT", b"one"), ("PUT", b"two"), ("PUT", b"two")]
    assert world.count == 2


@pytest.mark.parametrize("headers", [{}, {"WWW-Authenticate": "Negotiate"}])
def test_a_401_without_a_useful_challenge_uses_the_one_of_the_ping(headers: dict[str, str]) -> None:
    world = TokenWorld()
    session, transport = world.session(user="joe:secret")
    failures = [Reply(401, b"", headers)]
    transport.routes[REG] = lambda ask: (
        failures.pop() if failures and ask.path != "/v2/" else world.registry(ask)
    )
    assert get(session, "PUT", PUSH) == 200
    assert world.count == 2


def test_a_registry_that_always_says_401_is_asked_twice() -> None:
    world = TokenWorld()
    session, transport = world.session(user="joe:secret")
    transport.routes[REG] = lambda ask: Reply(401, errors_body("UNAUTHORIZED", "no"), world.challenge())
    with pytest.raises(AuthenticationError, match="UNAUTHORIZED: no"):
        get(session, "PUT", PUSH)
    assert [ask.method for ask in transport.to(REG)] == ["GET", "PUT", "PUT"]


def test_a_challenge_may_ask_for_more_and_that_is_remembered() -> None:
    world = TokenWorld()
    session, transport = world.session(user="joe:secret")
    assert get(session, "PUT", PULL) == 200  # the caller asked for too little
    queries = [ask.query["scope"] for ask in transport.to("auth.example")]
    assert queries == [list(PULL), ["repository:team/app:push,pull", *PULL]]
    world.valid.clear()
    assert get(session, "PUT", PULL) == 200
    assert transport.to("auth.example")[-1].query["scope"] == ["repository:team/app:push,pull", *PULL]


def test_the_scope_that_matters_comes_first() -> None:
    session, transport = TokenWorld().session(user="joe:secret")
    scopes = (*PUSH, "repository:base:pull")
    assert get(session, "POST", scopes) == 200
    assert transport.to("auth.example")[0].query["scope"] == list(scopes)


def test_insufficient_scope_for_a_new_token_is_not_tried_again() -> None:
    session, transport = TokenWorld().session()
    with pytest.raises(AuthenticationError, match="insufficient scope") as caught:
        get(session, "PUT", PUSH, body=b"large")
    assert [ask.method for ask in transport.to(REG)] == ["GET", "PUT"]
    assert caught.value.what == "fetching team/app:v1 failed"
    assert "no login for it was found" in caught.value.why
    assert caught.value.fix == "log in: hostbuild login reg.example"
    assert caught.value.extra["status"] == 401


def test_a_registry_that_is_open_at_first_may_challenge_later() -> None:
    world = TokenWorld()
    world.ping = 200
    session, transport = world.session(user="joe:secret")
    assert get(session, "PUT", PUSH) == 200
    assert get(session, "PUT", PUSH) == 200
    assert [ask.method for ask in transport.to(REG)] == ["GET", "PUT", "PUT", "PUT"]
    assert world.count == 1
    session, transport = opened(
        basic_route({"joe": "secret"}, ping=200), Access(credentials=((REG, "joe:secret"),))
    )
    assert get(session, "PUT", PUSH) == 200
    assert [ask.login for ask in transport.asks] == ["", "", "joe:secret"]


def test_a_relative_realm_starts_at_the_registry() -> None:
    def route(ask: Ask) -> Reply:
        if ask.path == "/service/token":
            return Reply(200, b'{"token": "t"}')
        ok = ask.bearer == "t"
        challenge = {"WWW-Authenticate": 'Bearer realm="/service/token",service="s"'}
        return Reply(200, b"{}") if ok else Reply(401, b"", challenge)

    session, transport = opened(route)
    assert get(session) == 200
    assert transport.story[1] == "GET https://reg.example/service/token"


def test_a_realm_in_the_clear_gets_no_login() -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="http://evil.example/token"'}
    access = Access(credentials=((REG, "joe:secret"),))
    session, transport = opened(lambda _ask: Reply(401, b"", challenge), access)
    with pytest.raises(ProtocolError, match="in the clear"):
        get(session)
    assert transport.to("evil.example") == []


def test_an_identity_token_that_is_renewed_is_used_from_then_on() -> None:
    world = TokenWorld()
    forms: list[dict[str, str]] = []

    def tokens(ask: Ask) -> Reply:
        forms.append(ask.form)
        reply = world.tokens(Ask("GET", f"{ask.url}?scope={ask.form['scope']}", {}, b""))
        world.valid.clear() if len(forms) == 1 else None
        return Reply(200, reply.body[:-1] + b', "refresh_token": "second"}')

    session, transport = world.session(user="<token>:first")
    transport.routes["auth.example"] = tokens
    assert get(session) == 200
    assert [form["refresh_token"] for form in forms] == ["first", "second"]


def test_a_registry_token_is_sent_as_it_is(tmp_path: Any) -> None:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {REG: {"registrytoken": "rt"}}}))
    path.chmod(0o600)
    world = TokenWorld()
    world.valid.add("rt")
    session, transport = world.session()
    session = RegistrySession(transport, CredentialStore(Access(authfile=str(path))), REG)
    transport.routes[REG] = lambda ask: Reply(200) if ask.bearer == "rt" else world.registry(ask)
    assert get(session, "PUT", PUSH) == 200
    assert transport.to("auth.example") == []


# Where a login goes.


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example/blob",
        "https://reg.example:8443/v2/x",
        "http://reg.example:8080/v2/x",
        "https://reg.example.evil.example/x",
        "https://reg.example@evil.example/x",
    ],
)
def test_another_address_gets_no_login(url: str) -> None:
    world = TokenWorld()
    session, transport = world.session(user="joe:secret")
    assert get(session, "PUT", PUSH) == 200
    before = len(transport.asks)
    seen: list[Ask] = []

    def request(ask: Ask) -> Reply:
        seen.append(ask)
        return Reply(401, b"", world.challenge())

    for host in ("cdn.example", "reg.example:8443", "reg.example:8080", "reg.example.evil.example"):
        transport.routes[host] = request
    transport.routes["reg.example@evil.example"] = request
    response = session.request("PUT", url, scopes=PUSH)
    assert response.status == 401  # its answer, whatever it is
    assert len(transport.asks) == before + 1
    assert seen[0].authorization == ""
    assert not seen[0].trusted


def test_the_registrys_own_absolute_address_gets_the_login() -> None:
    session, transport = TokenWorld().session(user="joe:secret")
    for url in (
        "https://reg.example/v2/team/app/blobs/uploads/1?_state=a",
        "https://reg.example:443/v2/team/app/blobs/uploads/1",
        "http://reg.example/v2/team/app/blobs/uploads/1",  # behind a proxy that ends TLS
    ):
        transport.routes["reg.example:443"] = transport.routes[REG]
        assert get(session, "PUT", PUSH, path=url) == 200
        assert transport.asks[-1].url.startswith("https://")
        assert transport.asks[-1].bearer


@pytest.mark.parametrize("url", ["ftp://reg.example/x", "nonsense", "https://"])
def test_what_is_no_address(url: str) -> None:
    session, _ = TokenWorld().session()
    with pytest.raises(ProtocolError, match="not an address"):
        get(session, path=url)


def test_a_401_of_who_the_registry_redirected_to_is_not_the_registrys() -> None:
    world = TokenWorld()
    session, transport = world.session(user="joe:secret")
    away = Reply(
        401, b"", {"WWW-Authenticate": 'Bearer realm="https://evil.example/"'}, "https://cdn.example/b"
    )
    transport.routes[REG] = lambda ask: world.registry(ask) if ask.path == "/v2/" else away
    assert get(session) == 401
    assert transport.to("evil.example") == []
    assert world.count == 1


def test_the_callers_headers_and_retry_are_passed_on() -> None:
    session, transport = TokenWorld().session()
    headers = {"Accept": "application/x"}
    assert get(session, headers=headers, retry=False) == 200
    assert transport.asks[-1].headers["Accept"] == "application/x"
    assert not transport.asks[-1].retry
    assert headers == {"Accept": "application/x"}

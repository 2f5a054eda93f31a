from __future__ import annotations

import json
from typing import Any

import pytest

from hostbuild.errors import (
    AuthenticationError,
)
from hostbuild.model import Access
from hostbuild.registry.credentials import CredentialStore
from hostbuild.registry.session import RegistrySession

from .wires import Ask, Events, FakeHelpers, Reply, auth, errors_body
from .worlds import PULL, PUSH, REG, TokenWorld, basic_route, get, opened

# Logins that are refused.


def test_a_stored_but_refused_login_does_not_break_a_public_pull() -> None:
    events = Events()
    session, transport = TokenWorld().session(events, user="joe:wrong")
    for _ in range(3):
        assert get(session) == 200
    assert get(session, path="/v2/team/app/blobs/x") == 200
    assert [ask.login for ask in transport.to("auth.example")] == ["joe:wrong", ""]
    (warning,) = events.warnings
    for words in (
        REG,
        "'joe'",
        "is the one that was given",
        "incorrect username or password",
        "hostbuild login reg.example",
    ):
        assert words in warning
    assert "wrong" not in warning


def test_a_refused_login_is_not_tried_for_each_public_repository() -> None:
    events = Events()
    world = TokenWorld()
    world.public.add("repository:other:pull")
    session, transport = world.session(events, user="joe:wrong")
    assert get(session) == 200
    assert get(session, scopes=("repository:other:pull", *PULL)) == 200
    assert [ask.login for ask in transport.to("auth.example")] == ["joe:wrong", "", ""]
    assert len(events.warnings) == 1


def test_a_refused_login_fails_a_push_and_is_named() -> None:
    session, transport = TokenWorld().session(user="joe:hunter2")
    with pytest.raises(AuthenticationError) as caught:
        get(session, "PUT", PUSH)
    error = caught.value
    assert error.what == "reg.example refuses the login"
    assert "incorrect username or password" in error.why
    assert "the login of 'joe' for reg.example is the one that was given" in error.why
    assert "hostbuild login reg.example" in error.fix
    assert "hunter2" not in f"{error}{error.fix}{error!r}{error.__cause__!r}{error.__context__!r}"
    assert [ask.login for ask in transport.to("auth.example")] == ["joe:hunter2"]


def test_the_file_that_a_refused_login_came_from_is_named(tmp_path: Any) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {REG: auth("joe", "hunter2")}}))
    path.chmod(0o600)
    world = TokenWorld()
    _, transport = world.session()
    access = Access(environment={"DOCKER_CONFIG": str(tmp_path)})
    session = RegistrySession(transport, CredentialStore(access), REG)
    with pytest.raises(AuthenticationError, match=f"comes from {path}"):
        get(session, "PUT", PUSH)


def test_a_refused_login_of_a_private_repository_is_what_is_told() -> None:
    world = TokenWorld()
    world.public.clear()
    session, _ = world.session(user="joe:wrong")
    with pytest.raises(AuthenticationError):
        get(session)


@pytest.mark.parametrize(("status", "tokens"), [(401, 3), (403, 2)])
def test_a_login_that_may_not_read_what_everybody_may(status: int, tokens: int) -> None:
    """A token is given for the login, and the registry refuses it (an expired one of ECR Public: 403)."""
    events = Events()
    world = TokenWorld()
    session, transport = world.session(events, user="joe:secret")
    of_joe: set[str] = set()

    def registry(ask: Ask) -> Reply:
        if ask.bearer in of_joe:
            return Reply(status, errors_body("DENIED"), world.challenge() if status == 401 else {})
        return world.registry(ask)

    def give(ask: Ask) -> Reply:
        reply = world.tokens(ask)
        if ask.login:
            of_joe.add(json.loads(reply.body)["token"])
        return reply

    transport.routes |= {REG: registry, "auth.example": give}
    assert get(session, "HEAD") == 200
    assert get(session) == 200
    assert len(events.warnings) == 1
    assert len(transport.to("auth.example")) == tokens
    assert get(session, path="/v2/team/app/blobs/x") == 200
    assert len(transport.to("auth.example")) == tokens


def test_a_login_that_is_in_the_way_of_several_repositories_is_one_warning() -> None:
    events = Events()
    session, _ = opened(
        lambda ask: (
            Reply(401, b"", {"WWW-Authenticate": "Basic"})
            if ask.path == "/v2/"
            else Reply(403 if ask.login else 200)
        ),
        Access(credentials=((REG, "joe:secret"),)),
        events,
    )
    for name in ("a", "b", "c"):
        assert get(session, scopes=(f"repository:{name}:pull",), path=f"/v2/{name}/manifests/v1") == 200
    assert len(events.warnings) == 1


def test_a_403_stays_one() -> None:
    world = TokenWorld()
    session, transport = world.session(user="joe:secret")
    transport.routes[REG] = lambda ask: (
        world.registry(ask) if ask.path == "/v2/" else Reply(403, errors_body("DENIED", "not for you"))
    )
    response = session.request("GET", "/v2/team/app/manifests/v1", scopes=PULL)
    assert response.status == 403
    error = session.error(response, "fetching team/app:v1", PULL)
    assert isinstance(error, AuthenticationError)
    assert "DENIED: not for you" in error.why
    assert "the login of 'joe'" in error.why
    assert get(session, "PUT", PUSH) == 403


def test_basic_and_a_refused_login() -> None:
    events = Events()
    access = Access(credentials=((REG, "joe:wrong"),))
    session, transport = opened(basic_route({"joe": "secret"}, public=True), access, events)
    assert get(session) == 200
    assert get(session) == 200
    assert [ask.login for ask in transport.asks] == ["", "joe:wrong", "", ""]
    assert len(events.warnings) == 1
    with pytest.raises(AuthenticationError, match="is the one that was given"):
        get(session, "PUT", PUSH)
    assert [ask.login for ask in transport.asks][4:] == ["joe:wrong"]  # once: servers lock accounts


def test_basic_and_a_401_in_mid_work() -> None:
    route = basic_route({"joe": "secret"})
    answers: list[Reply] = []
    session, _ = opened(
        lambda ask: answers.pop() if answers else route(ask), Access(credentials=((REG, "joe:secret"),))
    )
    assert get(session, "PUT", PUSH) == 200
    answers.append(Reply(401, b"", {"WWW-Authenticate": "Basic"}))
    assert get(session, "PUT", PUSH) == 200


def test_basic_without_a_login() -> None:
    session, transport = opened(basic_route({}, public=True))
    assert get(session) == 200
    with pytest.raises(AuthenticationError, match="no login for it was found"):
        get(session, "PUT", PUSH)
    assert len(transport.asks) == 3


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_helper_is_asked_again_where_its_login_ran_out(tmp_path: Any, kind: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "cloud"}))
    access = Access(environment={"DOCKER_CONFIG": str(tmp_path)})
    helpers = FakeHelpers(cloud={REG: ("joe", "old")})
    world = TokenWorld()
    world.users = {"joe": "old"}
    _, transport = world.session()
    if kind == "basic":
        transport.routes[REG] = basic_route(world.users)
    session = RegistrySession(transport, CredentialStore(access, helpers), REG)
    assert get(session, "PUT", PUSH) == 200
    world.users["joe"] = "new"
    helpers.stores["cloud"][REG] = ("joe", "new")
    world.valid.clear()
    assert get(session, "PUT", PUSH) == 200
    assert [call[1] for call in helpers.calls] == ["get", "get"]


def test_a_helper_that_failed_is_told_with_the_refusal(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "gone"}))
    access = Access(environment={"DOCKER_CONFIG": str(tmp_path), "PATH": str(tmp_path)})
    events = Events()
    session, _ = opened(basic_route({}, public=True), access, events, on_event=events)
    assert get(session) == 200  # a pull goes on
    assert len(events.warnings) == 1
    assert "docker-credential-gone cannot be started: no such program in PATH" in events.warnings[0]
    with pytest.raises(AuthenticationError, match="docker-credential-gone cannot be started") as caught:
        get(session, "PUT", PUSH)
    assert "PATH" not in str(caught.value)  # the warning has said why
    assert str(tmp_path) not in f"{events.warnings}{caught.value}"

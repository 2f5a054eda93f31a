"""Servers repeat what they were sent: no message shows a login or a token."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from hostbuild.errors import HostbuildError
from hostbuild.model import Access
from hostbuild.registry.credentials import CredentialStore
from hostbuild.registry.docker_config import Credential
from hostbuild.registry.patience import Pacing
from hostbuild.registry.scrub import Secrets
from hostbuild.registry.session import RegistrySession
from hostbuild.registry.tokens import fetch_token, realm_url

from .wires import Ask, Events, FakeTransport, Reply, errors_body
from .worlds import PULL, PUSH

PASSWORD = "p&ss w/rd!"
PAIR = base64.b64encode(f"joe:{PASSWORD}".encode()).decode()
#: As long as real ones are: longer than what is shown of a message.
TOKEN = "eyJhbGciOiJ" + "x" * 2000
SECRETS = (PASSWORD, quote(PASSWORD, safe=""), PAIR, PAIR.rstrip("="), "eyJhb", "xxxx")

Echo = Callable[[Ask], bytes]


def _json(ask: Ask) -> bytes:
    return errors_body("DENIED", f"no: {ask.authorization} {ask.login}")


def _oauth(ask: Ask) -> bytes:
    return json.dumps({"error": ask.authorization, "error_description": ask.login or ask.bearer}).encode()


def _plain(ask: Ask) -> bytes:
    return f"bad {ask.authorization} {ask.login} {quote(ask.login, safe='')}".encode()


ECHOES = pytest.mark.parametrize("echo", [_json, _oauth, _plain])


def shown(error: HostbuildError) -> str:
    return f"{error!r}{error}{error.why}{error.fix}{error.detail}{error.extra}"


def is_clean(text: str) -> bool:
    return not [secret for secret in SECRETS if secret in text]


@ECHOES
@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize("scopes", [PULL, PUSH])
def test_a_registry_that_repeats_a_basic_login(echo: Echo, status: int, scopes: tuple[str, ...]) -> None:
    def route(ask: Ask) -> Reply:
        if not ask.login:
            return Reply(401, b"", {"WWW-Authenticate": "Basic realm=x"})
        return Reply(status, echo(ask), {"Warning": f'299 - "you sent {ask.authorization}"'})

    events = Events()
    access = Access(credentials=(("reg.example", f"joe:{PASSWORD}"),))
    session = RegistrySession(
        FakeTransport(access, **{"reg.example": route}), CredentialStore(access), "reg.example", events
    )
    with pytest.raises(HostbuildError) as caught:
        raise session.error(session.request("GET", "/v2/x", scopes=scopes, what="fetching x"), "fetching x")
    assert is_clean(shown(caught.value))
    assert "***" in caught.value.why
    assert events.warnings
    assert is_clean(str(events.all))


@ECHOES
@pytest.mark.parametrize("token", ["", TOKEN])
def test_a_registry_that_repeats_a_token(echo: Echo, token: str) -> None:
    def route(ask: Ask) -> Reply:
        if not ask.bearer:
            return Reply(401, b"", {"WWW-Authenticate": 'Bearer realm="https://auth.example/token"'})
        return Reply(403, echo(ask))

    def tokens(ask: Ask) -> Reply:
        return Reply(200, json.dumps({"token": TOKEN}).encode()) if token else Reply(403, echo(ask))

    events = Events()
    access = Access(credentials=(("reg.example", f"joe:{PASSWORD}"),))
    transport = FakeTransport(access, **{"reg.example": route, "auth.example": tokens})
    session = RegistrySession(transport, CredentialStore(access), "reg.example", events)
    with pytest.raises(HostbuildError) as caught:
        raise session.error(session.request("GET", "/v2/x", scopes=PUSH, what="fetching x"), "fetching x")
    assert is_clean(shown(caught.value))
    assert "***" in caught.value.why


def test_an_identity_token_that_went_as_a_password() -> None:
    def tokens(ask: Ask) -> Reply:
        return Reply(404) if ask.method == "POST" else Reply(403, _json(ask))

    transport = FakeTransport(None, **{"auth.example": tokens})
    with pytest.raises(HostbuildError) as caught:
        fetch_token(transport, "https://auth.example/t", "s", PULL, Credential(identity_token="hunter2"))
    assert caught.value.why.endswith("DENIED: no: Basic *** <token>:***")


@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_token_server_that_repeats_an_identity_token(status: int) -> None:
    events = Events()

    def tokens(ask: Ask) -> Reply:
        return Reply(status, errors_body("DENIED", f"no: {ask.form} {ask.body!r}"))

    transport = FakeTransport(None, **{"auth.example": tokens})
    pacing = Pacing(5.0, events, lambda _seconds: None, lambda: 0.0)
    with pytest.raises(HostbuildError) as caught:
        fetch_token(
            transport, "https://auth.example/t", "s", PULL, Credential(identity_token=TOKEN), pacing=pacing
        )
    assert is_clean(shown(caught.value) + str(events.all))


def test_a_content_type_and_a_realm_are_foreign_texts() -> None:
    def tokens(ask: Ask) -> Reply:
        return Reply(200, b"<html>", {"Content-Type": f"text/{ask.login}"})

    transport = FakeTransport(None, **{"auth.example": tokens})
    with pytest.raises(HostbuildError, match="not JSON but text") as caught:
        fetch_token(transport, "https://auth.example/t", "s", PULL, Credential("joe", PASSWORD))
    assert is_clean(shown(caught.value))
    secrets = Secrets(TOKEN)
    for realm in (f"ftp:{TOKEN}", f"http://auth.example/{TOKEN}"):
        with pytest.raises(HostbuildError) as caught:
            realm_url(realm, "https://reg.example/v2/", lambda _host: False, secrets.hide)
        assert is_clean(shown(caught.value))


def test_a_stored_bearer_token_is_secret() -> None:
    secrets = Secrets()
    secrets.add_login(Credential(registry_token=TOKEN))
    assert secrets.hide(f"got Bearer {TOKEN}.") == "got Bearer ***."


def test_what_is_hidden_and_what_is_not() -> None:
    secrets = Secrets("abc", "abcd", "abcde", "")
    secrets.add_login(None)
    assert secrets.hide("abc abcd abcde abcdef") == "abc *** *** ***f"
    assert "abcd" not in repr(secrets)
    assert secrets.hide("") == ""

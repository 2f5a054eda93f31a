from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import (
    AuthenticationError,
    CredentialsError,
    HostbuildError,
    InvalidReferenceError,
    OfflineError,
    ProtocolError,
    UsageError,
)
from hostbuild.model import Access, EventCallback
from hostbuild.registry.credentials import CredentialStore
from hostbuild.registry.docker_config import HUB_KEY, Credential
from hostbuild.registry.login import login, logout

from .wires import Ask, Events, FakeHelpers, FakeTransport, Reply, auth

REG = "reg.example"


class Place:
    """A home, and a registry that knows joe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / ".docker" / "config.json"
        self.access = Access(environment={"HOME": str(root), "PATH": "/usr/bin:/bin"})
        self.events = Events()
        self.helpers = FakeHelpers(keys={})
        self.transports: list[FakeTransport] = []
        self.kind = "bearer"

    def put(self, document: dict[str, Any]) -> None:
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(json.dumps(document))
        self.config.chmod(0o600)

    def read(self) -> Any:
        return json.loads(self.config.read_text())

    def connect(self, access: Access, _on_event: EventCallback) -> FakeTransport:
        names = (REG, "registry-1.docker.io")
        transport = FakeTransport(
            access, **dict.fromkeys(names, self.registry), **{"auth.example": self.tokens}
        )
        self.transports.append(transport)
        return transport

    def registry(self, ask: Ask) -> Reply | HostbuildError:
        if self.kind == "open":
            return Reply(200, b"{}")
        if self.kind == "html":
            return Reply(200, b"<html>")
        if self.kind == "basic":
            known = ask.login == "joe:secret"
            challenge = 'Basic realm="r"'
        else:
            known = ask.bearer == "t"
            challenge = 'Bearer realm="https://auth.example/token",service="s"'
        return Reply(200, b"{}") if known else Reply(401, b"", {"WWW-Authenticate": challenge})

    def tokens(self, ask: Ask) -> Reply:
        known = ask.login == "joe:secret" or ask.form.get("refresh_token") == "idt"
        return Reply(200, b'{"token": "t"}') if known else Reply(401, b'{"details": "wrong password"}')

    def login(self, user: str = "joe", secret: str = "secret", registry: str = REG, **access: Any) -> str:
        return login(
            self.access._replace(**access), registry, user, secret, self.events,
            run=self.helpers, connect=self.connect,
        )  # fmt: skip

    def logout(self, registry: str = REG, **access: Any) -> tuple[str, ...]:
        return logout(self.access._replace(**access), registry, self.events, run=self.helpers)

    def find(self, registry: str = REG) -> Credential | None:
        return CredentialStore(self.access, self.helpers).find(registry)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("kind", ["bearer", "basic"])
def test_a_login_is_tried_and_then_kept_as_docker_does(place: Place, kind: str) -> None:
    place.kind = kind
    assert place.login() == str(place.config)
    assert place.read() == {"auths": {REG: auth("joe", "secret")}}
    assert stat.S_IMODE(place.config.stat().st_mode) == 0o600
    assert place.find() == Credential("joe", "secret")
    (warning,) = place.events.warnings
    assert "plain text" in warning
    assert str(place.config) in warning
    assert "secret" not in warning
    (transport,) = place.transports
    assert len(transport.asks) == (3 if kind == "bearer" else 2)
    assert "scope" not in transport.asks[1].query


@pytest.mark.parametrize("kind", ["bearer", "basic"])
def test_a_refused_login_is_not_kept(place: Place, kind: str) -> None:
    place.kind = kind
    place.put({"auths": {REG: auth("old", "old")}})
    with pytest.raises(AuthenticationError) as caught:
        place.login(secret="hunter2")
    error = caught.value
    assert error.what == "reg.example refuses the login of 'joe'"
    assert "password" in error.fix
    assert "hunter2" not in f"{error}{error!r}{error.fix}{error.__cause__!r}"
    assert place.read() == {"auths": {REG: auth("old", "old")}}
    assert place.events.all == []


def test_what_is_no_registry_gets_no_login(place: Place) -> None:
    place.kind = "html"
    with pytest.raises(ProtocolError, match="is not a registry"):
        place.login()
    assert not place.config.exists()
    assert all(not ask.authorization for ask in place.transports[0].asks)


def test_a_registry_that_asks_for_no_login_cannot_tell(place: Place) -> None:
    place.kind = "open"
    place.login(secret="anything")
    assert place.find() == Credential("joe", "anything")
    assert any("could not be tried" in warning for warning in place.events.warnings)


def test_what_was_in_the_file_stays(place: Place) -> None:
    other = {"auth": "b3RoZXI6eA==", "unknown": [1]}
    place.put(
        {"HttpHeaders": {"a": "b"}, "auths": {"other": other, REG: {"identitytoken": "x"}}, "psFormat": "t"}
    )
    place.login()
    assert place.read() == {
        "HttpHeaders": {"a": "b"},
        "auths": {"other": other, REG: auth("joe", "secret")},
        "psFormat": "t",
    }


def test_an_identity_token(place: Place) -> None:
    place.login("<token>", "idt")
    assert place.read()["auths"][REG]["identitytoken"] == "idt"
    found = place.find()
    assert found is not None
    assert found.identity_token == "idt"


@pytest.mark.parametrize("spelling", ["https://reg.example/v2/", "REG.example", "reg.example/"])
def test_a_registry_may_be_spelled_as_a_url(place: Place, spelling: str) -> None:
    place.login(registry=spelling)
    assert list(place.read()["auths"]) == [REG]


def test_docker_hub(place: Place) -> None:
    place.login(registry="docker.io")
    assert list(place.read()["auths"]) == [HUB_KEY]
    assert place.find("docker.io") == Credential("joe", "secret")
    assert place.logout("index.docker.io") == (str(place.config),)
    assert place.find("docker.io") is None


def test_where_it_is_kept(place: Place, tmp_path: Path) -> None:
    environment = {**place.access.environment, "DOCKER_CONFIG": str(tmp_path / "dc")}
    assert place.login(environment=environment) == str(tmp_path / "dc" / "config.json")
    environment["REGISTRY_AUTH_FILE"] = str(tmp_path / "env.json")
    assert place.login(environment=environment) == str(tmp_path / "env.json")
    assert place.login(environment=environment, authfile=str(tmp_path / "a.json")) == str(tmp_path / "a.json")
    for name in ("dc/config.json", "env.json", "a.json"):
        assert json.loads((tmp_path / name).read_text()) == {"auths": {REG: auth("joe", "secret")}}
    assert not place.config.exists()


def test_without_a_home_there_is_no_place(place: Place) -> None:
    with pytest.raises(CredentialsError, match="no place") as caught:
        place.login(environment={})
    assert "--authfile" in caught.value.fix
    assert place.transports == []


@pytest.mark.parametrize(
    "document", [{"credsStore": "keys"}, {"credsStore": "none", "credHelpers": {REG: "keys"}, "auths": {}}]
)
def test_a_helper_keeps_it_where_one_is_named(place: Place, document: dict[str, Any]) -> None:
    place.put(document)
    where = place.login()
    assert "docker-credential-keys" in where
    assert str(place.config) in where
    assert place.helpers.stores["keys"] == {REG: ("joe", "secret")}
    assert place.read() == {**document, "auths": {REG: {}}}
    assert place.events.warnings == []
    assert place.find() == Credential("joe", "secret")
    assert all("secret" not in " ".join(argv) for argv in place.helpers.argv)
    assert len(place.logout()) == 2
    assert place.helpers.stores["keys"] == {}
    assert place.read() == {**document, "auths": {}}


def test_a_login_in_plain_text_is_gone_once_a_helper_has_it(place: Place) -> None:
    place.put({"credsStore": "keys", "auths": {REG: auth("joe", "old")}})
    place.login()
    assert place.read()["auths"] == {REG: {}}


def test_a_helper_that_cannot_keep_it_is_an_error(place: Place) -> None:
    place.put({"credsStore": "gone"})
    with pytest.raises(CredentialsError, match="docker-credential-gone cannot be started"):
        login(place.access, REG, "joe", "secret", place.events, connect=place.connect)
    assert place.read() == {"credsStore": "gone"}


def test_a_broken_file_is_said_before_the_network(place: Place) -> None:
    place.config.parent.mkdir()
    place.config.write_text("{")
    with pytest.raises(CredentialsError, match="cannot be understood"):
        place.login()
    assert place.transports == []
    assert place.config.read_text() == "{"


@pytest.mark.parametrize(
    ("user", "secret", "why"),
    [
        ("", "secret", "no user name"),
        ("joe", "", "no password"),
        ("a:b", "secret", "colon"),
        ("joe", "hunter2\n", "cannot be typed"),
        ("jo\x00e", "secret", "cannot be typed"),
        ("joe", "hunter2\udce9", "not UTF-8"),
    ],
)
def test_what_cannot_be_a_login(place: Place, user: str, secret: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        place.login(user, secret)
    assert "hunter2" not in str(caught.value)
    assert place.transports == []


def test_what_names_no_registry(place: Place) -> None:
    for text in ("", "reg.example/team/app", "user@reg"):
        with pytest.raises(InvalidReferenceError):
            place.login(registry=text)
        with pytest.raises(InvalidReferenceError):
            place.logout(text)


def test_offline_there_is_no_login(place: Place) -> None:
    with pytest.raises(OfflineError):
        login(place.access._replace(offline=True), REG, "joe", "secret", place.events)
    assert not place.config.exists()


def test_logging_out_erases_every_spelling_and_nothing_else(place: Place) -> None:
    place.put(
        {
            "auths": {
                REG: auth("joe", "a"),
                f"https://{REG}/v2/": auth("joe", "b"),
                f"{REG}/team": auth("team", "c"),
                "other": {},
            },
            "x": 1,
        }
    )
    assert place.logout() == (str(place.config),)
    assert place.read() == {"auths": {f"{REG}/team": auth("team", "c"), "other": {}}, "x": 1}
    assert place.events.warnings == []


def test_logging_out_of_nothing(place: Place) -> None:
    assert place.logout() == ()
    assert not place.config.exists()
    place.put({"auths": {"other": {}}})
    assert place.logout() == ()
    place.put({"credsStore": "keys"})
    assert place.logout() == ()


def test_docker_hub_is_erased_under_both_names(place: Place) -> None:
    place.put({"credsStore": "keys"})
    place.helpers.stores["keys"] |= {HUB_KEY: ("joe", "a"), "docker.io": ("joe", "b")}
    assert len(place.logout("docker.io")) == 1
    assert place.helpers.stores["keys"] == {}


def test_a_login_that_is_left_elsewhere_is_told(place: Place, tmp_path: Path) -> None:
    other = tmp_path / ".config" / "containers" / "auth.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps({"auths": {REG: auth("joe", "x")}}))
    other.chmod(0o600)
    place.login()
    place.events.all.clear()
    assert place.logout() == (str(place.config),)
    assert place.events.warnings == [f"another login for {REG} is left: {other}"]


def test_logging_out_with_a_missing_explicit_file(place: Place, tmp_path: Path) -> None:
    assert place.logout(authfile=str(tmp_path / "none.json")) == ()

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import BuildTimeoutError, CredentialsError, ToolMissingError
from hostbuild.model import Access
from hostbuild.process.command import Captured
from hostbuild.registry.credentials import CredentialStore
from hostbuild.registry.docker_config import HUB, HUB_KEY, Credential

from .wires import Events, FakeHelpers, auth


class Home:
    """A home directory with the places where logins are kept."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {"HOME": str(root), "PATH": "/usr/bin:/bin"}

    def put(self, place: str, document: dict[str, Any] | str, mode: int = 0o600) -> Path:
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        path.chmod(mode)
        return path

    def store(
        self, run: FakeHelpers | None = None, events: Events | None = None, **access: Any
    ) -> CredentialStore:
        return CredentialStore(Access(environment=self.environment, **access), run, events or Events())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def logins(**entries: str) -> dict[str, Any]:
    return {"auths": {registry: auth(user, "secret") for registry, user in entries.items()}}


def user_of(credential: Credential | None) -> str | None:
    return credential.user if credential else None


def test_the_decided_order(home: Home) -> None:
    runtime = home.root / "run"
    home.environment["XDG_RUNTIME_DIR"] = str(runtime)
    order = [
        home.put("explicit.json", logins(reg="authfile")),
        home.put("env.json", logins(reg="variable")),
        home.put("dc/config.json", logins(reg="docker-config")),
        home.put("run/containers/auth.json", logins(reg="runtime")),
        home.put(".config/containers/auth.json", logins(reg="home-containers")),
    ]
    home.put(".docker/config.json", logins(reg="home-docker"))
    home.environment |= {"REGISTRY_AUTH_FILE": str(order[1]), "DOCKER_CONFIG": str(order[2].parent)}
    given = (("reg", "given:x"),)
    assert user_of(home.store(credentials=given, authfile=str(order[0])).find("reg")) == "given"
    assert user_of(home.store(authfile=str(order[0])).find("reg")) == "authfile"
    assert user_of(home.store().find("reg")) == "variable"
    del home.environment["REGISTRY_AUTH_FILE"]
    assert user_of(home.store().find("reg")) == "docker-config"
    del home.environment["DOCKER_CONFIG"]
    assert user_of(home.store().find("reg")) == "home-docker"
    (home.root / ".docker/config.json").unlink()
    assert user_of(home.store().find("reg")) == "runtime"
    order[3].unlink()
    assert user_of(home.store().find("reg")) == "home-containers"
    home.environment["XDG_CONFIG_HOME"] = str(home.root / "elsewhere")
    assert home.store().find("reg") is None


def test_an_explicit_file_stands_alone(home: Home) -> None:
    home.put(".docker/config.json", logins(reg="docker"))
    path = home.put("explicit.json", logins(other="x"))
    assert home.store(authfile=str(path)).find("reg") is None


def test_a_file_without_the_registry_lets_the_next_one_speak(home: Home) -> None:
    home.put(".docker/config.json", logins(other="x"))
    home.put(".config/containers/auth.json", logins(reg="containers"))
    found = home.store().find("reg")
    assert found is not None
    assert found.user == "containers"
    assert found.source == str(home.root / ".config/containers/auth.json")


@pytest.mark.parametrize("how", ["--authfile", "REGISTRY_AUTH_FILE"])
def test_a_missing_explicit_file_is_an_error(home: Home, how: str) -> None:
    path = str(home.root / "nowhere.json")
    access: dict[str, Any] = {"authfile": path}
    if how != "--authfile":
        home.environment["REGISTRY_AUTH_FILE"] = path
        access = {}
    with pytest.raises(CredentialsError, match="does not exist") as caught:
        home.store(**access).find("reg")
    assert how in caught.value.why
    assert path in caught.value.what


def test_nothing_anywhere_is_anonymous(home: Home) -> None:
    assert home.store().find("reg") is None
    assert CredentialStore(Access()).find("reg") is None


def test_given_logins(home: Home) -> None:
    given = (("docker.io", "hub:a"), ("reg", "joe:pass:word"), ("reg/team", "team:x"), ("idt", "<token>:abc"))
    store = home.store(credentials=given)
    assert store.find("reg") == Credential("joe", "pass:word")
    assert user_of(store.find("reg", "team/app")) == "team"
    assert user_of(store.find("index.docker.io")) == "hub"
    assert store.find("idt") == Credential(identity_token="abc")
    assert store.find("other") is None
    found = store.find("reg")
    assert found is not None
    assert found.source == "the request"
    assert found.given


@pytest.mark.parametrize("pair", ["hunter2", ":hunter2"])
def test_a_given_login_that_is_none_is_not_quoted(home: Home, pair: str) -> None:
    with pytest.raises(CredentialsError, match="USER:PASSWORD") as caught:
        home.store(credentials=(("reg", pair),)).find("reg")
    assert "hunter2" not in f"{caught.value}{caught.value.fix}"


def test_docker_hub_has_its_own_key(home: Home) -> None:
    home.put(".docker/config.json", {"auths": {HUB_KEY: auth("hub", "x")}})
    assert user_of(home.store().find(HUB, "library/nginx")) == "hub"


def test_a_part_of_a_registry(home: Home) -> None:
    home.put(
        ".config/containers/auth.json", {"auths": {"reg": auth("all", "x"), "reg/team": auth("team", "x")}}
    )
    store = home.store()
    assert user_of(store.find("reg", "team/app")) == "team"
    assert user_of(store.find("reg", "other/app")) == "all"


def test_helpers_by_registry_and_for_all_others(home: Home) -> None:
    home.put(
        ".docker/config.json", {"credsStore": "all", "credHelpers": {"gcr": "own"}, "auths": {"reg": {}}}
    )
    run = FakeHelpers(all={"reg": ("joe", "a"), "gcr": ("wrong", "x")}, own={"gcr": ("<token>", "idt")})
    store = home.store(run)
    assert store.find("reg") == Credential("joe", "a")
    token = store.find("gcr")
    assert token == Credential(identity_token="idt")
    assert token is not None
    assert "docker-credential-own (credHelpers in " in token.source
    assert store.find("other") is None
    assert not any("wrong" in call for call in run.calls)


def test_a_helper_is_asked_once_and_again_when_told(home: Home) -> None:
    home.put(".docker/config.json", {"credsStore": "all"})
    run = FakeHelpers(all={"reg": ("joe", "a")})
    store = home.store(run)
    for repository in ("a", "b", "c"):
        assert store.find("reg", repository) == Credential("joe", "a")
    assert len(run.calls) == 1
    run.stores["all"]["reg"] = ("joe", "b")
    assert store.find("reg") == Credential("joe", "a")
    assert store.find("reg", fresh=True) == Credential("joe", "b")
    assert store.find("reg") == Credential("joe", "b")


def test_docker_hub_in_a_helper(home: Home) -> None:
    home.put(".docker/config.json", {"credsStore": "all"})
    assert user_of(home.store(FakeHelpers(all={HUB_KEY: ("docker", "a")})).find(HUB)) == "docker"
    assert user_of(home.store(FakeHelpers(all={HUB: ("podman", "a")})).find(HUB)) == "podman"
    assert home.store(FakeHelpers(all={})).find(HUB) is None


def test_an_empty_helper_means_the_file(home: Home) -> None:
    home.put(".docker/config.json", {"credsStore": "all", "credHelpers": {"reg": ""}, **logins(reg="inline")})
    run = FakeHelpers(all={"reg": ("helper", "a")})
    assert user_of(home.store(run).find("reg")) == "inline"
    assert run.calls == []


def test_an_inline_login_is_taken_where_the_helper_has_none(home: Home) -> None:
    home.put(".docker/config.json", {"credsStore": "all", **logins(reg="inline")})
    assert user_of(home.store(FakeHelpers(all={})).find("reg")) == "inline"
    assert user_of(home.store(FakeHelpers(all={"reg": ("helper", "a")})).find("reg")) == "helper"


def test_a_helper_that_is_missing_is_one_warning_and_no_login(home: Home) -> None:
    home.put(".docker/config.json", {"credsStore": "gone"})
    calls = []

    def run(argv: Sequence[str], **_: object) -> Captured:
        calls.append(argv)
        raise ToolMissingError("docker-credential-gone was not found", why="no such program in PATH (/bin)")

    events = Events()
    store = CredentialStore(Access(environment=home.environment), run, events)
    assert store.trouble("reg") == ""
    assert store.find("reg") is None
    assert store.find("reg", "x") is None
    assert store.find("reg", fresh=True) is None
    assert len(calls) == 1
    (warning,) = events.warnings
    assert "docker-credential-gone" in warning
    assert "reg" in warning
    assert "docker-credential-gone" in store.trouble("reg")
    assert store.trouble("other") == ""


def test_a_helper_that_does_not_end_ends_it(home: Home) -> None:
    home.put(".docker/config.json", {"credsStore": "slow", **logins(reg="inline")})

    def run(argv: Sequence[str], **_: object) -> Captured:
        raise BuildTimeoutError(f"{argv[0]} took too long")

    events = Events()
    store = CredentialStore(Access(environment=home.environment), run, events)
    with pytest.raises(CredentialsError, match="docker-credential-slow get did not end within 60 s"):
        store.find("reg")
    assert events.warnings == []


def test_a_failing_helper_does_not_hide_the_inline_login(home: Home) -> None:
    home.put(".docker/config.json", {"credsStore": "bad", **logins(reg="inline")})
    events = Events()
    store = CredentialStore(
        Access(environment=home.environment), lambda argv, **_: Captured(1, b"locked", ""), events
    )
    assert user_of(store.find("reg")) == "inline"
    assert "docker-credential-bad get failed: exit code 1" in events.warnings[0]


def test_a_helper_name_that_is_a_path_is_not_run(home: Home) -> None:
    home.put(".docker/config.json", {"credsStore": "../../evil"})
    events = Events()
    run = FakeHelpers()
    assert CredentialStore(Access(environment=home.environment), run, events).find("reg") is None
    assert run.argv == []
    assert "evil" in events.warnings[0]


def test_a_file_that_everybody_can_read_is_one_warning(home: Home) -> None:
    path = home.put(".docker/config.json", logins(reg="joe"), mode=0o644)
    events = Events()
    store = home.store(events=events)
    assert user_of(store.find("reg")) == "joe"
    assert user_of(store.find("reg", "x")) == "joe"
    assert events.warnings == [f"{path} holds logins and every user can read it: chmod 600 {path}"]


@pytest.mark.parametrize("text", ["{", "[1]", '{"auths": 1}'])
def test_a_broken_file_is_named(home: Home, text: str) -> None:
    path = home.put(".docker/config.json", text)
    with pytest.raises(CredentialsError, match="cannot be understood") as caught:
        home.store().find("reg")
    assert str(path) in caught.value.what


def test_a_directory_where_the_file_should_be(home: Home) -> None:
    (home.root / ".docker/config.json").mkdir(parents=True)
    with pytest.raises(CredentialsError, match="cannot be read"):
        home.store().find("reg")

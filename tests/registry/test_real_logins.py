"""Logins against registries that others wrote: a password file, tokens that live for seconds, own TLS."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from hostbuild.errors import AuthenticationError, TlsError
from hostbuild.http import Transport
from hostbuild.model import Access
from hostbuild.registry.credentials import CredentialStore
from hostbuild.registry.login import login, logout
from hostbuild.registry.session import RegistrySession
from tests.rig.oci_tools import run
from tests.rig.registries import CONFIGURED_KINDS, PASSWORD, USER, Kind, Registry
from tests.rig.tls import Authority
from tests.rig.tokens import ALL_ACTIONS, ANYBODY_PULLS, Account, TokenServer

from .wires import Events

PUSH = ("repository:team/app:push,pull",)
PULL = ("repository:team/app:pull",)
JOE = Account("sécret: with colon", {"team/app": ALL_ACTIONS}, refresh="identity")

each_kind = pytest.mark.parametrize("kind", CONFIGURED_KINDS)


def begin_upload(access: Access, registry: Registry, events: Events | None = None) -> int:
    """What a push begins with; its status."""
    events = events or Events()
    with Transport(access, on_event=events) as transport:
        session = RegistrySession(transport, CredentialStore(access), registry.address, events)
        with session.request("POST", "/v2/team/app/blobs/uploads/", scopes=PUSH, what="pushing") as response:
            return response.status


@each_kind
def test_a_password_file(kind: Kind, tmp_path: Path) -> None:
    with Registry(kind, tmp_path / "registry", passwords=True) as registry:
        access = Access(environment={"HOME": str(tmp_path)})
        with pytest.raises(AuthenticationError, match="refuses the login"):
            login(access, registry.address, USER, "wrong")
        with pytest.raises(AuthenticationError, match="no login for it was found"):
            begin_upload(access, registry)
        where = login(access, registry.address, USER, PASSWORD)
        assert where == str(tmp_path / ".docker" / "config.json")
        assert begin_upload(access, registry) == 202
        assert logout(access, registry.address) == (where,)
        with pytest.raises(AuthenticationError, match="no login for it was found") as caught:
            begin_upload(access, registry)
        assert caught.value.fix == f"log in: hostbuild login {registry.address}"


def test_skopeo_and_hostbuild_read_each_others_logins(tmp_path: Path) -> None:
    with Registry("docker-registry", tmp_path / "registry", passwords=True) as registry:
        ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
        login(Access(authfile=str(ours)), registry.address, USER, PASSWORD)
        assert run("skopeo", "login", "--get-login", "--authfile", ours, registry.address).strip() == USER
        run(
            "skopeo", "login", "--tls-verify=false", "--authfile", theirs,
            "-u", USER, "-p", PASSWORD, registry.address,
        )  # fmt: skip
        assert json.loads(ours.read_text()) == json.loads(theirs.read_text())
        assert begin_upload(Access(authfile=str(theirs)), registry) == 202


@each_kind
def test_a_token_server(kind: Kind, tmp_path: Path) -> None:
    with (
        TokenServer({"joe": JOE}, anonymous=ANYBODY_PULLS) as tokens,
        Registry(kind, tmp_path / "registry", tokens=tokens) as registry,
    ):
        access = Access(environment={"HOME": str(tmp_path)})
        with pytest.raises(AuthenticationError, match="no login for it was found"):
            begin_upload(access, registry)
        login(access, registry.address, "joe", JOE.password)
        assert begin_upload(access, registry) == 202
        login(access, registry.address, "<token>", JOE.refresh)
        assert begin_upload(access, registry) == 202
        assert [request.method for request in tokens.requests][-2:] == ["POST", "POST"]
        # A login that is no good any more: pushes say so, pulls go on.
        tokens.accounts.clear()
        with pytest.raises(AuthenticationError, match="refuses the login"):
            begin_upload(access, registry)
        events = Events()
        with Transport(access) as transport:
            session = RegistrySession(transport, CredentialStore(access), registry.address, events)
            for _ in range(2):
                with session.request("GET", "/v2/team/app/manifests/v1", scopes=PULL) as response:
                    assert response.status == 404
        assert len(events.warnings) == 1


def test_tokens_that_live_for_two_seconds_serve_many_threads(tmp_path: Path) -> None:
    with (
        TokenServer({"joe": JOE}, lifetime=2) as tokens,
        Registry("docker-registry", tmp_path / "registry", tokens=tokens) as registry,
    ):
        access = Access(credentials=((registry.address, f"joe:{JOE.password}"),))
        statuses: list[int] = []
        with Transport(access) as transport:
            session = RegistrySession(transport, CredentialStore(access), registry.address)

            def work() -> None:
                # Across the ends of several tokens; how many requests that makes does not matter.
                while len(tokens.requests) < 4:
                    with session.request("HEAD", "/v2/team/app/blobs/sha256:" + "0" * 64, scopes=PUSH) as got:
                        statuses.append(got.status)
                    time.sleep(0.02)

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        assert set(statuses) == {404}
        assert {request.status for request in tokens.requests} == {200}
        assert len(tokens.requests) <= 8  # not one a thread, and not one a request


def test_own_tls_for_registry_and_token_server(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with (
        TokenServer({"joe": JOE}, authority=authority) as tokens,
        Registry("docker-registry", tmp_path / "registry", tokens=tokens, tls=authority) as registry,
    ):
        credentials = ((registry.address, f"joe:{JOE.password}"),)
        with pytest.raises(TlsError) as caught:
            begin_upload(Access(credentials=credentials), registry)
        assert "--ca-file" in caught.value.fix
        assert tokens.requests == []
        assert begin_upload(Access(credentials=credentials, ca_file=str(authority.ca_file)), registry) == 202
        assert begin_upload(Access(credentials=credentials, verify=False), registry) == 202

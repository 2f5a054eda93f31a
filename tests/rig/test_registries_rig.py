"""The registries, token server and observers of the rig do what the tests rely on."""

from __future__ import annotations

import base64
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.rig import go_tools
from tests.rig.fault_proxy import FaultProxy
from tests.rig.handmade import write_handmade
from tests.rig.layout import read_blob, read_layout
from tests.rig.processes import alive, descendants, identity, wait_until
from tests.rig.pulling import Puller
from tests.rig.raw import Raw, digest_of
from tests.rig.registries import CONFIGURED_KINDS, KINDS, PASSWORD, USER, Kind, Registry
from tests.rig.tls import Authority
from tests.rig.tokens import ALL_ACTIONS, ANYBODY_PULLS, Account, TokenServer

PLATFORMS = {"linux/amd64": {"f": b"1"}, "linux/arm64": {"f": b"2"}, "linux/arm/v7": {"f": b"3"}}
ROOT = Path(__file__).parent.parent.parent
each_kind = pytest.mark.parametrize("kind", KINDS)
each_configured_kind = pytest.mark.parametrize("kind", CONFIGURED_KINDS)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    write_handmade(tmp_path / "layout", "registry.example/app:v1", PLATFORMS, {})
    return tmp_path / "layout"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def check(registry: Registry, puller: Puller, layout: Path, scratch: Path) -> None:
    """Push with crane, look with crane and skopeo: the same bytes everywhere."""
    reference = f"{registry.address}/team/app:v1"
    digest = puller.push(layout, reference)
    puller.validate(reference)
    assert puller.digest(reference) == digest
    assert puller.tags(f"{registry.address}/team/app") == ["v1"]
    assert len(puller.manifest(reference)["manifests"]) == len(PLATFORMS)
    copied = puller.skopeo(reference, scratch / "copied")
    for image in read_layout(layout).images.values():
        for descriptor in (image.descriptor, image.manifest["config"], *image.manifest["layers"]):
            assert read_blob(copied, descriptor) == read_blob(layout, descriptor)
    layers = {
        layer["digest"] for image in read_layout(layout).images.values() for layer in image.manifest["layers"]
    }
    assert layers <= registry.blobs()
    assert all(digest_of(registry.blob(layer).read_bytes()) == layer for layer in layers)


@each_kind
def test_a_plain_registry_takes_and_gives(kind: Kind, layout: Path, tmp_path: Path) -> None:
    with Registry(kind, tmp_path / "r") as registry:
        check(registry, Puller(tmp_path / "p"), layout, tmp_path)
        assert Raw(registry.address).request("GET", "/v2/").status == 200


@each_configured_kind
def test_a_registry_with_passwords_and_tls(
    kind: Kind, layout: Path, tmp_path: Path, authority: Authority
) -> None:
    with Registry(kind, tmp_path / "r", passwords=True, tls=authority) as registry:
        check(
            registry,
            Puller(tmp_path / "p", login=(USER, PASSWORD), ca_file=authority.ca_file),
            layout,
            tmp_path,
        )
        context = authority.client_context()
        assert Raw(registry.address, context=context).request("GET", "/v2/").status == 401
        wrong = Raw(registry.address, context=context, authorization=basic(USER, "wrong"))
        assert wrong.request("GET", "/v2/").status == 401
        with pytest.raises(ssl.SSLError):
            Raw(registry.address, context=ssl.create_default_context()).request("GET", "/v2/")


@each_configured_kind
def test_a_registry_with_tokens(kind: Kind, layout: Path, tmp_path: Path) -> None:
    everything = Account("right", {"*": ALL_ACTIONS})
    with (
        TokenServer(accounts={"bob": everything}, anonymous=ANYBODY_PULLS) as tokens,
        Registry(kind, tmp_path / "r", tokens=tokens) as registry,
    ):
        check(registry, Puller(tmp_path / "p", login=("bob", "right")), layout, tmp_path)
        assert tokens.requests[0].account == "bob"
        assert tokens.requests[0].granted == ("repository:team/app:pull,push",)
        before = len(tokens.requests)
        Puller(tmp_path / "anonymous").validate(f"{registry.address}/team/app:v1")
        assert {request.account for request in tokens.requests[before:]} == {""}
        with pytest.raises(AssertionError, match=r"UNAUTHORIZED|DENIED"):
            Puller(tmp_path / "anonymous").push(layout, f"{registry.address}/other:v1")
        with pytest.raises(AssertionError, match="UNAUTHORIZED"):
            Puller(tmp_path / "wrong", login=("bob", "wrong")).push(layout, f"{registry.address}/other:v1")


def token(server: TokenServer, scope: str, authorization: str = "") -> str:
    """Ask a token server as a client does."""
    raw = Raw(server.realm.partition("//")[2].partition("/")[0], authorization=authorization)
    text: str = raw.good("GET", f"/token?service=registry.test&scope={scope}").json()["token"]
    return text


@each_configured_kind
def test_a_token_ends_after_its_seconds_and_not_before(kind: Kind, tmp_path: Path) -> None:
    bob = Account("right", {"team/app": frozenset({"pull"})})
    with (
        TokenServer(accounts={"bob": bob}, lifetime=1) as tokens,
        Registry(kind, tmp_path / "r", tokens=tokens) as registry,
    ):
        text = token(tokens, "repository:team/app:pull,push", basic("bob", "right"))
        client = Raw(registry.address, authorization=f"Bearer {text}")
        assert client.request("GET", "/v2/team/app/tags/list").status == 404
        assert client.request("POST", "/v2/team/app/blobs/uploads/").status == 401  # pull is all it may
        assert client.request("GET", "/v2/team/other/tags/list").status == 401
        wait_until(lambda: client.request("GET", "/v2/team/app/tags/list").status == 401, 20, "it ends")
        answer = client.request("GET", "/v2/team/app/tags/list")
        assert tokens.realm in answer.headers["Www-Authenticate"]


def test_the_token_server_knows_refresh_tokens_and_how_to_misbehave() -> None:
    bob = Account("right", {"*": ALL_ACTIONS}, refresh="identity")
    with TokenServer(accounts={"bob": bob}) as tokens:
        raw = Raw(tokens.realm.partition("//")[2].partition("/")[0])
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = b"grant_type=refresh_token&refresh_token=identity&service=s&scope=repository:a:pull"
        assert "token" in raw.good("POST", "/token", body, form).json()
        assert raw.request("POST", "/token", body.replace(b"identity", b"wrong"), form).status == 401
        assert raw.request("GET", "/token?scope=repository:a:pull").status == 401  # nobody anonymous
        tokens.field_name, tokens.told_lifetime = "access_token", 0
        answer = raw.good("POST", "/token", body, form).json()
        assert set(answer) == {"access_token"}
        tokens.posts = False
        assert raw.request("POST", "/token", body, form).status == 404
        tokens.broken = 503
        assert raw.request("GET", "/token").status == 503
        assert [request.status for request in tokens.requests] == [200, 401, 401, 200, 404, 503]


@each_configured_kind
def test_a_mirror_pulls_through(kind: Kind, layout: Path, tmp_path: Path) -> None:
    with Registry(kind, tmp_path / "r") as registry:
        digest = Puller(tmp_path / "p").push(layout, f"{registry.address}/team/app:v1")
        with (
            FaultProxy(registry.address) as watch,
            Registry(kind, tmp_path / "m", mirror_of=watch.url) as mirror,
        ):
            Puller(tmp_path / "p").validate(f"{mirror.address}/team/app@{digest}")
            assert watch.downloaded()
            with pytest.raises(AssertionError):
                Puller(tmp_path / "p").push(layout, f"{mirror.address}/team/app:v2")


def test_a_registry_comes_back_at_the_same_place(layout: Path, tmp_path: Path) -> None:
    with Registry("distribution", tmp_path / "r") as registry:
        digest = Puller(tmp_path / "p").push(layout, f"{registry.address}/team/app:v1")
    with Registry("distribution", tmp_path / "r", port=registry.port) as again:
        assert Puller(tmp_path / "p").digest(f"{again.address}/team/app:v1") == digest


def test_an_expired_certificate_is_expired(authority: Authority) -> None:
    pair = authority.issue("old", expired=True)
    with (
        FaultProxy("127.0.0.1:9", tls=authority, pair=pair) as proxy,
        pytest.raises(ssl.SSLCertVerificationError, match="expired"),
    ):
        Raw(proxy.address, context=authority.client_context()).request("GET", "/v2/")


@each_kind
def test_a_registry_ends_with_its_test(kind: Kind, tmp_path: Path) -> None:
    with Registry(kind, tmp_path / "r") as registry:
        (program,) = descendants(registry.server.pid)
        assert alive(program)
    assert not alive(program)


@pytest.fixture
def orphan_maker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another Python that starts a registry and then sleeps."""
    script = (
        "import sys, time, pathlib\n"
        "from tests.rig.registries import Registry\n"
        "registry = Registry('docker-registry', pathlib.Path(sys.argv[1]))\n"
        "print(registry.server.pid, registry.port, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "r"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_a_registry_ends_when_the_tests_are_killed(orphan_maker: subprocess.Popen[str]) -> None:
    assert orphan_maker.stdout is not None
    keeper = int(orphan_maker.stdout.readline().split()[0])
    (program,) = descendants(keeper)
    known = identity(keeper)
    assert known is not None
    os.kill(orphan_maker.pid, signal.SIGKILL)
    wait_until(lambda: not alive(program) and not alive(known), 20, "the registry ended")


def test_a_program_is_built_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built = []

    def build(program: go_tools.GoProgram, name: str, destination: Path) -> None:
        built.append(program.version)
        time.sleep(0.2)
        destination.parent.mkdir()
        destination.write_text(name)

    monkeypatch.setattr(go_tools, "_build", build)
    program = go_tools.GoProgram("example.com/tool", "v1")
    with ThreadPoolExecutor(4) as pool:
        paths = {
            future.result()
            for future in [pool.submit(go_tools.build_once, "tool", program) for _ in range(4)]
        }
    assert paths == {tmp_path / "hostbuild-test-tools/tool@v1/tool"}
    assert built == ["v1"]

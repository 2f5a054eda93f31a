"""Which proxy is asked, what it is told, and what happens when it refuses."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import NetworkError, UnreachableError, UsageError
from hostbuild.http.proxies import Proxy, proxy_for
from hostbuild.http.redirects import Origin, origin_of
from hostbuild.model import Access
from hostbuild.redact import redact
from tests.http.peers import Client, Peer, Request, Step, Talk, answer, closed_port
from tests.rig.tls import Authority

PROXY = {"HTTPS_PROXY": "http://proxy.example:3128"}


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://a.example", None),
        (PROXY, "https://a.example", "http://proxy.example:3128"),
        (PROXY, "http://a.example", None),
        ({"https_proxy": "proxy.example"}, "https://a.example", "http://proxy.example:80"),
        ({"HTTPS_PROXY": "", "https_proxy": "http://p"}, "https://a.example", "http://p:80"),
        ({"HTTPS_PROXY": "https://p"}, "https://a.example", "https://p:443"),
        ({"HTTP_PROXY": "http://[::1]:3128"}, "http://a.example", "http://[::1]:3128"),
        ({"http_proxy": "p:1", "REQUEST_METHOD": "GET"}, "http://a.example", "http://p:1"),
        ({"HTTP_PROXY": "p:1", "REQUEST_METHOD": "GET"}, "http://a.example", None),
        ({"HTTP_PROXY": "p:1"}, "http://localhost:5000", None),
        ({"HTTP_PROXY": "p:1"}, "http://127.0.0.2:5000", None),
        ({"HTTP_PROXY": "p:1"}, "http://[::1]:5000", None),
    ],
)
def test_which_proxy(environment: dict[str, str], url: str, proxy: str | None) -> None:
    found = proxy_for(origin_of(url), environment)
    assert (found and found.url) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "excepted", "proxied"),
    [
        ("*", ["https://a.example", "https://1.2.3.4"], []),
        (
            "a.example",
            ["https://a.example", "https://b.a.example", "https://A.example:5"],
            ["https://ba.example"],
        ),
        (".a.example", ["https://b.a.example"], ["https://a.example"]),
        ("*.a.example", ["https://b.a.example"], ["https://a.example"]),
        ("a.example:443", ["https://a.example"], ["https://a.example:5000"]),
        ("x, A.EXAMPLE ,y", ["https://a.example"], ["https://z.example"]),
        ("10.0.0.0/8", ["https://10.1.2.3"], ["https://11.1.2.3", "https://a.example"]),
        ("10.0.0.1/8", ["https://10.1.2.3"], []),
        ("10.1.2.3", ["https://10.1.2.3:5000"], ["https://10.1.2.4"]),
        ("10.1.2.3:5000", ["https://10.1.2.3:5000"], ["https://10.1.2.3"]),
        ("fd00::/8", ["https://[fd00::1]"], ["https://[fe00::1]"]),
        ("fd00::1", ["https://[fd00::1]", "https://[fd00:0::1]:5"], ["https://[fd00::2]"]),
        ("[fd00::1]:5", ["https://[fd00::1]:5"], ["https://[fd00::1]"]),
        ("::ffff:10.1.2.3", ["https://10.1.2.3"], []),
        (",,", [], ["https://a.example"]),
        ("10.0.0.0/99", [], ["https://10.1.2.3"]),
        ("example", ["https://a.example"], ["https://example.com"]),
    ],
)
def test_no_proxy(no_proxy: str, excepted: list[str], proxied: list[str]) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        environment = PROXY | {name: no_proxy}
        for url in excepted:
            assert proxy_for(origin_of(url), environment) is None, url
        for url in proxied:
            assert proxy_for(origin_of(url), environment) is not None, url


@given(st.text(max_size=30))
def test_any_no_proxy_can_be_read(text: str) -> None:
    for host in ("a.example", "10.1.2.3", "fd00::1"):
        assert proxy_for(Origin("https", host, 443), PROXY | {"NO_PROXY": text}) in (
            None,
            Proxy("http://proxy.example:3128", "proxy.example:3128", "", ""),
        )


@pytest.mark.parametrize(
    "value", ["socks5://u:hidden@p:1080", "ftp://p", "http://", "http://[::1", "http://p:x"]
)
def test_a_proxy_that_cannot_be_used(value: str) -> None:
    with pytest.raises(UsageError, match="HTTPS_PROXY") as caught:
        proxy_for(origin_of("https://a.example"), {"HTTPS_PROXY": value})
    assert "hidden" not in f"{caught.value} {caught.value.fix}"
    assert redact(caught.value.fix) == caught.value.fix
    assert "SOCKS is not supported" in caught.value.fix


def relay(target: Peer, *, refuse: bytes = b"") -> Step:
    """Answer a CONNECT and pass everything on; names are not resolved: all lead to `target`."""

    def step(talk: Talk, _: Request) -> None:
        if refuse:
            talk.send(refuse)
            return
        far = socket.create_connection(("127.0.0.1", target.port))
        talk.send(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        threading.Thread(target=_pump, args=(far, talk.sock), daemon=True).start()
        _pump(talk.sock, far)

    return step


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def through(proxy: Peer, authority: Authority, user: str = "") -> Access:
    scheme = proxy.url.partition(":")[0]
    url = f"{scheme}://{user}{proxy.place}"
    return Access(environment={"HTTPS_PROXY": url, "HTTP_PROXY": url}, ca_file=str(authority.ca_file))


@pytest.mark.parametrize("secure", [False, True], ids=["proxy", "proxy over tls"])
def test_tls_goes_through_a_tunnel(authority: Authority, secure: bool) -> None:
    context = authority.server_context() if secure else None
    data = bytes(3_000_000)
    with (
        Peer(answer(200, b"ok"), context=authority.server_context()) as peer,
        Peer(b"", context=context) as proxy,
    ):
        proxy.steps = [relay(peer)]
        with Client(through(proxy, authority, "me:s%40cret@")) as client:
            url = f"https://registry.test:{peer.port}/x"
            for _ in range(2):
                response = client.transport.request("PUT", url, body=data, headers={"Authorization": "mine"})
                assert response.read(10) == b"ok"
        (request,) = proxy.requests
        assert (request.method, request.target) == ("CONNECT", f"registry.test:{peer.port}")
        assert request.headers["proxy-authorization"] == "Basic bWU6c0BjcmV0"
        assert "authorization" not in request.headers
        assert len(peer.requests) == 2
        assert peer.requests[0].body == data
        assert peer.requests[0].headers["authorization"] == "mine"
        assert "proxy-authorization" not in peer.requests[0].headers


def test_plain_http_is_asked_of_the_proxy(authority: Authority) -> None:
    with Peer(answer(200, b"ok")) as proxy, Client(through(proxy, authority, "me:s%40cret@")) as client:
        assert client.transport.request("GET", "http://a.example/x?y=1").read(10) == b"ok"
        assert proxy.requests[0].target == "http://a.example/x?y=1"
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic bWU6c0BjcmV0"
        assert proxy.requests[0].headers["host"] == "a.example"


def test_what_is_excepted_is_reached_directly(authority: Authority) -> None:
    with Peer(answer(200, b"ok")) as peer, Peer(answer(500)) as proxy:
        access = through(proxy, authority)
        with Client(access) as client:
            assert client.transport.request("GET", peer.url).read(10) == b"ok"
        assert proxy.requests == []


@pytest.mark.parametrize("url", ["https://a.example/?q=hidden", "http://a.example/?q=hidden"])
@pytest.mark.parametrize(
    ("user", "words"), [("", "asks for user and password"), ("me:hidden@", "refuses user and password")]
)
def test_a_proxy_that_wants_a_login(authority: Authority, url: str, user: str, words: str) -> None:
    refusal = answer(407, Proxy_Authenticate="Basic", Connection="close")
    with Peer(refusal) as proxy, Client(through(proxy, authority, user)) as client:
        with pytest.raises(NetworkError, match=words) as caught:
            client.transport.request("GET", url)
        assert f"the proxy {proxy.place}" in caught.value.what
        assert "HTTPS_PROXY" in caught.value.fix
        assert "hidden" not in f"{caught.value} {caught.value.fix}"
        assert client.time.slept == []


def test_a_proxy_that_refuses(authority: Authority) -> None:
    with Peer(answer(403)) as proxy, Client(through(proxy, authority)) as client:
        with pytest.raises(NetworkError, match=r"refuses to connect to a\.example \(403\)") as caught:
            client.transport.request("GET", "https://a.example/")
        assert "NO_PROXY" in caught.value.fix
        assert not isinstance(caught.value, UnreachableError)


def test_a_proxy_that_does_not_reach_the_server(authority: Authority) -> None:
    with Peer(answer(503)) as proxy, Client(through(proxy, authority)) as client:
        with pytest.raises(UnreachableError, match=r"a\.example cannot be reached: the proxy .* answers 503"):
            client.transport.request("GET", "https://a.example/")
        assert len(proxy.requests) == 3


@pytest.mark.parametrize("url", ["https://a.example/", "http://a.example/"])
def test_a_proxy_that_is_not_there(authority: Authority, url: str) -> None:
    proxy = f"127.0.0.1:{closed_port()}"
    access = Access(environment={"HTTPS_PROXY": f"http://me:hidden@{proxy}", "HTTP_PROXY": proxy})
    with Client(access) as client, pytest.raises(UnreachableError, match="connection refused") as caught:
        client.transport.request("GET", url)
    assert f"the proxy {proxy} cannot be reached" in caught.value.what
    assert "HTTPS_PROXY" in caught.value.fix
    assert "hidden" not in f"{caught.value} {caught.value.fix}"


def test_a_proxy_that_breaks(authority: Authority) -> None:
    with (
        Peer(lambda talk, _: talk.reset()) as proxy,
        Client(through(proxy, authority)) as client,
        pytest.raises(UnreachableError, match=f"through the proxy {proxy.place}"),
    ):
        client.transport.request("GET", "https://a.example/")


def test_the_certificate_behind_a_tunnel_is_verified(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    with Peer(answer(200), context=other.server_context()) as peer, Peer(b"") as proxy:
        proxy.steps = [relay(peer)]
        with (
            Client(through(proxy, authority)) as client,
            pytest.raises(NetworkError, match="not trusted here"),
        ):
            client.transport.request("GET", f"https://registry.test:{peer.port}/")

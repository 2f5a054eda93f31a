"""Where a redirect leads, and what goes along."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostbuild.errors import ProtocolError, UnreachableError
from hostbuild.http.redirects import MOST_REDIRECTS, Hop, follow, origin_of, public
from hostbuild.model import Access
from tests.http.peers import Client, Peer, answer, closed_port
from tests.rig.tls import Authority


def to(location: str, status: int = 307) -> bytes:
    return answer(status, b"this way", Location=location)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b?x=1&y=%2F", "/b?x=1&y=%2F"),
        ("b", "/v2/b"),
        ("../c", "/c"),
        ("?q", "/v2/a?q"),
        ("/d#part", "/d"),
        ("/d/ü", "/d/%C3%BC"),
        (" /e ", "/e"),
    ],
)
def test_a_location_may_be_relative(location: str, target: str) -> None:
    step = to(location.encode().decode("latin-1"))
    with Peer(step, answer(200, b"ok")) as peer, Client() as client:
        response = client.transport.request(
            "GET", f"{peer.url}/v2/a?old=1", headers={"Authorization": "mine"}
        )
        assert response.read(10) == b"ok"
        assert [request.target for request in peer.requests] == ["/v2/a?old=1", target]
        assert peer.requests[1].headers["authorization"] == "mine"
        assert peer.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"])
def test_method_and_body(status: int, method: str) -> None:
    becomes_get = method not in ("GET", "HEAD") and (status == 303 or (method == "POST" and status < 303))
    body = b"data" if method in ("PUT", "PATCH", "POST") else None
    first = f"HTTP/1.1 {status} x\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n".encode()
    last = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    headers = {"Content-Type": "text/x", "Accept": "text/y"}
    with Peer(first, last) as peer, Client() as client:
        assert client.transport.request(method, peer.url, body=body, headers=headers).status == 200
        request = peer.requests[1]
    assert request.method == ("GET" if becomes_get else method)
    assert request.body == (b"" if becomes_get else body or b"")
    assert ("content-type" in request.headers) is not becomes_get
    assert request.headers["accept"] == "text/y"


def test_another_server_gets_no_credentials() -> None:
    with Peer(answer(200, b"ok")) as other, Client() as client:
        with Peer(to(f"http://user:word@{other.place}/blob?signed=1")) as peer:
            given = {"Authorization": "Bearer hidden", "Cookie": "hidden", "Range": "bytes=5-"}
            response = client.transport.request("GET", peer.url, headers=given)
            assert response.read(10) == b"ok"
            assert peer.requests[0].headers["authorization"] == "Bearer hidden"
        (request,) = other.requests
    assert not {"authorization", "cookie"} & set(request.headers)
    assert request.headers["range"] == "bytes=5-"
    assert request.headers["host"] == other.place
    assert request.target == "/blob?signed=1"


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST", "DELETE"])
def test_a_body_goes_to_another_server_only_where_it_is_content(status: int, method: str) -> None:
    with (
        Peer(answer(200, b"ok")) as other,
        Client() as client,
        Peer(to(f"{other.url}/there", status)) as peer,
    ):
        if method in ("PUT", "PATCH"):
            client.transport.request(method, peer.url, body=b"content")
            assert [request.body for request in other.requests] == [b"content"]
            return
        with pytest.raises(ProtocolError, match=f"redirects a {method} with its body") as caught:
            client.transport.request(method, peer.url, body=b"refresh_token=hidden")
    assert other.requests == []
    assert peer.place in caught.value.what
    assert other.place in caught.value.what
    assert "hidden" not in f"{caught.value}{caught.value.fix}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_post_without_a_body_may_go_to_another_server(status: int) -> None:
    with Peer(answer(202)) as other, Client() as client, Peer(to(f"{other.url}/there", status)) as peer:
        assert client.transport.request("POST", peer.url).status == 202
        assert [request.method for request in other.requests] == ["POST" if status > 303 else "GET"]


def test_credentials_do_not_come_back_with_the_way() -> None:
    with Peer(b"") as peer, Peer(b"") as other, Client() as client:
        peer.steps[:] = [to(f"{other.url}/x"), answer(200)]
        other.steps[:] = [to(f"{peer.url}/chosen-by-the-other")]
        client.transport.request("GET", peer.url, headers={"Authorization": "hidden"})
        assert "authorization" not in peer.requests[1].headers


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("https://a.example/x", "https://a.example:443/y", True),
        ("https://a.example/x", "https://A.example/y", True),
        ("https://a.example/x", "http://a.example/y", False),
        ("http://a.example/x", "https://a.example/y", False),
        ("https://a.example/x", "https://a.example:444/y", False),
        ("https://a.example/x", "https://b.a.example/y", False),
        ("https://a.example/x", "//b.example/y", False),
    ],
)
def test_who_is_the_same(before: str, after: str, kept: bool) -> None:
    hop = follow(Hop("GET", before, {"authorization": "x", "Cookie": "y", "Accept": "z"}, False), 302, after)
    assert set(hop.headers) == ({"authorization", "Cookie", "Accept"} if kept else {"Accept"})


def test_circles_are_refused() -> None:
    with Peer(to("/b"), to("/a?hidden=1")) as peer, Client() as client:
        with pytest.raises(ProtocolError, match="in circles") as caught:
            client.transport.request("GET", f"{peer.url}/a?hidden=1")
        assert "hidden" not in str(caught.value)
        assert len(peer.requests) == 2


def test_a_long_way_is_refused() -> None:
    with Peer(lambda talk, request: talk.send(to(request.target + "x"))) as peer, Client() as client:
        with pytest.raises(ProtocolError, match=f"more than {MOST_REDIRECTS} redirects"):
            client.transport.request("GET", f"{peer.url}/")
        assert len(peer.requests) == MOST_REDIRECTS + 1


def test_the_longest_way() -> None:
    steps = [to(f"/{number}") for number in range(MOST_REDIRECTS)]
    with Peer(*steps, answer(200)) as peer, Client() as client:
        assert client.transport.request("GET", f"{peer.url}/").status == 200


@pytest.mark.parametrize("location", ["ftp://x/y?hidden", "http://h:99999/?hidden", "mailto:x@hidden"])
def test_what_leads_nowhere(location: str) -> None:
    with Peer(to(location)) as peer, Client() as client:
        with pytest.raises(ProtocolError, match="no http or https URL"):
            client.transport.request("GET", peer.url)
        assert client.time.slept == []


@pytest.mark.parametrize("step", [answer(302), answer(300, Location="/b"), answer(304, Location="/b")])
def test_what_is_no_redirect(step: bytes) -> None:
    with Peer(step) as peer, Client() as client:
        assert client.transport.request("GET", peer.url).status in (300, 302, 304)
        assert len(peer.requests) == 1


def test_a_redirect_that_fails_is_tried_from_the_start() -> None:
    """What a registry signs may have run out meanwhile: it is asked again."""
    with Peer(to("/one"), answer(503), to("/two"), answer(200)) as peer, Client() as client:
        assert client.transport.request("GET", f"{peer.url}/a").status == 200
        assert [request.target for request in peer.requests] == ["/a", "/one", "/a", "/two"]


def test_from_tls_to_plain_http(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Peer(answer(200)) as plain, Peer(to(plain.url), context=authority.server_context()) as peer:
        trusting = Client(Access(ca_file=str(authority.ca_file)))
        with trusting as client, pytest.raises(ProtocolError, match="plain HTTP") as caught:
            client.transport.request("GET", peer.url)
        assert "--tls-verify=false" in caught.value.fix
        assert plain.requests == []
        with Client(Access(verify=False)) as client:
            assert client.transport.request("GET", peer.url).status == 200


def test_the_server_that_a_redirect_names_is_the_one_to_blame() -> None:
    place = f"127.0.0.1:{closed_port()}"
    with Peer(to(f"http://{place}/?signed=hidden")) as peer, Client(Access(retry_time=1)) as client:
        with pytest.raises(UnreachableError) as caught:
            client.transport.request("GET", peer.url)
        assert place in str(caught.value)
        assert "hidden" not in str(caught.value)


def test_names() -> None:
    assert public("https://u:p@H.example:443/a/b?c#d") == "https://h.example/a/b"
    assert public("http://[::1]:80/") == "http://[::1]/"
    assert origin_of("https://h.example.").place == "h.example"

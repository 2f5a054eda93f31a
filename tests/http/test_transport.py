"""A request and its answer; what is tried again, how long, and what is said about it."""

from __future__ import annotations

import pickle
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from subprocess import run

import pytest

from hostbuild.errors import (
    EXIT_TRY_LATER,
    InvalidValueError,
    OfflineError,
    ProtocolError,
    TransferBrokenError,
    UnreachableError,
)
from hostbuild.http import FileBody, Transport
from hostbuild.http.retries import RETRYABLE
from hostbuild.model import Access
from tests.http.peers import Client, Peer, answer, closed_port


def test_an_answer_is_given_as_it_is() -> None:
    with Peer(answer(200, b"hello", X_Thing="1")) as peer, Client() as client:
        with client.transport.request("GET", f"{peer.url}/a%20b?q=1", headers={"X-Mine": "2"}) as response:
            assert response.status == 200
            assert response.headers["x-tHING"] == "1"
            assert response.url == f"{peer.url}/a%20b?q=1"
            assert response.read(100) == b"hello"
        request = peer.requests[0]
    assert (request.method, request.target) == ("GET", "/a%20b?q=1")
    assert request.headers["x-mine"] == "2"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("hostbuild/")
    assert "authorization" not in request.headers


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 409, 413, 416, 501])
def test_final_statuses_are_returned(status: int) -> None:
    with Peer(answer(status)) as peer, Client() as client:
        assert client.transport.request("GET", peer.url).status == status
        assert len(peer.requests) == 1


@pytest.mark.parametrize("status", sorted(RETRYABLE))
def test_statuses_that_may_pass_are_tried_again(status: int) -> None:
    with Peer(answer(status, b"busy"), answer(200, b"ok")) as peer, Client() as client:
        assert client.transport.request("GET", peer.url, what="asking").read(10) == b"ok"
        assert client.time.slept == [1.0]
        (event,) = client.events
        assert event.kind == "waiting"
        assert str(status) in event.message
        assert event.data["host"] == peer.place
        assert event.data["seconds"] == 1.0
        assert peer.connections == 1, "the connection of a refusal serves again"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
def test_a_body_is_sent_again(method: str) -> None:
    with Peer(answer(503), answer(201)) as peer, Client() as client:
        assert client.transport.request(method, peer.url, body=b"data").status == 201
        assert [request.body for request in peer.requests] == [b"data", b"data"]


def test_retry_after_is_obeyed() -> None:
    date = "Tue, 24 Nov 2026 10:00:00 GMT"
    steps = [
        answer(429, Retry_After="9"),
        answer(503, Retry_After="Tue, 24 Nov 2026 10:00:30 GMT", Date=date),
        answer(429, Retry_After="-4"),
        answer(200),
    ]
    with Peer(*steps) as peer, Client() as client:
        assert client.transport.request("GET", peer.url).status == 200
        assert client.time.slept == [9.0, 30.0, 4.0]


def test_an_absurd_retry_after_is_capped() -> None:
    with Peer(answer(429, Retry_After="86400"), answer(200)) as peer, Client() as client:
        assert client.transport.request("GET", peer.url).status == 200
        assert client.time.slept == [60.0]


def test_a_server_that_stays_busy_is_given_up_when_the_time_is_over() -> None:
    with Peer(answer(503)) as peer, Client(Access(retry_time=10)) as client:
        with pytest.raises(UnreachableError) as caught:
            client.transport.request("GET", f"{peer.url}/x?secret=1", what="fetching it")
        assert sum(client.time.slept) == 10
    error = caught.value
    assert error.exit_code == EXIT_TRY_LATER
    assert "fetching it" in str(error)
    assert peer.place in str(error)
    assert "503 Service Unavailable" in error.why
    assert f"tried {len(peer.requests)} times" in error.why
    assert error.fix
    assert error.extra["status"] == 503
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_without_retry_the_status_is_returned() -> None:
    with Peer(answer(503)) as peer, Client() as client:
        assert client.transport.request("GET", peer.url, retry=False).status == 503
        assert client.time.slept == []


def test_a_refused_connection_is_tried_briefly() -> None:
    port = closed_port()
    with Client() as client:
        with pytest.raises(UnreachableError) as caught:
            client.transport.request("GET", f"http://127.0.0.1:{port}/v2/?token=hidden")
        assert client.time.slept == [1.0, 2.0]
    assert "connection refused" in caught.value.why
    assert "tried 3 times" in caught.value.why
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert not isinstance(caught.value, TransferBrokenError)


def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def getaddrinfo(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with (
        Client() as client,
        pytest.raises(UnreachableError, match="the name does not resolve; tried 3 times"),
    ):
        client.transport.request("GET", "https://nowhere.example/v2/")
    assert set(asked) == {"nowhere.example"}


def test_a_known_server_that_refuses_is_given_time() -> None:
    with Peer(answer(200)) as peer, Client(Access(retry_time=30)) as client:
        client.transport.request("GET", peer.url)
        peer.close()
        with pytest.raises(UnreachableError):
            client.transport.request("GET", peer.url)
        assert sum(client.time.slept) == 30, "it is being restarted, perhaps"


def test_all_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer(answer(200)) as peer, Client() as client:

        def getaddrinfo(host: str, port: int, **options: int) -> list[object]:
            if options.get("flags"):
                raise socket.gaierror(socket.EAI_NONAME, "not a number")
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, ("127.0.0.1", closed_port())), (*kind, ("127.0.0.1", peer.port))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        assert client.transport.request("GET", "http://two.example/").status == 200
        assert peer.requests[0].headers["host"] == "two.example"


def test_ipv6() -> None:
    with Peer(answer(200), host="::1") as peer, Client() as client:
        assert client.transport.request("GET", peer.url).status == 200
        assert peer.requests[0].headers["host"] == peer.place


def test_user_and_password_of_the_url_become_a_header() -> None:
    with Peer(answer(200)) as peer, Client() as client:
        client.transport.request("GET", f"http://me:s%40cret@{peer.place}/x")
        assert peer.requests[0].headers["authorization"] == "Basic bWU6c0BjcmV0"
        client.transport.request("GET", f"http://me:x@{peer.place}/", headers={"authorization": "Bearer t"})
        assert peer.requests[1].headers["authorization"] == "Bearer t"


def test_nothing_secret_is_said() -> None:
    with Peer(answer(500)) as peer, Client(Access(retry_time=3)) as client:
        url = f"http://me:hidden1@{peer.place}/x?sig=hidden2#hidden3"
        with pytest.raises(UnreachableError) as caught:
            client.transport.request("GET", url, headers={"Authorization": "Bearer hidden4"})
        said = [*map(repr, client.events), repr(client.transport), repr(caught.value), str(caught.value)]
        said += [caught.value.fix, repr(caught.value.extra)]
        error: BaseException | None = caught.value
        while error is not None:
            said += [repr(error), *map(repr, error.args)]
            error = error.__cause__ or error.__context__
    assert "hidden" not in " ".join(said)
    assert f"http://{peer.place}/x" in str(caught.value)


def test_nothing_is_logged_by_the_libraries_below(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nno header\r\n\r\n"
    with Peer(broken) as peer, Client() as client:
        client.transport.request("GET", f"{peer.url}/?signed=hidden")
    assert "hidden" not in caplog.text


@pytest.mark.parametrize(
    "url", ["ftp://x/", "x", "http://", "https://user:hidden@[::1/", "http://h:99999/", "http://h:0/"]
)
def test_what_is_no_url(url: str) -> None:
    with Client() as client, pytest.raises(InvalidValueError) as caught:
        client.transport.request("GET", url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("headers", [{"X": "a\r\nB: c"}, {"X\r\nY": "a"}])
def test_headers_cannot_be_smuggled(headers: dict[str, str]) -> None:
    with Peer(answer(200)) as peer, Client() as client:
        with pytest.raises(InvalidValueError):
            client.transport.request("GET", peer.url, headers=headers)
        assert peer.requests == []


def test_offline() -> None:
    with Peer(answer(200)) as peer, Client(Access(offline=True)) as client:
        with pytest.raises(OfflineError, match="fetching it needs the network"):
            client.transport.request("GET", peer.url, what="fetching it")
        assert peer.connections == 0


def test_what_a_server_names_may_be_plain_on_this_machine_only() -> None:
    with Client() as client, Peer(answer(200)) as peer:
        assert client.transport.request("GET", peer.url, trusted=False).status == 200
        with pytest.raises(ProtocolError, match="plain HTTP"):
            client.transport.request("GET", "http://elsewhere.example/token?x=hidden", trusted=False)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.1", True),
        ("[::1]:5000", True),
        ("::1", True),
        ("a.localhost:80", True),
        ("registry.example:5000", False),
        ("localhost.example", False),
        ("10.0.0.1:5000", False),
        ("", False),
    ],
)
def test_where_plain_http_is_allowed(host: str, allowed: bool) -> None:
    assert Transport(Access()).plain_http_allowed(host) is allowed
    assert Transport(Access(verify=False)).plain_http_allowed(host)


def test_what_does_not_speak_http() -> None:
    with Peer(b"220 mail.example ESMTP\r\n") as peer, Client() as client:
        with pytest.raises(ProtocolError, match="does not answer in HTTP"):
            client.transport.request("GET", peer.url)
        assert client.time.slept == []


def test_a_head_without_end_is_refused() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n"
    with Peer(head) as peer, Client() as client, pytest.raises(ProtocolError):
        client.transport.request("GET", peer.url)


def test_interim_answers_without_end_are_refused() -> None:
    with (
        Peer(b"HTTP/1.1 100 Continue\r\n\r\n" * 80_000) as peer,
        Client() as client,
        pytest.raises(ProtocolError),
    ):
        client.transport.request("GET", peer.url)


def test_the_answer_has_a_bound() -> None:
    with Peer(answer(200, b"x" * 101)) as peer, Client() as client:
        response = client.transport.request("GET", peer.url)
        with pytest.raises(ProtocolError, match="too long"):
            response.read(100)
        assert len(client.transport.request("GET", peer.url).read(101)) == 101


def test_no_content_coding_is_undone() -> None:
    with Peer(answer(200, b"\x1f\x8b not really", Content_Encoding="gzip")) as peer, Client() as client:
        assert client.transport.request("GET", peer.url).read(100) == b"\x1f\x8b not really"


def test_cookies_are_not_kept() -> None:
    with Peer(answer(200, Set_Cookie="a=b")) as peer, Client() as client:
        client.transport.request("GET", peer.url)
        client.transport.request("GET", peer.url)
        assert "cookie" not in peer.requests[1].headers


def test_a_head_has_no_body_and_its_connection_serves_again() -> None:
    step = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"
    with Peer(step) as peer, Client() as client:
        for _ in range(3):
            with client.transport.request("HEAD", peer.url) as response:
                assert response.headers["content-length"] == "999999999"
                assert response.read(10) == b""
        assert peer.connections == 1


def test_many_threads_share_one_transport() -> None:
    with (
        Peer(lambda talk, request: talk.send(answer(200, request.target.encode()))) as peer,
        Client() as client,
    ):

        def ask(number: int) -> bytes:
            return client.transport.request("GET", f"{peer.url}/{number}").read(100)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(200))) == [b"/%d" % number for number in range(200)]


def test_a_body_that_cannot_be_read_is_no_trouble_of_the_network(tmp_path: object) -> None:
    with Peer(answer(201)) as peer, Client() as client:
        with pytest.raises(FileNotFoundError):
            client.transport.request("PUT", peer.url, body=FileBody(f"{tmp_path}/missing", 5))
        assert client.time.slept == []


def test_the_import_is_light() -> None:
    heavy = "requests urllib3 truststore ssl socket http.client email.message"
    code = f"import sys, hostbuild.http; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

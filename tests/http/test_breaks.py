"""Connections that break, peers that fall silent or trickle, and answers that come while a body is sent."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hostbuild.errors import CorruptBlobError, TransferBrokenError, UnreachableError
from hostbuild.http import Body, BytesBody, FileBody
from hostbuild.http.wires import LEAST_PROGRESS, Pace, TooSlowError
from hostbuild.model import Access
from tests.http.peers import Client, Peer, Request, Step, Talk, answer
from tests.rig.tls import Authority

BIG = 8 * 1024 * 1024
OK = answer(200, b"ok")


def reset(talk: Talk, _: Request) -> None:
    talk.reset()


def close(talk: Talk, _: Request) -> None:
    talk.sock.shutdown(socket.SHUT_RDWR)


def cut(data: bytes) -> Step:
    """Send this and close."""

    def step(talk: Talk, _: Request) -> None:
        talk.send(data)
        talk.sock.shutdown(socket.SHUT_RDWR)

    return step


def cut_by_reset(data: bytes) -> Step:
    def step(talk: Talk, _: Request) -> None:
        talk.send(data)
        talk.reset()

    return step


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

BREAKS = {
    "reset before the answer": reset,
    "closed before the answer": close,
    "within the status line": cut(b"HTTP/1."),
    "within the headers": cut(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "before the body": cut(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
    "within the body": cut(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"),
    "reset within the body": cut_by_reset(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"),
    "within a chunk": cut(CHUNKED + b"2\r\no"),
    "before a chunk": cut(CHUNKED + b"1\r\no\r\n"),
    "within a chunk's size": cut(CHUNKED + b"1"),
    "before the last chunk's end": cut(CHUNKED + b"2\r\nok\r\n"),
    "within the headers, by reset": cut_by_reset(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "an impossible chunk": cut(CHUNKED + b"zz\r\nok\r\n"),
}


@pytest.mark.parametrize("step", BREAKS.values(), ids=BREAKS.keys())
def test_a_break_is_tried_again(step: Step) -> None:
    with Peer(step, OK) as peer, Client() as client:
        assert client.transport.request("GET", peer.url).read(10) == b"ok"
        assert client.time.slept == [1.0]
        assert [event.kind for event in client.events] == ["waiting"]


@pytest.mark.parametrize("step", BREAKS.values(), ids=BREAKS.keys())
def test_a_break_that_stays_is_one_clear_error(step: Step) -> None:
    with Peer(step) as peer, Client(Access(retry_time=5)) as client:
        with pytest.raises(UnreachableError, match="tried 4 times") as caught:
            client.transport.request("GET", peer.url)
        assert peer.place in caught.value.what
        assert caught.value.why
        assert sum(client.time.slept) == 5


@pytest.mark.parametrize("step", BREAKS.values(), ids=BREAKS.keys())
def test_without_retry_a_break_is_raised_where_it_is_met(step: Step) -> None:
    with Peer(step, OK) as peer, Client() as client:
        with pytest.raises(TransferBrokenError):
            client.transport.request("GET", peer.url, retry=False).read(10)
        assert len(peer.requests) == 1


def test_without_retry_the_head_of_a_broken_answer_is_not_lost() -> None:
    step = cut(b"HTTP/1.1 202 Accepted\r\nLocation: /next\r\nContent-Length: 9\r\n\r\n")
    with Peer(step) as peer, Client() as client:
        response = client.transport.request("PATCH", peer.url, body=b"x", retry=False)
        assert (response.status, response.headers["location"]) == (202, "/next")


def test_the_broken_body_of_a_refusal_is_given_as_it_came() -> None:
    step = cut(b"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\nno such")
    with Peer(step) as peer, Client() as client:
        assert client.transport.request("GET", peer.url).read(100) == b"no such"
        assert client.time.slept == []


@pytest.mark.parametrize("end", [cut, cut_by_reset])
def test_all_that_came_before_a_break_is_given(end: Callable[[bytes], Step]) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG
    with Peer(end(head + bytes(5_000_000))) as peer, Client() as client:
        pieces: list[bytes] = []
        response = client.transport.request("GET", peer.url)
        with pytest.raises(TransferBrokenError) as caught:
            pieces.extend(response.pieces())
        came = len(b"".join(pieces))
        assert f"after {came} bytes" in caught.value.why
        assert came == 5_000_000 or end is cut_by_reset  # a reset takes with it what was not sent yet


def test_a_break_after_the_answer_is_none() -> None:
    with Peer(cut_by_reset(OK), OK) as peer, Client() as client:
        assert client.transport.request("GET", peer.url).read(10) == b"ok"
        assert client.transport.request("GET", peer.url).read(10) == b"ok"
        assert client.time.slept == []


def test_an_idle_connection_that_the_server_closes_is_no_fault() -> None:
    """The server ends the connection in the moment of the next request."""
    with Peer(OK, close, OK) as peer, Client() as client:
        client.transport.request("GET", peer.url)
        assert client.transport.request("POST", peer.url, body=b"x").read(10) == b"ok"
        assert (client.time.slept, client.events) == ([], [])
        assert peer.requests[-1].body == b"x"


def test_the_connection_of_a_body_left_unread_is_ended() -> None:
    with Peer(answer(200, bytes(BIG)), OK) as peer, Client() as client:
        with client.transport.request("GET", peer.url):
            pass
        assert client.transport.request("GET", peer.url).read(10) == b"ok"
        assert peer.connections == 2


# Silence


def wait(talk: Talk, _: Request) -> None:
    """Say nothing until the client goes."""
    with contextlib.suppress(OSError):
        talk.sock.recv(1)


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123"])
def test_a_silent_peer_is_given_up(begin: bytes) -> None:
    def step(talk: Talk, request: Request) -> None:
        talk.send(begin)
        wait(talk, request)

    with (
        Peer(step) as peer,
        Client(Access(silence=0.05, retry_time=0)) as client,
        pytest.raises(UnreachableError, match=r"no answer for 0\.05 s"),
    ):
        client.transport.request("GET", peer.url)


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    gone = threading.Event()
    with (
        Peer(lambda *_: gone.wait(), early=True) as peer,
        Client(Access(silence=0.2, retry_time=0)) as client,
    ):
        with pytest.raises(UnreachableError, match=r"no answer for 0\.2 s"):
            client.transport.request("PUT", peer.url, body=bytes(4 * BIG))
        gone.set()


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"])
def test_a_trickling_peer_is_given_up(head: bytes) -> None:
    """A byte a moment: it is never silent for 0.2 s, and never done."""

    def step(talk: Talk, _: Request) -> None:
        talk.send(head or b"HTTP/1.1 200 OK\r\nX: ")
        gone = threading.Event()
        with contextlib.suppress(OSError):
            while not gone.wait(0.02):
                talk.send(b"x")

    with (
        Peer(step) as peer,
        Client(Access(silence=0.2, retry_time=0), real_clock=True) as client,
        pytest.raises(UnreachableError, match=r"fewer than 1024 bytes moved in 0\.2 s"),
    ):
        client.transport.request("GET", peer.url)


def test_the_least_pace() -> None:
    pace = Pace(60)
    pace.note(59, 1)  # the wait for the first byte is bounded by the silence alone
    pace.note(59, LEAST_PROGRESS - 2)
    pace.note(0, 1)  # a KiB: counted anew
    pace.note(30, 10)
    with pytest.raises(TooSlowError):
        pace.note(30, 10)


# What is sent


def test_a_large_body_arrives(tmp_path: Path) -> None:
    data = bytes(range(256)) * (BIG // 256)
    path = tmp_path / "file"
    path.write_bytes(data)
    bodies: list[Body] = [
        BytesBody(data),
        FileBody(path, BIG),
        FileBody(lambda at: io.BytesIO(data[at:]), BIG),
    ]
    with Peer(answer(201)) as peer, Client() as client:
        for body in bodies:
            assert client.transport.request("PUT", peer.url, body=body).status == 201
            assert peer.requests[-1].body == data
            assert peer.requests[-1].headers["content-length"] == str(BIG)
            assert "transfer-encoding" not in peer.requests[-1].headers
            with body.open(BIG - 2) as stream:
                assert stream.read() == b"\xfe\xff"


@pytest.mark.parametrize("body", [None, b"", BytesBody(b"")])
def test_an_empty_body_has_a_length(body: bytes | Body | None) -> None:
    with Peer(answer(201)) as peer, Client() as client:
        assert client.transport.request("POST", peer.url, body=body).status == 201
        assert peer.requests[0].headers["content-length"] == "0"


@pytest.mark.parametrize("size", [5, 7])
def test_a_body_of_another_size_than_it_says(size: int) -> None:
    with Peer(answer(201)) as peer, Client() as client:
        with pytest.raises(CorruptBlobError, match="bytes instead of"):
            client.transport.request("PUT", peer.url, body=FileBody(lambda _: io.BytesIO(b"123456"), size))
        assert client.time.slept == []


def test_an_upload_that_breaks_is_sent_again_from_its_start() -> None:
    def half(talk: Talk, _: Request) -> None:
        talk.sock.recv(100_000)
        talk.reset()

    def take(talk: Talk, request: Request) -> None:
        talk.body(request)
        talk.send(answer(201))

    opened = []

    def opener(offset: int) -> io.BytesIO:
        opened.append(io.BytesIO(bytes(BIG)))
        return opened[-1]

    with Peer(half, answer(201), early=True) as peer, Client() as client:
        peer.steps[1] = take
        assert client.transport.request("PUT", peer.url, body=FileBody(opener, BIG)).status == 201
    assert len(opened) == 2
    assert all(stream.closed for stream in opened)


# Answers that come early

EARLY = [
    answer(401, b"who are you", WWW_Authenticate="Basic"),
    answer(413, b"who are you", Connection="close"),
    b"HTTP/1.0 413 Too Large\r\n\r\nwho are you",
]


def answer_and_stop(data: bytes, *, closing: bool) -> Step:
    def step(talk: Talk, _: Request) -> None:
        talk.sock.recv(1000)
        talk.send(data)
        if closing:
            talk.sock.shutdown(socket.SHUT_WR)
        threading.Event().wait(20)  # reads no more: the sender is stuck; the test's end breaks this

    return step


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("data", EARLY)
def test_an_early_answer_is_read(data: bytes, secure: bool, tmp_path: Path) -> None:
    """More than any buffer holds is sent, and the server reads no further: there is no way but to stop."""
    context, access = None, Access()
    if secure:
        authority = Authority(tmp_path)
        context, access = authority.server_context(), Access(ca_file=str(authority.ca_file))
    closing = b"close" in data or b"1.0" in data
    with (
        Peer(answer_and_stop(data, closing=closing), OK, early=True, context=context) as peer,
        Client(access) as client,
    ):
        response = client.transport.request("PUT", peer.url, body=bytes(4 * BIG), retry=False)
        assert response.status in (401, 413)
        assert response.read(100) == b"who are you"
        assert client.transport.request("GET", peer.url).read(10) == b"ok"
        assert peer.connections == 2, "a connection with half a request in it does not serve again"


def test_an_early_answer_before_a_reset_is_read() -> None:
    def step(talk: Talk, _: Request) -> None:
        talk.sock.recv(1000)
        talk.send(EARLY[1])
        talk.sock.shutdown(socket.SHUT_WR)
        while talk.sock.recv(100_000):
            pass

    with Peer(step, early=True) as peer, Client() as client:
        assert client.transport.request("PUT", peer.url, body=bytes(4 * BIG)).read(100) == b"who are you"


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"]
)
def test_interim_answers_end_nothing(interim: bytes, secure: bool, tmp_path: Path) -> None:
    context, access = None, Access()
    if secure:
        authority = Authority(tmp_path)
        context, access = authority.server_context(), Access(ca_file=str(authority.ca_file))

    def step(talk: Talk, request: Request) -> None:
        for byte in interim:
            talk.send(bytes([byte]))
        body = talk.body(request).body
        talk.send(interim * 2 + answer(201, b"%d" % len(body)))

    with Peer(step, early=True, context=context) as peer, Client(access) as client:
        assert client.transport.request("PUT", peer.url, body=bytes(4 * BIG)).read(100) == b"%d" % (4 * BIG)
        assert client.transport.request("GET", peer.url).status == 201
        assert peer.connections == 1


def test_a_tls_connection_that_is_cut_short_is_a_break(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    def step(talk: Talk, _: Request) -> None:
        assert isinstance(talk.sock, ssl.SSLSocket)
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123")
        socket.socket.shutdown(talk.sock, socket.SHUT_RDWR)

    with (
        Peer(step, OK, context=authority.server_context()) as peer,
        Client(Access(ca_file=str(authority.ca_file))) as client,
    ):
        assert client.transport.request("GET", peer.url).read(10) == b"ok"
        assert client.time.slept == [1.0]

"""`close` from another thread ends everything at once, in whatever phase it is."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hostbuild.errors import CancelledTaskError
from hostbuild.http import Transport, download, wires
from hostbuild.model import Access, Event
from tests.http.peers import Peer, Request, Talk, answer

#: Far more than a test may take: what does not end by `close` makes the test fail by its time.
LONG = Access(silence=3600, retry_time=3600)


def close_in_the_middle(
    work: Callable[[Transport], object], reached: threading.Event, access: Access = LONG
) -> None:
    transport = Transport(access, on_event=lambda _: None)
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(work, transport)
        assert reached.wait(20)
        transport.close()
        with pytest.raises(CancelledTaskError):
            task.result(20)


@contextlib.contextmanager
def stuck(begin: bytes = b"", *, early: bool = False) -> Iterator[tuple[Peer, threading.Event]]:
    """A peer that takes a request, sends `begin`, and then does nothing."""
    reached, over = threading.Event(), threading.Event()

    def step(talk: Talk, _: Request) -> None:
        talk.send(begin)
        reached.set()
        over.wait(30)

    with Peer(step, early=early) as peer:
        yield peer, reached
        over.set()


def test_while_waiting_for_an_answer() -> None:
    with stuck() as (peer, reached):
        close_in_the_middle(lambda transport: transport.request("GET", peer.url), reached)


def test_while_sending() -> None:
    with stuck(early=True) as (peer, reached):
        data = bytes(32_000_000)
        close_in_the_middle(lambda transport: transport.request("PUT", peer.url, body=data), reached)


@pytest.mark.parametrize("size", [100, 100_000_000])
def test_while_receiving(size: int) -> None:
    with stuck(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n123" % size) as (peer, reached):
        close_in_the_middle(
            lambda transport: list(transport.request("GET", peer.url, retry=False).pieces()), reached
        )


def test_while_receiving_until_the_connection_ends() -> None:
    with stuck(b"HTTP/1.0 200 OK\r\n\r\n" + bytes(100_000)) as (peer, reached):
        close_in_the_middle(lambda transport: list(transport.request("GET", peer.url).pieces()), reached)


def test_while_downloading() -> None:
    with stuck(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n123") as (peer, reached):

        def work(transport: Transport) -> None:
            download(
                lambda _: transport.request("GET", peer.url),
                lambda _: None,
                size=100_000_000,
                what="fetching",
                access=LONG,
            )

        close_in_the_middle(work, reached)


def test_in_a_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reached = threading.Event()

        def accept() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1)
                reached.set()
                sock.recv(100_000)
                threading.Event().wait(1)

        threading.Thread(target=accept, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        close_in_the_middle(lambda transport: transport.request("GET", url), reached)


def test_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose queue is full lets nobody in."""
    reached = threading.Event()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        plain = wires.Wires._connect_to

        def connect_to(self: wires.Wires, *args: Any) -> object:
            reached.set()
            return plain(self, *args)

        monkeypatch.setattr(wires.Wires, "_connect_to", connect_to)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        close_in_the_middle(lambda transport: transport.request("GET", url), reached)


def test_while_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    reached, over = threading.Event(), threading.Event()

    def getaddrinfo(*_: object, **options: int) -> None:
        if not options.get("flags"):
            reached.set()
            over.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    close_in_the_middle(lambda transport: transport.request("GET", "http://slow.example/"), reached)
    over.set()


def test_while_waiting_for_the_next_try() -> None:
    reached = threading.Event()

    def on_event(_: Event) -> None:
        reached.set()

    with Peer(answer(503, Retry_After="60")) as peer, ThreadPoolExecutor(1) as pool:
        transport = Transport(LONG, on_event=on_event)
        task = pool.submit(transport.request, "GET", peer.url)
        assert reached.wait(20)
        transport.close()
        with pytest.raises(CancelledTaskError):
            task.result(20)


def test_after_it_nothing_is_begun() -> None:
    with Peer(answer(200, b"ok")) as peer:
        for asked_before in (False, True):
            with Transport(Access()) as transport:
                if asked_before:
                    transport.request("GET", peer.url)
            before = peer.connections
            with pytest.raises(CancelledTaskError):
                transport.request("GET", peer.url)
            assert peer.connections == before
            transport.close()


def test_no_connection_is_left_open() -> None:
    """The server sees the end of each, although a second handle on it was kept."""
    ended = threading.Semaphore(0)

    def until_the_end(talk: Talk, _: Request) -> None:
        talk.send(answer(200, b"ok"))
        talk.sock.recv(1)
        ended.release()

    with Peer(until_the_end) as peer:
        with Transport(Access()) as transport:
            transport.request("GET", peer.url).read(10)
        assert ended.acquire(timeout=20)
        transport = Transport(Access())
        transport.request("GET", peer.url).read(10)
        del transport  # not closed, only forgotten
        assert ended.acquire(timeout=20)

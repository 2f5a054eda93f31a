"""A large body arrives whole, however often it breaks; what is not the body is never taken for it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import ProtocolError, TransferBrokenError
from hostbuild.http import Response, download
from hostbuild.http.download import PROGRESS
from hostbuild.model import Access
from tests.http.peers import Client, Peer, Request, Talk, answer

DATA = random.Random(4).randbytes(1_000_000)


def offset_of(request: Request) -> int:
    found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", "bytes=0-"))
    assert found
    return int(found[1])


class Server:
    """Serves DATA; `cuts` is after how many bytes of its body each answer breaks (the last one for good)."""

    def __init__(self, *cuts: int, ranges: bool = True, data: bytes = DATA) -> None:
        self.cuts = list(cuts)
        self.ranges = ranges
        self.data = data

    def __call__(self, talk: Talk, request: Request) -> None:
        start = offset_of(request) if self.ranges else 0
        body = self.data[start:]
        head = f"HTTP/1.1 {206 if start else 200} x\r\nContent-Length: {len(body)}\r\n"
        if start:
            head += f"Content-Range: bytes {start}-{len(self.data) - 1}/{len(self.data)}\r\n"
        cut = (self.cuts.pop(0) if len(self.cuts) > 1 else self.cuts[0]) if self.cuts else len(body)
        talk.send(head.encode() + b"\r\n" + body[:cut])
        if cut < len(body):
            talk.sock.shutdown(2)


class Fetch:
    """One download from a peer, and what it wrote."""

    def __init__(self, client: Client, peer: Peer, size: int = len(DATA)) -> None:
        self.client = client
        self.peer = peer
        self.size = size
        self.written = bytearray()

    def open(self, offset: int) -> Response:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        return self.client.transport.request("GET", self.peer.url, headers=headers, retry=False)

    def __call__(self, write: Callable[[bytes | memoryview], object] | None = None) -> bytes:
        client = self.client
        download(
            self.open,
            write or self.written.extend,
            size=self.size,
            what="fetching blob x",
            access=client.transport.access,
            on_event=client.events.append,
            clock=client.time.clock,
            sleep=client.time.sleep,
            random=lambda: 1.0,
        )
        return bytes(self.written)


def test_in_one_piece() -> None:
    with Peer(Server()) as peer, Client() as client:
        assert Fetch(client, peer)() == DATA
        assert "range" not in peer.requests[0].headers
        assert client.events == []


def test_after_breaks_the_rest_is_asked_for() -> None:
    with Peer(Server(300_000, 200_000, 10**9)) as peer, Client() as client:
        assert Fetch(client, peer)() == DATA
        assert [offset_of(request) for request in peer.requests] == [0, 300_000, 500_000]
        assert client.time.slept == [], "there was progress: no reason to wait"
        assert [event.kind for event in client.events] == ["waiting", "waiting"]
        assert "300000 of 1000000 bytes" in client.events[0].message


def test_without_ranges_the_whole_is_read_again() -> None:
    with Peer(Server(300_000, 500_000, 10**9, ranges=False)) as peer, Client() as client:
        assert Fetch(client, peer)() == DATA


@pytest.mark.parametrize("status", [206, 200])
def test_another_range_than_was_asked_for(status: int) -> None:
    """From before what is missing: passed over. From behind it: of no use, so the whole is asked for."""
    for start in (100_000, 300_000, 300_001):
        ranged = answer(status, DATA[start:], Content_Range=f"bytes {start}-999999/1000000")
        if status == 200:
            ranged = answer(200, DATA)
        with Peer(Server(300_000), ranged, answer(200, DATA)) as peer, Client() as client:
            assert Fetch(client, peer)() == DATA


@pytest.mark.parametrize(
    "refusal",
    [
        answer(416),
        answer(206, b"x"),
        answer(206, b"x", Content_Range="bytes x-y/z"),
        answer(206, b"x", Content_Range="bytes */1000000"),
        answer(206, b"x", Content_Range="bytes 5-1/1000000"),
    ],
)
def test_a_range_that_is_refused(refusal: bytes) -> None:
    with Peer(Server(300_000), refusal, answer(200, DATA)) as peer, Client() as client:
        assert Fetch(client, peer)() == DATA
        assert "range" not in peer.requests[-1].headers


def test_breaks_without_progress_end_it() -> None:
    with Peer(Server(300_000, 0)) as peer, Client(Access(retry_time=10)) as client:
        with pytest.raises(TransferBrokenError, match="300000 of 1000000 bytes came") as caught:
            Fetch(client, peer)()
        assert sum(client.time.slept) == 10
        assert "fetching blob x" in caught.value.what


def test_a_byte_a_connection_is_no_progress() -> None:
    with Peer(Server(1)) as peer, Client(Access(retry_time=10)) as client:
        with pytest.raises(TransferBrokenError):
            Fetch(client, peer)()
        assert sum(client.time.slept) == 10
        assert len(peer.requests) < 10


def test_progress_makes_up_for_breaks() -> None:
    """Each break alone would be within the time, all of them are not."""
    with Peer(Server(*[0, 0, PROGRESS] * 20)) as peer, Client(Access(retry_time=5)) as client:
        assert Fetch(client, peer)() == DATA
        assert sum(client.time.slept) > 5


@pytest.mark.parametrize("length", [len(DATA) - 1, len(DATA) + 1, 0])
def test_another_length_is_refused_before_a_byte_is_taken(length: int) -> None:
    with Peer(answer(200, (DATA + b"x")[:length])) as peer, Client() as client:
        fetch = Fetch(client, peer)
        with pytest.raises(ProtocolError, match=f"the server has {length} bytes, expected are 1000000"):
            fetch()
        assert fetch.written == b""


def test_another_length_is_found_when_going_on() -> None:
    step = answer(206, b"x", Content_Range="bytes 300000-300000/300001")
    with (
        Peer(Server(300_000), step) as peer,
        Client() as client,
        pytest.raises(ProtocolError, match="the server has 300001 bytes"),
    ):
        Fetch(client, peer)()


def chunked(data: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [data[at : at + 32768] for at in range(0, len(data), 32768)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def test_a_length_that_is_not_told() -> None:
    with Peer(chunked(DATA)) as peer, Client() as client:
        assert Fetch(client, peer)() == DATA


def test_more_than_was_expected_is_never_written() -> None:
    with Peer(chunked(DATA + b"x" * 500_000)) as peer, Client() as client:
        fetch = Fetch(client, peer)
        with pytest.raises(ProtocolError, match="more than the 1000000 bytes"):
            fetch()
        assert DATA.startswith(fetch.written)


def test_less_than_was_expected() -> None:
    with (
        Peer(chunked(DATA[:-1]), answer(416), chunked(DATA[:-1])) as peer,
        Client() as client,
        pytest.raises(ProtocolError, match="it ended after 999999 bytes, expected are 1000000"),
    ):
        Fetch(client, peer)()


def test_a_status_that_is_no_answer() -> None:
    with Peer(answer(416)) as peer, Client() as client, pytest.raises(ProtocolError, match="416"):
        Fetch(client, peer)()


def test_nothing_to_fetch() -> None:
    with Peer(answer(500)) as peer, Client() as client:
        assert Fetch(client, peer, size=0)() == b""
        assert peer.requests == []


def test_what_the_writer_raises_goes_through() -> None:
    def full(_: bytes | memoryview) -> None:
        raise OSError(28, "No space left on device")

    with Peer(Server()) as peer, Client() as client:
        with pytest.raises(OSError, match="No space"):
            Fetch(client, peer)(full)
        assert client.time.slept == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=6), st.booleans())
def test_whatever_breaks_the_bytes_are_the_right_ones(cuts: list[int], ranges: bool) -> None:
    with Peer(Server(*cuts, 10**9, ranges=ranges)) as peer, Client() as client:
        assert Fetch(client, peer)() == DATA

"""What is read whole has a time in all: a peer that drips it just fast enough is given up."""

from __future__ import annotations

import time

import pytest

from hostbuild.errors import TransferBrokenError, UnreachableError
from hostbuild.http.response import Response
from hostbuild.http.wires import DOCUMENT_SHARE, DOCUMENT_SIZE, Haste, TooLongError
from hostbuild.model import Access
from tests.http.peers import Client, Peer, Request, Step, Talk, answer

SILENCE = 10
#: More than the least progress, in a tenth of `SILENCE`.
DROP, SECONDS = b"x" * 2048, 1.0
ACCESS = Access(silence=SILENCE, retry_time=0)


def dripping(client: Client, head: bytes, drops: int = 1000) -> Step:
    """An answer that comes in drops, one in each second of the client's own clock."""

    def drip(talk: Talk, _request: Request) -> None:
        talk.send(head)
        for _ in range(drops):
            time.sleep(0.002)  # by then the client waits again; where it does not, that drop costs nothing
            client.time.now += SECONDS
            talk.send(DROP)

    return drip


def head(status: int, size: int | None) -> bytes:
    length = f"Content-Length: {size}" if size else "Connection: close"
    return f"HTTP/1.1 {status} X\r\n{length}\r\n\r\n".encode()


@pytest.mark.parametrize("size", [2_000_000, None])
def test_a_document_that_drips_is_given_up(size: int | None) -> None:
    with (
        Client(ACCESS) as client,
        Peer(dripping(client, head(200, size))) as peer,
        pytest.raises(UnreachableError, match=r"its answer did not end within 30 s"),
    ):
        client.transport.request("GET", peer.url)


def test_it_is_tried_again_while_there_is_time() -> None:
    access = Access(silence=SILENCE, retry_time=60)
    with Client(access) as client:
        steps = (dripping(client, head(200, 2_000_000)), answer(200, b"whole"))
        with Peer(*steps) as peer:
            assert client.transport.request("GET", peer.url).read(100) == b"whole"
        assert len(client.events) == 1


@pytest.mark.parametrize("size", [200_000_000, None])
def test_so_is_one_that_is_read_after_the_attempt(size: int | None) -> None:
    with Client(ACCESS) as client, Peer(dripping(client, head(200, size))) as peer:
        response = client.transport.request("GET", peer.url, stream=True)
        with pytest.raises(TransferBrokenError, match="did not end"):
            response.read(300_000_000)


@pytest.mark.parametrize("size", [60_000, 2_000_000, None])
def test_of_a_refusal_what_came_is_enough(size: int | None) -> None:
    with Client(ACCESS) as client, Peer(dripping(client, head(404, size))) as peer:
        response = client.transport.request("GET", peer.url)
        assert response.status == 404
        response.preload(64 * 1024)
        assert response.peek().startswith(DROP)


def test_the_head_of_an_answer_has_its_time_as_well() -> None:
    start = b"HTTP/1.1 200 X\r\nX-Long: "
    with (
        Client(ACCESS) as client,
        Peer(dripping(client, start)) as peer,
        pytest.raises(UnreachableError, match="did not end"),
    ):
        client.transport.request("GET", peer.url)


def test_a_chunk_that_never_begins_has_it_too() -> None:
    start = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    with (
        Client(ACCESS) as client,
        Peer(dripping(client, start)) as peer,
        pytest.raises(UnreachableError, match="did not end"),
    ):
        client.transport.request("GET", peer.url)


def test_a_blob_takes_what_time_it_needs() -> None:
    drops = SILENCE * DOCUMENT_SHARE * 4
    with Client(ACCESS) as client, Peer(dripping(client, head(200, drops * len(DROP)), drops)) as peer:
        response: Response = client.transport.request("GET", peer.url, stream=True)
        assert sum(map(len, response.pieces())) == drops * len(DROP)


def test_larger_documents_have_more_time() -> None:
    haste = Haste(10)
    for _ in range(8):
        haste.note(29, DOCUMENT_SIZE)
    haste = Haste(10)
    haste.note(30, 1)
    with pytest.raises(TooLongError):
        haste.note(0.1, 1)


def test_a_wait_that_is_too_long_is_told() -> None:
    with (
        Peer(answer(429, Retry_After="3600")) as peer,
        Client(Access(retry_time=10)) as client,
        pytest.raises(UnreachableError, match="it asks to wait for 3600 s"),
    ):
        client.transport.request("GET", peer.url)

"""Bodies over TLS, whose records are small: taken together where they are here, none lost where it breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostbuild.errors import TransferBrokenError
from hostbuild.model import Access
from tests.http.peers import Client, Peer, Request, Step, Talk, answer
from tests.rig.tls import Authority

DATA = bytes(range(251)) * 20_000


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def pieces_of(authority: Authority, step: Step) -> list[bytes]:
    """The body's pieces, read into one buffer."""
    access = Access(ca_file=str(authority.ca_file))
    buffer = memoryview(bytearray(1024 * 1024))
    with Peer(step, context=authority.server_context()) as peer, Client(access) as client:
        response = client.transport.request("GET", peer.url, retry=False, stream=True)
        return [bytes(piece) for piece in response.pieces_in(buffer)]


def test_records_are_taken_together(authority: Authority) -> None:
    pieces = pieces_of(authority, answer(200, DATA))
    assert b"".join(pieces) == DATA
    assert max(map(len, pieces)) > 16 * 1024


def test_without_a_length_the_end_is_the_end(authority: Authority) -> None:
    def until_close(talk: Talk, _: Request) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + DATA)
        talk.sock.shutdown(2)

    assert b"".join(pieces_of(authority, until_close)) == DATA


def test_a_reset_behind_the_last_record_is_told(authority: Authority) -> None:
    def reset(talk: Talk, _: Request) -> None:
        talk.send(answer(200, DATA)[:100_000])
        talk.reset()

    with pytest.raises(TransferBrokenError):
        pieces_of(authority, reset)

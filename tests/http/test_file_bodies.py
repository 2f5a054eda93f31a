"""Bodies that are files: the system sends them, and whatever it cannot send is read."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hostbuild.errors import CorruptBlobError
from hostbuild.http import FileBody
from hostbuild.http.bodies import PIECE
from hostbuild.layer.slices import open_plain, slice_stream
from hostbuild.model import Access
from tests.http.peers import Client, Peer, answer
from tests.rig.tls import Authority

DATA = bytes(range(251)) * (3 * PIECE // 251)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much each call of sendfile(2) sent."""
    counts: list[int] = []
    real = os.sendfile

    def sendfile(out: int, descriptor: int, offset: int, count: int) -> int:
        counts.append(real(out, descriptor, offset, count))
        return counts[-1]

    monkeypatch.setattr(os, "sendfile", sendfile)
    return counts


def put(body: FileBody) -> bytes:
    with Peer(answer(201)) as peer, Client() as client:
        assert client.transport.request("PUT", peer.url, body=body, retry=False).status == 201
        return peer.requests[0].body


def whole(path: Path) -> FileBody:
    return FileBody(path, len(DATA))


def buffered(path: Path) -> FileBody:
    return FileBody(lambda offset: path.open("rb"), len(DATA))


def part(path: Path) -> FileBody:
    return FileBody(lambda offset: slice_stream(open_plain(str(path)), 7, 7 + PIECE, str(path)), PIECE)


@pytest.mark.parametrize(("make", "expected"), [(whole, DATA), (buffered, DATA), (part, DATA[7 : 7 + PIECE])])
def test_the_system_sends_the_file(
    make: Callable[[Path], FileBody], expected: bytes, path: Path, sent: list[int]
) -> None:
    assert put(make(path)) == expected
    assert sum(sent) == len(expected)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_it_cannot_send_is_read(after: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have no sendfile(2); a disk may also fail in the middle, which reading tells."""
    calls: list[int] = []
    real = os.sendfile

    def sendfile(out: int, descriptor: int, offset: int, count: int) -> int:
        if len(calls) >= after:
            raise OSError(errno.EINVAL, "not here")
        calls.append(real(out, descriptor, offset, min(count, 1000)))
        return calls[-1]

    monkeypatch.setattr(os, "sendfile", sendfile)
    assert put(whole(path)) == DATA
    assert len(calls) == after


def test_what_is_encrypted_is_read(path: Path, sent: list[int], tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    access = Access(ca_file=str(authority.ca_file))
    with Peer(answer(201), context=authority.server_context()) as peer, Client(access) as client:
        assert client.transport.request("PUT", peer.url, body=whole(path)).status == 201
        assert peer.requests[0].body == DATA
    assert sent == []


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_a_file_of_another_size(size: int, path: Path) -> None:
    with pytest.raises(CorruptBlobError, match="bytes instead of"):
        put(FileBody(path, size))


def test_a_file_that_becomes_shorter_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.sendfile

    def sendfile(out: int, descriptor: int, offset: int, count: int) -> int:
        os.truncate(path, PIECE)
        return real(out, descriptor, offset, count)

    monkeypatch.setattr(os, "sendfile", sendfile)
    with pytest.raises(CorruptBlobError, match=f"{PIECE} bytes instead of {len(DATA)}"):
        put(whole(path))

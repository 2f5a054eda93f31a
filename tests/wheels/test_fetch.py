"""Wheels come into the cache once, whole, and only if they are what was locked."""

from __future__ import annotations

import base64
import hashlib
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostbuild.errors import (
    AuthenticationError,
    HostbuildError,
    NetworkError,
    OfflineError,
    ProtocolError,
    UnreachableError,
    WheelError,
)
from hostbuild.model import Access, Event
from hostbuild.oci.digest import Digest
from hostbuild.store.cache import Cache
from hostbuild.wheels.credentials import Credentials
from hostbuild.wheels.fetch import CachedWheel, fetch_wheels
from hostbuild.wheels.places import Place
from hostbuild.wheels.wanted import WheelSource
from hostbuild.wheels.wheel import read_wheel
from tests.http.peers import Peer, Request, Talk, answer, closed_port
from tests.http.test_download import Server
from tests.wheels.handmade import FILENAME, make_wheel

DATA = random.Random(5).randbytes(400_000)
DIGEST = Digest.of(DATA)
ACCESS = Access(retry_time=5.0, silence=20.0)


class Net:
    """A cache, and fetching into it."""

    def __init__(self, root: Path) -> None:
        self.cache = Cache(root / "cache")
        self.events: list[Event] = []

    def fetch(
        self, *sources: WheelSource, access: Access = ACCESS, credentials: Credentials | None = None
    ) -> tuple[CachedWheel, ...]:
        return fetch_wheels(sources, self.cache, access, self.events.append, credentials=credentials)

    def bytes_of(self, wheel: CachedWheel) -> bytes:
        data = Path(wheel.path).read_bytes()
        assert len(data) == wheel.size
        return data

    def is_empty(self) -> bool:
        return not [path for path in Path(self.cache.root, "blobs").rglob("*") if path.is_file()]


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return Net(tmp_path)


@pytest.fixture
def server() -> Iterator[Peer]:
    peer = Peer(Server(data=DATA))
    yield peer
    peer.close()


def source(peer: Peer, *, size: int | None = len(DATA), digest: Digest | None = DIGEST) -> WheelSource:
    return WheelSource(FILENAME, f"{peer.url}/{FILENAME}", digest, size)


@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_wheel_is_fetched_once(net: Net, server: Peer, size: int | None) -> None:
    wanted = source(server, size=size)
    (wheel,) = net.fetch(wanted)
    assert net.bytes_of(wheel) == DATA
    assert wheel == CachedWheel(FILENAME, DIGEST, len(DATA), net.cache.blobs.path(DIGEST), True)
    assert net.fetch(wanted) == (wheel._replace(is_new=False),)
    assert net.fetch(source(server, size=len(DATA)), access=Access(offline=True))[0].is_new is False
    assert len(server.requests) == 1


def test_a_wheel_that_a_blob_holds_already_needs_no_server(net: Net) -> None:
    net.cache.blobs.put(DATA)
    wanted = WheelSource(FILENAME, f"http://127.0.0.1:{closed_port()}/x", DIGEST, len(DATA))
    assert net.fetch(wanted)[0].is_new is False


def test_a_wheel_that_was_removed_is_fetched_again(net: Net, server: Peer) -> None:
    net.fetch(source(server, size=None))
    net.cache.blobs.discard(DIGEST)
    assert net.fetch(source(server, size=None))[0].is_new
    assert len(server.requests) == 2


@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_broken_download_goes_on_where_it_broke(net: Net, size: int | None) -> None:
    peer = Peer(Server(100_000, 150_000, len(DATA), data=DATA))
    (wheel,) = net.fetch(source(peer, size=size))
    assert net.bytes_of(wheel) == DATA
    ranges = [request.headers.get("range") for request in peer.requests]
    assert ranges[0] is None
    assert ranges[1] == "bytes=100000-"
    assert len(peer.requests) == 3
    assert any(event.kind == "waiting" and "going on from 100000" in event.message for event in net.events)


def test_a_body_of_unknown_length_is_taken_to_its_end(net: Net) -> None:
    def step(talk: Talk, request: Request) -> None:
        parts = [DATA[at : at + 5000] for at in range(0, len(DATA), 5000)]
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")

    (wheel,) = net.fetch(source(Peer(step), size=None))
    assert net.bytes_of(wheel) == DATA


def test_another_content_than_the_locked_one_is_refused_and_not_kept(net: Net) -> None:
    peer = Peer(answer(200, DATA[::-1]))
    with pytest.raises(WheelError, match="not the wheel that was locked") as caught:
        net.fetch(source(peer))
    assert peer.place in caught.value.why
    assert net.is_empty()


@pytest.mark.parametrize("body", [DATA[:-1], DATA + b"x", b""])
def test_another_length_than_the_locked_one_is_refused(net: Net, body: bytes) -> None:
    with pytest.raises(ProtocolError):
        net.fetch(source(Peer(answer(200, body))))
    assert net.is_empty()


def test_a_web_page_is_no_wheel(net: Net) -> None:
    page = Peer(answer(200, b"<html>log in", Content_Type="text/html; charset=utf-8"))
    with pytest.raises(ProtocolError, match="web page"):
        net.fetch(source(page, size=None))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NetworkError),
        (410, NetworkError),
    ],
)
def test_refusals(net: Net, status: int, kind: type[HostbuildError]) -> None:
    peer = Peer(answer(status, b"no"))
    with pytest.raises(kind) as caught:
        net.fetch(source(peer))
    assert str(status) in caught.value.why
    assert caught.value.extra["status"] == status
    assert FILENAME in caught.value.what
    assert caught.value.fix


def test_a_server_that_is_not_there(net: Net) -> None:
    wanted = WheelSource(FILENAME, f"http://127.0.0.1:{closed_port()}/{FILENAME}", DIGEST, None)
    with pytest.raises(UnreachableError, match=FILENAME):
        net.fetch(wanted, access=Access(retry_time=0.05))


def test_offline_names_what_is_missing(net: Net, server: Peer) -> None:
    wanted = [
        WheelSource(f"w{n}-1-py3-none-any.whl", f"{server.url}/{n}", Digest.of(b"%d" % n)) for n in range(8)
    ]
    with pytest.raises(OfflineError) as caught:
        net.fetch(*wanted, access=Access(offline=True))
    assert "8 wheels" in caught.value.what
    assert "w0-1" in caught.value.why
    assert "3 more" in caught.value.why
    assert not server.requests


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}", "FILE:{}"])
@pytest.mark.parametrize("digest", [DIGEST, None])
def test_a_file_of_this_machine(net: Net, tmp_path: Path, form: str, digest: Digest | None) -> None:
    path = tmp_path / "a b%20.whl"
    path.write_bytes(DATA)
    location = form.format(str(path) if form == "{}" else str(path).replace("%", "%25").replace(" ", "%20"))
    (wheel,) = net.fetch(WheelSource(FILENAME, location, digest), access=Access(offline=True))
    assert net.bytes_of(wheel) == DATA
    assert wheel.digest == DIGEST


def test_a_file_that_is_not_what_was_locked(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(DATA)
    for wanted in (
        WheelSource(FILENAME, str(path), Digest.of(b"x")),
        WheelSource(FILENAME, str(path), DIGEST, 7),
        WheelSource(FILENAME, str(tmp_path / "absent"), DIGEST),
        WheelSource(FILENAME, str(tmp_path), DIGEST),
        WheelSource(FILENAME, f"file://elsewhere{path}", DIGEST),
        WheelSource(FILENAME, f"git+https://me:secret@h/{path}", DIGEST),
    ):
        with pytest.raises(WheelError) as caught:
            net.fetch(wanted)
        assert "secret" not in str(caught.value)
    assert net.is_empty()


def test_what_comes_from_a_server_must_have_a_digest(net: Net, server: Peer) -> None:
    with pytest.raises(WheelError, match="no digest"):
        net.fetch(source(server, digest=None))
    assert not server.requests


def test_another_digest_than_sha256(net: Net, server: Peer) -> None:
    digest = Digest("sha512", hashlib.sha512(DATA).hexdigest())
    (wheel,) = net.fetch(source(server, digest=digest))
    assert wheel.digest == digest
    assert net.bytes_of(wheel) == DATA


def test_many_wheels_come_at_once_and_in_the_order_of_the_plan(net: Net) -> None:
    blobs = {f"/w{n}": random.Random(n).randbytes(20_000 + n) for n in range(20)}
    met = threading.Barrier(3)

    def step(talk: Talk, request: Request) -> None:
        if request.target in ("/w0", "/w1", "/w2"):
            met.wait(20)  # they are asked for side by side, or never
        talk.send(answer(200, blobs[request.target]))

    peer = Peer(*[step] * 20)
    plan = [
        WheelSource(f"w{n}", f"{peer.url}/w{n}", Digest.of(blobs[f"/w{n}"]), len(blobs[f"/w{n}"]))
        for n in range(20)
    ]
    wheels = net.fetch(*plan, *plan[:3])
    assert [wheel.filename for wheel in wheels] == [each.filename for each in (*plan, *plan[:3])]
    assert all(net.bytes_of(wheel) == blobs[f"/{wheel.filename}"] for wheel in wheels)
    assert len(peer.requests) == 20
    (told,) = (event for event in net.events if event.kind == "info")
    assert told.data == {"step": "wheels", "count": 20, "size": sum(map(len, blobs.values()))}


def test_the_first_error_ends_all(net: Net) -> None:
    release = threading.Event()

    def step(talk: Talk, request: Request) -> None:
        if request.target == "/bad":
            talk.send(answer(404, b""))
        else:
            talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + DATA[:1000])
            release.wait(60)

    peer = Peer(*[step] * 9)
    good = [WheelSource(f"w{n}", f"{peer.url}/w{n}", Digest.of(b"%d" % n), len(DATA)) for n in range(3)]
    with pytest.raises(NetworkError, match="bad"):
        net.fetch(*good, WheelSource("bad", f"{peer.url}/bad", DIGEST, len(DATA)))
    release.set()
    assert net.is_empty()
    assert not list(Path(net.cache.root, "tmp").iterdir())


def authorization(user: str) -> str:
    return "Basic " + base64.b64encode(user.encode()).decode()


def test_credentials_reach_the_server_and_nobody_else(net: Net, tmp_path: Path) -> None:
    other = Peer(Server(data=DATA))
    peer = Peer(answer(302, b"", Location=f"{other.url}/signed?x=1"))
    table = Credentials([(peer.place, "me:s3cret")])
    net.fetch(source(peer), credentials=table)
    assert peer.requests[0].headers["authorization"] == authorization("me:s3cret")
    assert "authorization" not in other.requests[0].headers
    own = Net(tmp_path / "own")
    location = f"http://you:0ther@{other.place}/{FILENAME}"
    wanted = WheelSource(FILENAME, location, DIGEST)
    own.fetch(wanted, credentials=table)
    assert other.requests[-1].headers["authorization"] == authorization("you:0ther")
    shown = repr((wanted, table, net.events, own.events, Place.parse(location)))
    assert not any(secret in shown for secret in ("s3cret", "0ther"))
    kept = b"".join(path.read_bytes() for path in Path(own.cache.root).rglob("*") if path.is_file())
    assert b"0ther" not in kept


@pytest.mark.parametrize("status", [401, 404, 500])
def test_errors_show_no_secret(net: Net, status: int) -> None:
    peer = Peer(answer(status, b"no"))
    location = f"http://me:s3cret@{peer.place}/{FILENAME}?token=t0ken"
    with pytest.raises(HostbuildError) as caught:
        net.fetch(WheelSource(FILENAME, location, DIGEST), access=Access(retry_time=0.05))
    shown = repr((caught.value, vars(caught.value), net.events)) + str(caught.value)
    assert "s3cret" not in shown
    assert "t0ken" not in shown


_PROCESS = """
import sys
from hostbuild.model import Access
from hostbuild.oci.digest import Digest
from hostbuild.store.cache import Cache
from hostbuild.wheels.fetch import fetch_wheels
from hostbuild.wheels.wanted import WheelSource
root, url, digest = sys.argv[1:]
(wheel,) = fetch_wheels([WheelSource("x.whl", url, Digest.parse(digest))], Cache(root), Access())
print(wheel.is_new)
"""


def test_two_processes_fetch_a_wheel_once(net: Net) -> None:
    asked, go = threading.Event(), threading.Event()

    def step(talk: Talk, request: Request) -> None:
        asked.set()
        go.wait(60)
        talk.send(answer(200, DATA))

    peer = Peer(step)
    arguments = [sys.executable, "-c", _PROCESS, net.cache.root, f"{peer.url}/x.whl", str(DIGEST)]
    first, second = (subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2))
    assert asked.wait(60)
    go.set()
    said = {process.communicate(timeout=60)[0].strip() for process in (first, second)}
    assert said == {"True", "False"}
    assert len(peer.requests) == 1


def test_a_fetched_wheel_is_read_where_it_lies(net: Net, tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"demo.py": "X = 1\n"})
    data = path.read_bytes()
    peer = Peer(answer(200, data))
    (cached,) = net.fetch(WheelSource(FILENAME, f"{peer.url}/{FILENAME}", Digest.of(data)))
    assert read_wheel(cached.path, cached.filename).name == "demo"

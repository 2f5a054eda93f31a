"""Each fault of the proxy is proven to happen, seen with the plainest of clients; the proxy tells no lies."""

from __future__ import annotations

import email.utils
import http.client
import os
import socket
import time

import pytest

from tests.rig import faults
from tests.rig.conftest import BLOB, DATA, DIGEST
from tests.rig.fault_proxy import Fault, FaultProxy
from tests.rig.raw import Raw, RawAnswer, digest_of
from tests.rig.registries import Registry


def get(
    proxy: FaultProxy, fault: Fault, headers: dict[str, str] | None = None, target: str = BLOB
) -> RawAnswer:
    """GET the blob through the fault, which must happen; the next GET must be as if nothing had been."""
    rule = proxy.on("GET", target, fault)
    try:
        return Raw(proxy.address).request("GET", target, headers=headers)
    finally:
        assert rule.hits == 1
        assert proxy.seen("GET", target)[-1].fault == fault.name
        if target == BLOB:
            assert Raw(proxy.address).request("GET", BLOB).body == DATA


def upload(proxy: FaultProxy, fault: Fault, data: bytes, repository: str = "up") -> RawAnswer:
    """PUT a blob through the fault, which must happen."""
    raw = Raw(proxy.address)
    place = raw.start_upload(repository)
    rule = proxy.on("PUT", r"/uploads/", fault)
    try:
        return raw.request("PUT", f"{place}&digest={digest_of(data)}", data)
    finally:
        assert rule.hits == 1


@pytest.mark.parametrize("code", [401, 403, 404, 408, 416, 429, 499, 500, 502, 503, 504, 522])
def test_a_status(proxy: FaultProxy, code: int) -> None:
    answer = get(proxy, faults.status(code))
    assert answer.status == code
    assert answer.json()["errors"][0]["code"] == "TEST"
    assert "retry-after" not in {name.lower() for name in answer.headers}


def test_a_status_after_a_large_body_arrives_and_the_registry_has_nothing(
    proxy: FaultProxy, registry: Registry
) -> None:
    data = os.urandom(8_000_000)
    assert upload(proxy, faults.status(500), data).status == 500
    assert digest_of(data) not in registry.blobs()


def test_retry_after_in_seconds_and_as_a_date(proxy: FaultProxy) -> None:
    assert get(proxy, faults.too_many()).status == 429
    assert get(proxy, faults.too_many(7)).headers["Retry-After"] == "7"
    date = get(proxy, faults.too_many(3600, as_date=True)).headers["Retry-After"]
    assert 3590 < email.utils.parsedate_to_datetime(date).timestamp() - time.time() < 3610


def test_challenges(proxy: FaultProxy) -> None:
    answer = get(proxy, faults.bearer("http://localhost:1/t", "s", "repository:app:pull"))
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="http://localhost:1/t",service="s"')


def test_html_where_json_belongs(proxy: FaultProxy) -> None:
    answer = get(proxy, faults.html(), target="/v2/app/manifests/v1")
    assert (answer.status, answer.body) == (200, faults.HTML)
    assert answer.headers["Content-Type"] == "text/html"


def test_reset_before_the_body(proxy: FaultProxy, registry: Registry) -> None:
    with pytest.raises(ConnectionResetError):
        get(proxy, faults.reset_before_body())
    data = os.urandom(4_000_000)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        upload(proxy, faults.reset_before_body(), data)
    assert proxy.seen("PUT")[0].received == 0
    assert digest_of(data) not in registry.blobs()


def test_reset_in_the_body_leaves_what_had_come(proxy: FaultProxy) -> None:
    data = os.urandom(4_000_000)
    raw = Raw(proxy.address)
    place = raw.start_upload("broken")
    proxy.on("PATCH", "/uploads/", faults.reset_in_body(1_500_000))
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        raw.request("PATCH", place, data)
    assert 1_500_000 <= proxy.seen("PATCH")[0].received < len(data)
    answer = raw.request("GET", place)
    assert answer.status == 204
    assert answer.headers["Range"] == "0-1499999"
    half = faults.reset_in_body()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        upload(proxy, half, data)
    assert 2_000_000 <= proxy.seen("PUT")[0].received < len(data)


def test_reset_after_the_body_has_done_the_work(proxy: FaultProxy, registry: Registry) -> None:
    data = os.urandom(1_000_000)
    with pytest.raises(ConnectionResetError):
        upload(proxy, faults.reset_after_body(), data)
    assert digest_of(data) in registry.blobs()
    assert proxy.seen("PUT")[0].status == 0


def read_raw(proxy: FaultProxy, fault: Fault, headers: str = "") -> tuple[bytes, bytes, BaseException | None]:
    """Head and body as they came on the socket, and how it ended (None: in peace)."""
    rule = proxy.on("GET", BLOB, fault)
    host, _, port = proxy.address.partition(":")
    ended: BaseException | None = None
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        sock.sendall(f"GET {BLOB} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        came = bytearray()
        try:
            while piece := sock.recv(65536):
                came += piece
        except OSError as error:
            ended = error
    assert rule.hits == 1
    head, _, body = bytes(came).partition(b"\r\n\r\n")
    return head, body, ended


def test_reset_in_the_answer(proxy: FaultProxy) -> None:
    head, body, ended = read_raw(proxy, faults.reset_in_answer(1000))
    assert f"Content-Length: {len(DATA)}".encode() in head
    assert body == DATA[:1000]
    assert isinstance(ended, ConnectionResetError)
    _, body, ended = read_raw(proxy, faults.reset_in_answer())
    assert body == DATA[: len(DATA) // 2]


def test_an_answer_cut_short_ends_in_peace(proxy: FaultProxy) -> None:
    head, body, ended = read_raw(proxy, faults.truncate(1000))
    assert f"Content-Length: {len(DATA)}".encode() in head
    assert (body, ended) == (DATA[:1000], None)
    with pytest.raises(http.client.IncompleteRead):
        get(proxy, faults.truncate())


def test_a_wrong_byte_is_the_only_one(proxy: FaultProxy) -> None:
    for at, place in ((None, len(DATA) // 2), (0, 0), (len(DATA) - 1, len(DATA) - 1)):
        body = get(proxy, faults.wrong_byte(at)).body
        assert [n for n, (a, b) in enumerate(zip(body, DATA, strict=True)) if a != b] == [place]


def test_other_bytes_have_their_own_length(proxy: FaultProxy) -> None:
    answer = get(proxy, faults.change_body(lambda data: data + b"more"))
    assert answer.body == DATA + b"more"
    assert answer.headers["Content-Length"] == str(len(DATA) + 4)


def test_a_body_is_damaged_on_the_way(proxy: FaultProxy, registry: Registry) -> None:
    for at in (0, 99_999):
        data = os.urandom(100_000)
        answer = upload(proxy, faults.damaged_body(at), data)
        assert answer.status == 400
        assert answer.json()["errors"][0]["code"] == "DIGEST_INVALID"
        assert digest_of(data) not in registry.blobs()


@pytest.mark.parametrize("by", [10, -10])
def test_a_wrong_length(proxy: FaultProxy, by: int) -> None:
    head, body, ended = read_raw(proxy, faults.wrong_length(by))
    assert f"Content-Length: {len(DATA) + by}".encode() in head
    assert (body, ended) == (DATA, None)


def test_an_answer_without_a_length(proxy: FaultProxy) -> None:
    answer = get(proxy, faults.chunked())
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert "content-length" not in {name.lower() for name in answer.headers}
    assert answer.body == DATA


def test_a_slow_answer_comes_in_many_pieces(proxy: FaultProxy) -> None:
    began = time.monotonic()
    assert get(proxy, faults.dribble(pieces=10, pause=0.02)).body == DATA
    assert time.monotonic() - began >= 9 * 0.02


def until_silent(sock: socket.socket) -> bytes:
    """What comes until nothing comes any more, on a connection that stays open."""
    came = bytearray()
    while True:
        try:
            piece = sock.recv(65536)
        except TimeoutError:
            return bytes(came)
        assert piece, "the connection was closed"
        came += piece


def test_silence_lasts_until_the_proxy_is_left(registry: Registry) -> None:
    with FaultProxy(registry.address) as proxy:
        proxy.on("GET", BLOB, faults.silence())
        proxy.on("GET", BLOB, faults.silence_in_answer(1000))
        host, _, port = proxy.address.partition(":")
        for expected in (0, 1000):
            with socket.create_connection((host, int(port)), timeout=0.3) as sock:
                sock.sendall(f"GET {BLOB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                came = until_silent(sock)
                assert len(came.partition(b"\r\n\r\n")[2]) == expected


@pytest.mark.parametrize("how", ["413", "reset"])
def test_a_cap_on_bodies(proxy: FaultProxy, registry: Registry, how: str) -> None:
    fault = faults.cap_body(1_000_000, "413" if how == "413" else "reset")
    small, large = os.urandom(900_000), os.urandom(8_000_000)
    assert upload(proxy, fault, small).status == 201
    if how == "413":
        assert upload(proxy, fault, large).status == 413
    else:
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            upload(proxy, fault, large)
    assert digest_of(small) in registry.blobs()
    assert digest_of(large) not in registry.blobs()


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost"])
def test_a_redirect_to_another_host_which_records_what_it_gets(
    proxy: FaultProxy, registry: Registry, host: str
) -> None:
    with FaultProxy(registry.address, host=host) as other:
        assert other.url == f"http://{host}:{other.port}"
        answer = get(proxy, faults.redirect(other.url, query="signature=secret"))
        assert answer.status == 307
        assert answer.headers["Location"] == f"{other.url}{BLOB}?signature=secret"
        careless = Raw(other.address, authorization="Bearer leak")
        assert careless.request("GET", f"{BLOB}?signature=secret").body == DATA
        assert other.secrets() == {"Bearer leak"}


def test_the_other_host_can_have_credentials_of_its_own(registry: Registry) -> None:
    with (
        FaultProxy(registry.address) as inner,
        FaultProxy(inner.address, host="127.0.0.2", credentials="Basic own") as other,
    ):
        assert Raw(other.address, authorization="Bearer leak").request("GET", BLOB).body == DATA
        assert inner.secrets() == {"Basic own"}
        assert other.secrets() == {"Bearer leak"}


def test_a_redirect_to_itself(proxy: FaultProxy) -> None:
    answer = get(proxy, faults.redirect_to(BLOB, code=302))
    assert (answer.status, answer.headers["Location"]) == (302, BLOB)


def test_range_ignored_and_another_range(proxy: FaultProxy) -> None:
    wanted = {"Range": "bytes=1000-"}
    answer = Raw(proxy.address).request("GET", BLOB, headers=wanted)
    assert (answer.status, answer.body) == (206, DATA[1000:])
    answer = get(proxy, faults.ignore_range(), wanted)
    assert (answer.status, answer.body) == (200, DATA)
    answer = get(proxy, faults.other_range(500), wanted)
    assert (answer.status, answer.body) == (206, DATA[500:])
    assert answer.headers["Content-Range"] == f"bytes 500-{len(DATA) - 1}/{len(DATA)}"


@pytest.mark.parametrize("style", ["absolute", "relative", "document", "query"])
def test_location_in_every_form(proxy: FaultProxy, style: str) -> None:
    forms = {
        "absolute": faults.location("absolute"),
        "relative": faults.location("relative"),
        "document": faults.location("document"),
        "query": faults.location("query"),
    }
    proxy.on("POST", "/uploads/", forms[style])
    raw = Raw(proxy.address)
    found = raw.good("POST", "/v2/up/blobs/uploads/").headers["Location"]
    start = {
        "absolute": f"http://{proxy.address}/v2/up/blobs/uploads/",
        "relative": "/v2/up/blobs/uploads/",
        "document": "",
        "query": "/v2/up/blobs/uploads/",
    }[style]
    assert found.startswith(start)
    assert "://" not in found or style == "absolute"
    assert ("marker=a%2Fb%2Bc%3Dd+%26" in found) is (style == "query")
    path = "/v2/up/blobs/uploads/" + found.removeprefix(start)
    data = os.urandom(100)
    assert raw.request("PUT", f"{path}&digest={digest_of(data)}", data).status == 201


def test_location_at_another_host(proxy: FaultProxy, registry: Registry) -> None:
    with FaultProxy(registry.address, host="127.0.0.2") as other:
        proxy.on("POST", "/uploads/", faults.location_at(other.url, "signature=secret"))
        found = Raw(proxy.address).good("POST", "/v2/up/blobs/uploads/").headers["Location"]
        assert found.startswith(f"{other.url}/v2/up/blobs/uploads/")
        assert found.endswith("&signature=secret")
        data = os.urandom(100)
        target = f"{found.removeprefix(other.url)}&digest={digest_of(data)}"
        assert Raw(other.address).request("PUT", target, data).status == 201


def mount(proxy: FaultProxy, repository: str) -> RawAnswer:
    return Raw(proxy.address).request("POST", f"/v2/{repository}/blobs/uploads/?mount={DIGEST}&from=app")


def test_mounts(proxy: FaultProxy) -> None:
    assert mount(proxy, "mount-right").status == 201
    assert Raw(proxy.address).request("HEAD", f"/v2/mount-right/blobs/{DIGEST}").status == 200
    proxy.on("POST", "mount=", faults.mount_refused())
    answer = mount(proxy, "mount-refused")
    assert answer.status == 202
    assert "/uploads/" in answer.headers["Location"]
    proxy.on("POST", "mount=", faults.mount_pretended())
    answer = mount(proxy, "mount-pretended")
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, DIGEST)
    assert Raw(proxy.address).request("HEAD", f"/v2/mount-pretended/blobs/{DIGEST}").status == 404


def test_a_header_set_and_taken_away(proxy: FaultProxy) -> None:
    target = "/v2/app/manifests/v1"
    assert (
        get(proxy, faults.header("Docker-Content-Digest", "x"), target=target).headers[
            "Docker-Content-Digest"
        ]
        == "x"
    )
    proxy.clear()
    answer = get(proxy, faults.header("Docker-Content-Digest", None), target=target)
    assert "Docker-Content-Digest" not in answer.headers
    assert answer.status == 200


def test_a_tag_moves_in_between(proxy: FaultProxy, registry: Registry) -> None:
    raw = Raw(registry.address)
    old = raw.put_image("moving", "v1", [b"old"])
    moves = faults.meanwhile(lambda: raw.put_image("moving", "v1", [b"new"]))
    proxy.on("GET", "/manifests/v1", moves)
    through = Raw(proxy.address)
    assert (
        through.request("HEAD", "/v2/moving/manifests/v1").headers["Docker-Content-Digest"] == old["digest"]
    )
    assert digest_of(through.request("GET", "/v2/moving/manifests/v1").body) != old["digest"]


def test_latency(proxy: FaultProxy) -> None:
    began = time.monotonic()
    assert get(proxy, faults.latency(0.2)).body == DATA
    assert time.monotonic() - began >= 0.2

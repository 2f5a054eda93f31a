"""The proxy itself: without rules it changes nothing, it records what it sees, and it tells no lies."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path

import pytest

from tests.rig import faults
from tests.rig.conftest import BLOB, DATA
from tests.rig.fault_proxy import Fault, FaultProxy
from tests.rig.handmade import write_handmade
from tests.rig.layout import LAYER
from tests.rig.processes import wait_until
from tests.rig.pulling import Puller
from tests.rig.raw import Raw, descriptor, digest_of
from tests.rig.registries import KINDS, Kind, Registry
from tests.rig.tls import Authority


@pytest.mark.parametrize("kind", KINDS)
def test_without_rules_it_is_a_registry(kind: Kind, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    write_handmade(layout, "registry.example/app:v1", {"linux/amd64": {"f": os.urandom(300_000)}}, {})
    with Registry(kind, tmp_path / "r") as registry, FaultProxy(registry.address) as proxy:
        puller = Puller(tmp_path / "p")
        reference = f"{proxy.address}/team/app:v1"
        puller.push(layout, reference)
        sizes = {f"sha256:{path.name}": path.stat().st_size for path in (layout / "blobs/sha256").iterdir()}
        sent = proxy.uploaded()
        assert "" not in sent
        assert sent
        assert all(sizes[digest] == size for digest, size in sent.items())
        assert max(sent.values()) > 300_000
        puller.skopeo(reference, tmp_path / "copied")
        assert proxy.downloaded() == sent
        puller.validate(reference)
        assert all(proxy.downloaded()[digest] % size == 0 for digest, size in sent.items())
        assert proxy.secrets() == set()


def test_requests_are_recorded_as_they_came(proxy: FaultProxy) -> None:
    raw = Raw(proxy.address, authorization="Bearer secret")
    raw.request("GET", BLOB + "?x=1", headers={"Range": "bytes=1-3"})
    raw.request("HEAD", BLOB)
    (exchange,) = proxy.seen("GET")
    assert (exchange.target, exchange.path, exchange.status) == (BLOB + "?x=1", BLOB, 206)
    assert (exchange.header("range"), exchange.sent, exchange.fault) == ("bytes=1-3", 3, "")
    (exchange,) = proxy.seen("HEAD")
    assert (exchange.status, exchange.sent) == (200, 0)
    assert proxy.secrets() == {"Bearer secret"}


def test_one_connection_serves_many_requests(proxy: FaultProxy) -> None:
    proxy.on("POST", "/uploads/", faults.status(503))
    connection = http.client.HTTPConnection(proxy.address, timeout=30)
    for method, target, body, expected in [
        ("GET", BLOB, None, 200),
        ("POST", "/v2/app/blobs/uploads/", b"x" * 300_000, 503),
        ("HEAD", BLOB, None, 200),
        ("GET", "/v2/app/blobs/" + digest_of(b"absent"), None, 404),
        ("GET", BLOB, None, 200),
    ]:
        connection.request(method, target, body)
        local = connection.sock.getsockname() if connection.sock else None
        answer = connection.getresponse()
        answer.read()
        assert answer.status == expected
        assert connection.sock is not None
        assert connection.sock.getsockname() == local
    connection.close()


def test_a_rule_takes_what_it_was_asked_to(proxy: FaultProxy) -> None:
    rule = proxy.on("GET|HEAD", "/blobs/", faults.status(500), times=2, skip=1)
    raw = Raw(proxy.address)
    assert [raw.request("GET", BLOB).status for _ in range(5)] == [200, 500, 500, 200, 200]
    assert raw.request("GET", "/v2/").status == 200
    assert rule.hits == 2
    proxy.on("GET", "/blobs/", faults.status(404), times=None)
    assert [raw.request("GET", BLOB).status for _ in range(3)] == [404] * 3
    assert raw.request("POST", "/v2/app/blobs/uploads/").status == 202
    proxy.clear()
    assert raw.request("GET", BLOB).status == 200
    assert len(proxy.exchanges) == 1


def test_tls_ends_at_the_proxy(registry: Registry, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with FaultProxy(registry.address, tls=authority) as proxy:
        raw = Raw(proxy.address, context=authority.client_context())
        assert raw.request("GET", BLOB).body == DATA
        assert raw.good("POST", "/v2/up/blobs/uploads/").headers["Location"].startswith(proxy.url + "/v2/")
        proxy.on("GET", BLOB, faults.reset_in_answer(1000))
        with pytest.raises((http.client.IncompleteRead, OSError)):
            raw.request("GET", BLOB)
        proxy.on("GET", BLOB, faults.truncate(1000))
        with pytest.raises((http.client.IncompleteRead, OSError)):
            raw.request("GET", BLOB)
        assert Raw(proxy.address, context=authority.client_context()).request("GET", BLOB).body == DATA
        with pytest.raises((http.client.BadStatusLine, OSError)):
            Raw(proxy.address).request("GET", BLOB)
        wait_until(lambda: proxy.handshakes_failed == 1, 20, "the failed handshake is counted")


def test_chunked_requests_pass(proxy: FaultProxy, registry: Registry) -> None:
    data = os.urandom(300_000)
    place = Raw(proxy.address).start_upload("up")
    connection = http.client.HTTPConnection(proxy.address, timeout=30)
    pieces = iter([data[:100_000], data[100_000:]])
    connection.request("PUT", f"{place}&digest={digest_of(data)}", pieces, encode_chunked=True)
    assert connection.getresponse().status == 201
    connection.close()
    assert digest_of(data) in registry.blobs()
    assert proxy.uploaded()[digest_of(data)] == len(data)


def test_what_a_registry_says_before_the_end_of_a_body_reaches_the_client(tmp_path: Path) -> None:
    with (
        Registry("docker-registry", tmp_path / "r", passwords=True) as registry,
        FaultProxy(registry.address) as proxy,
    ):
        answer = Raw(proxy.address).request("PUT", "/v2/up/blobs/uploads/x?digest=y", os.urandom(8_000_000))
        assert answer.status == 401


LIES = [
    ("GET", BLOB, faults.reset_in_body(10)),
    ("GET", BLOB, faults.truncate(len(DATA))),
    ("GET", "/v2/", faults.other_range(5)),
    ("GET", BLOB, faults.location("relative")),
    ("POST", "/v2/app/blobs/uploads/", faults.mount_refused()),
    ("POST", "/v2/app/blobs/uploads/", faults.mount_pretended()),
    ("GET", BLOB, faults.change_body(lambda data: data)),
    ("HEAD", BLOB, faults.wrong_byte()),
    ("GET", BLOB, faults.damaged_body()),
]


@pytest.mark.parametrize(("method", "target", "fault"), LIES, ids=lambda value: getattr(value, "name", None))
def test_a_fault_that_cannot_happen_fails_the_test(
    registry: Registry, method: str, target: str, fault: Fault
) -> None:
    proxy = FaultProxy(registry.address)
    proxy.on(method, "", fault)
    with pytest.raises((OSError, http.client.HTTPException)):
        Raw(proxy.address).request(method, target)
    with pytest.raises(AssertionError, match=f"could not do.*{target}"):
        proxy.__exit__(None)


def test_a_registry_that_is_not_there_fails_the_test() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    proxy = FaultProxy(address)
    with pytest.raises((OSError, http.client.HTTPException)):
        Raw(proxy.address).request("GET", "/v2/")
    with pytest.raises(AssertionError, match="cannot be reached"):
        proxy.__exit__(None)


def test_hand_filling_makes_images_that_others_read(registry: Registry, tmp_path: Path) -> None:
    raw = Raw(registry.address)
    made = raw.put_index("filled", "v1", {"linux/amd64": [b"1", b"2"], "linux/arm/v7": [b"3"]})
    puller = Puller(tmp_path)
    puller.validate(f"{registry.address}/filled:v1")
    assert puller.digest(f"{registry.address}/filled:v1") == made["digest"]
    assert raw.has_tag("filled", "v1")
    assert not raw.has_tag("filled", "v2")
    assert descriptor(DATA, LAYER) == raw.put_blob("filled", DATA)

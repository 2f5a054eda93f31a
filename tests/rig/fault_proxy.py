"""A server between client and registry that records everything and does wrong when told to.

    with FaultProxy(registry.address) as proxy:
        rule = proxy.on("PUT", r"/manifests/", faults.status(503), times=2)
        ...                          # the client speaks to proxy.address
    assert rule.hits == 2

It is a reverse proxy of HTTP/1.1 on raw sockets, one thread a connection. Requests that no rule takes are
passed on as they are (the client's Host too, so that a registry's Location leads back to the proxy). A fault
that could not happen as asked, and whatever goes wrong in the proxy itself, fails the test when it is left.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from tests.rig.tls import Authority, KeyPair
from tests.rig.turn import Exchange, RigError, Turn
from tests.rig.wire import Head, NotHttpError, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE = 120  # seconds that the proxy itself waits for anything: longer than any client under test


class Fault(NamedTuple):
    """What is done to one request; `name` is what tables and records call it."""

    name: str
    run: Callable[[Turn], None]


@dataclass
class Rule:
    """Which requests a fault is for: the matches after `skip`, `times` of them (None: all). `hits` counts."""

    method: re.Pattern[str]
    path: re.Pattern[str]
    fault: Fault
    times: int | None
    skip: int
    seen: int = 0
    hits: int = 0

    def takes(self, method: str, target: str) -> bool:
        if not (self.method.fullmatch(method) and self.path.search(target)):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.seen > self.skip + self.times):
            return False
        self.hits += 1
        return True


@dataclass
class FaultProxy:
    """The proxy, listening from the start; a context manager.

    `upstream` is the registry's host:port, plain HTTP. `host` is the address to listen at ("127.0.0.2" makes
    it another host). `tls` gives it a certificate of that authority (`pair` one of the caller's).
    `credentials` is an Authorization value put on what goes upstream: a second host that needs none from the
    client.
    """

    upstream: str
    host: str = "127.0.0.1"
    tls: Authority | None = None
    pair: KeyPair | None = None
    credentials: str = ""
    rules: list[Rule] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    handshakes_failed: int = 0

    def __post_init__(self) -> None:
        self._context = self.tls.server_context(self.pair) if self.tls else None
        self._lock = threading.Lock()
        self._wires: set[Wire] = set()
        self._threads: list[threading.Thread] = []
        self.stopping = threading.Event()
        self._listener = socket.create_server((self.host, 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self.address = f"{self.host}:{self.port}"
        self.url = f"{'https' if self.tls else 'http'}://{self.address}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    # Rules.

    def on(self, method: str, path: str, fault: Fault, *, times: int | None = 1, skip: int = 0) -> Rule:
        """Do `fault` to requests whose method (a pattern, all of it) and target (a pattern, searched) match.

        Of the matching ones the first `skip` are let through and `times` taken (None: all that follow). The
        first rule that takes a request has it.
        """
        rule = Rule(re.compile(method or ".*"), re.compile(path), fault, times, skip)
        with self._lock:
            self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget rules and records."""
        with self._lock:
            self.rules.clear()
            self.exchanges.clear()

    # What was seen.

    def seen(self, method: str = "", path: str = "") -> list[Exchange]:
        """The requests whose method and target match, in order of their arrival."""
        methods, paths = re.compile(method or ".*"), re.compile(path)
        with self._lock:
            return [x for x in self.exchanges if methods.fullmatch(x.method) and paths.search(x.target)]

    def secrets(self) -> set[str]:
        """All values of Authorization and Cookie that clients sent here."""
        names = ("authorization", "cookie", "proxy-authorization")
        return {value for x in self.seen() for name, value in x.headers if name.lower() in names}

    def downloaded(self) -> dict[str, int]:
        """Bytes of each blob that were sent to clients, by digest."""
        total: dict[str, int] = defaultdict(int)
        for exchange in self.seen("GET", r"/blobs/sha256:"):
            total[exchange.path.rpartition("/")[2]] += exchange.sent
        return dict(total)

    def uploaded(self) -> dict[str, int]:
        """Bytes of each blob that clients sent, by digest; under "" what belongs to no finished upload."""
        by_path: dict[str, int] = defaultdict(int)
        digests: dict[str, str] = {}
        for exchange in self.seen("POST|PATCH|PUT", r"/blobs/uploads/"):
            digest = parse_qs(urlsplit(exchange.target).query).get("digest", [""])[0]
            key = digest if exchange.method == "POST" else exchange.path
            by_path[key] += exchange.received
            if digest:
                digests[key] = digest
        total: dict[str, int] = defaultdict(int)
        for key, count in by_path.items():
            total[digests.get(key, "")] += count
        return {digest: count for digest, count in total.items() if digest or count}

    # The server.

    def _accept(self) -> None:
        while not self.stopping.is_set():
            sock, _ = self._listener.accept()
            if self.stopping.is_set():
                sock.close()
                return
            thread = threading.Thread(target=self._connection, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _connection(self, sock: socket.socket) -> None:
        sock.settimeout(_PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            try:
                sock = self._context.wrap_socket(sock, server_side=True)
            except (ssl.SSLError, OSError):
                self.handshakes_failed += 1
                sock.close()
                return
        wire = Wire(sock)
        with self._lock:
            self._wires.add(wire)
        try:
            while not self.stopping.is_set() and self._one_request(wire):
                pass
        except OSError:
            pass  # the client went away, or the proxy is being left
        finally:
            with self._lock:
                self._wires.discard(wire)
            with suppress(OSError):
                wire.socket.close()

    def _one_request(self, wire: Wire) -> bool:
        """Whether the connection stays open for another."""
        try:
            head = wire.head()
        except NotHttpError:
            with suppress(OSError):
                wire.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return False
        if head is None:
            return False
        turn, fault = self._begin(wire, head)
        try:
            if fault is None:
                turn.pass_on()
            else:
                fault.run(turn)
            return turn.finish()
        except RigError as error:
            if not self.stopping.is_set():
                self.failures.append(f"{turn.request.start}: {error}")
            wire.reset()
        except (NotHttpError, OSError):
            wire.reset()  # the client broke off
        except Exception as error:
            self.failures.append(f"{turn.request.start}: {error!r}")
            wire.reset()
        return False

    def _begin(self, wire: Wire, head: Head) -> tuple[Turn, Fault | None]:
        method, target = head.start.split(" ")[:2]
        with self._lock:
            rule = next((rule for rule in self.rules if rule.takes(method, target)), None)
            fault = rule.fault if rule else None
            exchange = Exchange(method, target, list(head.headers), fault=fault.name if fault else "")
            self.exchanges.append(exchange)
        turn = Turn(
            client=wire,
            request=head,
            exchange=exchange,
            upstream_address=self.upstream,
            scheme="https" if self.tls else "http",
            credentials=self.credentials,
            stopping=self.stopping,
            patience=_PATIENCE,
        )
        return turn, fault

    def stop(self) -> None:
        """Break what is under way and end all threads."""
        self.stopping.set()
        with suppress(OSError), socket.create_connection((self.host, self.port), timeout=10):
            self._accepting.join(timeout=10)  # the connection wakes it
        self._listener.close()
        with self._lock:
            for wire in self._wires:
                wire.kill()
        for thread in self._threads:
            thread.join(timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if kind is None:
            assert not self.failures, "the proxy could not do what was asked: " + "; ".join(self.failures)

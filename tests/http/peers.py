"""Servers of a few lines that answer exactly what a test wants, rightly or wrongly, and remember it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

from hostbuild.http import Transport
from hostbuild.model import DEFAULT_ACCESS, Access, Event


class Request(NamedTuple):
    """What a client sent: names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Talk:
    """One connection, seen from the server."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")

    def head(self) -> Request | None:
        """The next request without its body; None when the client has gone."""
        line = self._file.readline()
        if not line:
            return None
        method, target, _ = line.decode("latin-1").split(" ")
        headers = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return Request(method, target, headers, b"")

    def body(self, request: Request) -> Request:
        return request._replace(body=self._file.read(int(request.headers.get("content-length", 0))))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reset(self) -> None:
        """End the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._file.close()
        self.sock.close()


#: Bytes to send, or a function that does what it likes with the connection.
Step = bytes | Callable[[Talk, Request], object]


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """A correct answer; underscores in names of headers become hyphens."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Peer:
    """A server on a free port. Each request takes the next step, the last one serves for all that follow.

    `early` peers answer when they have read the head of a request. `connections` counts them.
    """

    def __init__(
        self,
        *steps: Step,
        context: ssl.SSLContext | None = None,
        early: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        self.steps = list(steps)
        self.requests: list[Request] = []
        self.connections = 0
        self._context = context
        self._early = early
        self._lock = threading.Lock()
        self._socks: list[socket.socket] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self.place = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        scheme = "https" if context else "http"
        self.url = f"{scheme}://{self.place}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._socks.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._context:
                sock = self._context.wrap_socket(sock, server_side=True)
                self._socks.append(sock)
            talk = Talk(sock)
            while request := talk.head():
                if not self._early:
                    request = talk.body(request)
                with self._lock:
                    self.requests.append(request)
                    step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
                if isinstance(step, bytes):
                    talk.send(step)
                else:
                    step(talk, request)

    def close(self) -> None:
        """Stop listening and break what is open."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Time:
    """A clock that stands still unless somebody sleeps; `slept` are the waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Client:
    """A transport that waits in fake time, with jitter at its upper bound, and keeps its events."""

    def __init__(self, access: Access = DEFAULT_ACCESS, *, real_clock: bool = False) -> None:
        self.time = Time()
        self.events: list[Event] = []
        if real_clock:
            self.transport = Transport(access, on_event=self.events.append, sleep=self.time.sleep)
        else:
            self.transport = Transport(
                access,
                on_event=self.events.append,
                clock=self.time.clock,
                sleep=self.time.sleep,
                random=lambda: 1.0,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()


def closed_port() -> int:
    """A port of 127.0.0.1 where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port

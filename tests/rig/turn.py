"""One request on its way through the fault proxy, and the steps that a fault is made of."""

from __future__ import annotations

import http.client
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.rig.wire import Head, Headers, NotHttpError, Wire, find

_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "upgrade", "proxy-connection", "expect"}
_BODYLESS = {204, 304}


class RigError(Exception):
    """The proxy could not do what the test asked for: the test proves nothing."""


@dataclass
class Exchange:
    """What was seen of one request.

    `received` is how many bytes of its body came, `status` what was answered (0: nothing), `sent` how many
    bytes of the answer's body went out, `fault` the name of the fault done to it, `answer_headers` as sent.
    """

    method: str
    target: str
    headers: Headers
    fault: str = ""
    received: int = 0
    status: int = 0
    sent: int = 0
    answer_headers: Headers = field(default_factory=list)

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    def header(self, name: str) -> str | None:
        return find(self.headers, name)


@dataclass
class Answer:
    """The registry's answer; `pieces` can be read once."""

    status: int
    headers: Headers
    pieces: Iterator[bytes]
    length: int | None

    def replace(self, name: str, value: str | None) -> None:
        """Set a header to a value, or take it away."""
        self.headers = [(key, old) for key, old in self.headers if key.lower() != name.lower()]
        if value is not None:
            self.headers.append((name, value))


@dataclass
class Turn:
    """The steps. A fault calls some of them; `finish` then does what the protocol still asks for."""

    client: Wire
    request: Head
    exchange: Exchange
    upstream_address: str
    scheme: str
    credentials: str
    stopping: threading.Event
    patience: float
    _body: Iterator[bytes] | None = None
    _drained: bool = False
    _ended: bool = False

    # The request.

    def body(self) -> Iterator[bytes]:
        """What is left of the request's body, counted as it comes."""
        if self._body is None:
            self._body = self._read_body()
        return self._body

    def _read_body(self) -> Iterator[bytes]:
        if (self.request.get("Expect") or "").lower() == "100-continue":
            self.client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        pieces = (
            self.client.chunks() if self.request.is_chunked else self.client.exactly(self.request.length or 0)
        )
        for piece in pieces:
            self.exchange.received += len(piece)
            yield piece
        self._drained = True

    def drain(self) -> None:
        """Read the body to its end and forget it."""
        for _ in self.body():
            pass

    def _connect(self) -> Wire:
        host, _, port = self.upstream_address.rpartition(":")
        try:
            return Wire(socket.create_connection((host, int(port)), timeout=self.patience))
        except OSError as error:
            raise RigError(f"the registry at {self.upstream_address} cannot be reached: {error}") from error

    def _open(self, target: str | None, without: Iterable[str], extra: Headers) -> Wire:
        """A connection to the registry with the request's head sent."""
        method, old_target, version = self.request.start.split(" ", 2)
        dropped = _HOP_BY_HOP | {name.lower() for name in without}
        headers = [(name, value) for name, value in self.request.headers if name.lower() not in dropped]
        if self.credentials:
            headers = [(name, value) for name, value in headers if name.lower() != "authorization"]
            headers.append(("Authorization", self.credentials))
        headers += [*extra, ("X-Forwarded-Proto", self.scheme), ("Connection", "close")]
        upstream = self._connect()
        upstream.send(Head(f"{method} {target or old_target} {version}", headers).encode())
        return upstream

    def forward(
        self,
        *,
        target: str | None = None,
        without: Iterable[str] = (),
        extra: Headers | None = None,
        change: Callable[[bytes], bytes] = bytes,
    ) -> Answer:
        """Send the request on and get the answer's head.

        To another target, with fewer or more headers, with pieces of the body changed (not in length).
        """
        upstream = self._open(target, without, extra or [])
        chunked = self.request.is_chunked
        try:
            for piece in self.body():
                if select.select([upstream.socket], [], [], 0)[0]:
                    break  # answered before the body's end
                sent = change(piece)
                upstream.send(b"%x\r\n%s\r\n" % (len(sent), sent) if chunked else sent)
            else:
                if chunked:
                    upstream.send(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the same: what it said can still be read
        return self._answer_of(upstream)

    def forward_partly(self, after: int | None) -> None:
        """Send on so many bytes of the body (None: half, or a chunked body's first piece), then hang up.

        Returns when the registry has noticed: what it keeps of the body is then settled.
        """
        if after is None:
            after = (self.request.length or 0) // 2 or 1
        upstream = self._open(None, (), [])
        left = after
        for piece in self.body():
            part = piece[:left]
            upstream.send(b"%x\r\n%s\r\n" % (len(part), part) if self.request.is_chunked else part)
            left -= len(part)
            if not left:
                break
        if left:
            raise RigError(f"the body ended before its byte {after}: there is no middle to break it in")
        upstream.socket.shutdown(socket.SHUT_WR)
        try:
            for _ in upstream.rest():
                pass
        except OSError:
            pass
        upstream.socket.close()

    def _answer_of(self, upstream: Wire) -> Answer:
        try:
            head = upstream.head()
            while head is not None and head.start.split(" ")[1].startswith("1"):
                head = upstream.head()
        except (NotHttpError, OSError) as error:
            raise RigError(f"the registry's answer: {error}") from error
        if head is None:
            raise RigError("the registry hung up without an answer")
        status = int(head.start.split(" ")[1])
        headers = [(name, value) for name, value in head.headers if name.lower() not in _HOP_BY_HOP]
        if self.exchange.method == "HEAD" or status in _BODYLESS:
            upstream.close()
            return Answer(status, headers, iter(()), head.length)
        if head.is_chunked:
            pieces, length = upstream.chunks(), None
        elif head.length is not None:
            pieces, length = upstream.exactly(head.length), head.length
        else:
            pieces, length = upstream.rest(), None
        headers = [(name, value) for name, value in headers if name.lower() != "transfer-encoding"]
        return Answer(status, headers, self._closing(pieces, upstream), length)

    @staticmethod
    def _closing(pieces: Iterator[bytes], upstream: Wire) -> Iterator[bytes]:
        try:
            yield from pieces
        except (NotHttpError, OSError) as error:
            raise RigError(f"the registry's answer: {error}") from error
        finally:
            upstream.socket.close()

    # The answer.

    def pass_on(self) -> None:
        """No fault."""
        self.send(self.forward())

    def send_head(self, answer: Answer, *, close: bool = False) -> None:
        """The status line and headers, with "Connection: close" if this is to be the last answer."""
        reason = http.client.responses.get(answer.status, "Status")
        headers = [*answer.headers, ("Connection", "close")] if close else answer.headers
        self.exchange.status = answer.status
        self.exchange.answer_headers = headers
        self._ended = self._ended or close
        self.client.send(Head(f"HTTP/1.1 {answer.status} {reason}", headers).encode())

    def send_piece(self, piece: bytes) -> None:
        self.exchange.sent += len(piece)
        self.client.send(piece)

    def send(self, answer: Answer, *, chunked: bool = False) -> None:
        """The whole answer; one without a known length goes chunked."""
        bodyless = self.exchange.method == "HEAD" or answer.status in _BODYLESS
        chunked = not bodyless and (chunked or answer.length is None)
        if chunked:
            answer.replace("Content-Length", None)
            answer.headers.append(("Transfer-Encoding", "chunked"))
        self.send_head(answer)
        for piece in answer.pieces:
            if chunked:
                self.client.send(b"%x\r\n" % len(piece))
            self.send_piece(piece)
            if chunked:
                self.client.send(b"\r\n")
        if chunked:
            self.client.send(b"0\r\n\r\n")

    def answer(
        self, status: int, headers: Headers | None = None, body: bytes = b"", *, close: bool = False
    ) -> None:
        """An answer that the registry never gave."""
        lines = [*(headers or []), ("Content-Length", str(len(body)))]
        self.send_head(Answer(status, lines, iter(()), len(body)), close=close)
        if self.exchange.method != "HEAD":
            self.send_piece(body)

    def reset(self) -> None:
        """Break the client's connection by RST."""
        self._ended = True
        self.client.reset()

    def close(self) -> None:
        """End the client's connection as if all were said."""
        self._ended = True
        self.client.close()

    def wait(self, seconds: float) -> None:
        """Pause; ends early when the proxy is left."""
        self.stopping.wait(seconds)

    def finish(self) -> bool:
        """Whether the client's connection serves another request; what is left of the body is read first."""
        closed = self.client.socket.fileno() < 0
        if not closed and not self._drained:
            self.drain()  # a server that hangs up on bytes not yet read would reset its own answer
        if self._ended and not closed:
            self.client.close()
        return not self._ended

"""urllib3's connections, made to hear an early answer, to know a slow peer, and to be broken from outside.

Three things that http.client and urllib3 do not do:

- A server may answer while it is still being sent to (401, 413) and then stop reading. Sending watches for
  that, stops, and the answer is read; interim answers (100 Continue, 103) are taken in and sending goes on.
- A peer that is silent for `silence` seconds is given up, and so is one that trickles: after the first byte
  of an answer each KiB may take `silence` seconds of waiting in all, and so may each KiB that it takes from
  us. What is read whole (a head, a document) has a time in all besides. Only waiting for the peer counts, not
  the time that our own side spends between reads.
- `Wires.close` breaks everything that is under way: connecting, handshakes, both directions.
"""

from __future__ import annotations

import http.client
import io
import os
import select
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any, ClassVar, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from hostbuild.http.bodies import FilePiece
from hostbuild.http.wires import CONNECT_SECONDS, ConnectFailedError, Haste, Pace, Wire, Wires

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: Status line, headers and interim answers together.
_MOST_HEAD = 1024 * 1024
_HTTP = b"HTTP/"
_BUFFER = 64 * 1024
_BOTH = select.POLLIN | select.POLLOUT
#: macOS has sendfile(2) too, which counts otherwise where it would block.
_CAN_SEND_FILES = sys.platform == "linux"


class AnsweredEarlyError(BrokenPipeError):
    """The answer, or the end, came before all was sent. urllib3 goes on to read the answer after an EPIPE."""


class _Incoming(io.RawIOBase):
    """What comes from a socket: first what was heard early, then the rest, at no less than the least pace."""

    def __init__(self, sock: socket.socket, early: bytes, wires: Wires, wire: Wire | None) -> None:
        self._raw = sock.makefile("rb", buffering=0)
        self._secure = sock if isinstance(sock, ssl.SSLSocket) else None
        self._failed: OSError | None = None  # raised once the bytes before it were taken
        self._early = early
        self._wires = wires
        self._wire = wire
        self._pace = Pace(wires.silence)
        self._haste: Haste | None = Haste(wires.silence)
        self._begin = b""
        #: How much of a head may still come; None once the head is there.
        self.head_left: int | None = _MOST_HEAD
        if wire is not None:
            wire.hold()

    def readable(self) -> bool:
        return True

    def hurry(self, whole: bool) -> None:
        """Whether what comes now is read whole, and must be here within its time."""
        self._haste = Haste(self._wires.silence) if whole else None

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        if self._early:
            view = memoryview(buffer).cast("B")
            count = min(len(view), len(self._early))
            view[:count] = self._early[:count]
            self._early = self._early[count:]
        else:
            count = self._receive(buffer)
        if self.head_left is not None:
            self.head_left -= count
            if self.head_left < 0:
                raise http.client.HTTPException("the head of the answer is too long")
            if len(self._begin) < len(_HTTP):
                self._begin += bytes(memoryview(buffer).cast("B")[: min(count, len(_HTTP))])
        return count

    def _receive(self, buffer: WriteableBuffer) -> int:
        start = self._wires.clock()
        try:
            if self._failed is not None:
                raise self._failed
            count = self._raw.readinto(buffer) or 0
            if self._secure is not None and count and self.head_left is None:
                count += self._read_ready(self._secure, memoryview(buffer).cast("B")[count:])
        except ConnectionError:
            if not self._is_foreign():
                raise
            return 0  # what it said first tells more than how it ended
        if not count:
            self._wires.check()  # `close` looks like the peer's end: the end of a body without length
        if count:
            waited = self._wires.clock() - start
            self._pace.note(waited, count)
            if self._haste is not None and self._begin:  # the first byte may take its own time
                self._haste.note(waited, count)
        elif self.head_left is not None and self._begin and not self._is_foreign():
            # http.client takes the end of the connection for the end of the headers.
            raise ConnectionAbortedError("the head of the answer ended early")
        return count

    def _read_ready(self, sock: ssl.SSLSocket, view: memoryview) -> int:
        """What is here already of the TLS records that follow (16 KiB each): one piece, not one for each."""
        count = 0
        timeout = sock.gettimeout()
        sock.settimeout(0)
        try:
            while count < len(view) and (more := sock.recv_into(view[count:])):
                count += more
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return count
        except OSError as error:
            self._failed = error
        finally:
            sock.settimeout(timeout)
        return count

    def _is_foreign(self) -> bool:
        """Whether what came is not the beginning of an answer in HTTP."""
        return not self._begin.startswith(_HTTP[: len(self._begin)])

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._raw.close()
            if self._wire is not None:
                self._wire.release()


class _Source:
    """What http.client takes for the socket that an answer is read from."""

    def __init__(self, incoming: _Incoming) -> None:
        self._incoming = incoming

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._incoming, _BUFFER)


class _Answer(http.client.HTTPResponse):
    """An answer that skips every interim one, and that ends a connection on which it came early."""

    def __init__(self, incoming: _Incoming, method: str | None, ends: bool) -> None:
        super().__init__(cast("socket.socket", _Source(incoming)), method=method)
        self._incoming = incoming
        self._ends = ends

    def begin(self) -> None:
        super().begin()
        while 101 < self.status < 200:  # http.client itself skips 100 alone
            self.headers = self.msg = cast("Any", None)
            super().begin()
        self._incoming.head_left = None
        self._incoming.hurry(False)
        if self._ends:
            self.will_close = True

    def take(self, view: memoryview) -> int | None:
        """What is there of the body, put in `view`: how many bytes, 0 at the end, None where their number was
        not told. As read1, but for a copy and for what urllib3 would do with each piece.
        """
        if self.length is None or self.chunked:
            return None
        if self.isclosed() or not self.length:
            return 0
        count = self.fp.readinto1(view[: self.length])
        self.length -= count
        if not self.length:
            self.close()
        return count


class _Wired(HTTPConnection):
    """What our connections add to urllib3's; `wires` is set by `pool_classes`."""

    wires: ClassVar[Wires]
    _wire: Wire | None = None
    _early = b""
    _ended = False
    _served = 0
    _pace: Pace

    def connect(self) -> None:
        try:
            super().connect()
        except TimeoutError as error:  # in a handshake, or in front of a proxy
            raise ConnectFailedError(error) from error
        if isinstance(self, HTTPSConnection) and self.ssl_context is not None:
            # urllib3 would warn at each request about what the user asked for.
            self.is_verified = True

    def _new_conn(self) -> socket.socket:
        self._served = 0
        self._pace = Pace(self.wires.silence)
        timeout = self.timeout if isinstance(self.timeout, int | float) else CONNECT_SECONDS
        sock, self._wire = self.wires.connect(self._dns_host, self.port, timeout, self.socket_options or ())
        return sock

    def close(self) -> None:
        super().close()
        self._early, self._ended = b"", False
        if self._wire is not None:
            self._wire.release()
            self._wire = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self.wires.last.reused = self.sock is not None and self._served > 0
        self._early, self._ended = b"", False
        self._pace = Pace(self.wires.silence)
        super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._served += 1
        return response

    def response_class(  # type: ignore[override]  # a class in the base, which only calls it
        self, sock: socket.socket, method: str | None = None, **_: object
    ) -> _Answer:
        """The answer on `sock`; http.client calls it where its own class would be."""
        early, self._early = self._early, b""
        incoming = _Incoming(sock, early, self.wires, self._wire)
        self.wires.last.hurry = incoming.hurry
        answer = _Answer(incoming, method, self._ended)
        self.wires.last.take = answer.take
        return answer

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if isinstance(data, FilePiece) and (type(self.sock) is not socket.socket or not _CAN_SEND_FILES):
            return  # what is encrypted has to be read
        if not isinstance(self.sock, socket.socket):
            super().send(data)  # TLS within TLS (a proxy of https://): urllib3's own object
            return
        try:
            if isinstance(data, FilePiece):
                self._give_file(self.sock, data)
            else:
                self._give(self.sock, memoryview(data).cast("B"))
        except OSError as error:
            self._ended = True
            if isinstance(error, ConnectionError):
                raise AnsweredEarlyError from error
            raise

    def _give(self, sock: socket.socket, data: memoryview) -> None:
        """Send all of it, unless an answer comes first. Raises OSError (TimeoutError, ConnectionError)."""
        poller = select.poll()
        timeout = sock.gettimeout()
        sock.settimeout(0)
        wanted = _BOTH
        try:
            while data:
                waited = self._wait(sock, poller, wanted)
                count, wanted = _push(sock, data)
                data = data[count:]
                self._pace.note(waited, count)
        finally:
            sock.settimeout(timeout)

    def _give_file(self, sock: socket.socket, piece: FilePiece) -> None:
        """As `_give`, by sendfile(2), as much as that does: all but where the file ends early, or refuses."""
        poller = select.poll()
        timeout = sock.gettimeout()
        sock.settimeout(0)
        descriptor, offset, size = piece.where
        try:
            while piece.sent < size:
                waited = self._wait(sock, poller, _BOTH)
                try:
                    count = os.sendfile(sock.fileno(), descriptor, offset + piece.sent, size - piece.sent)
                except BlockingIOError:
                    continue
                except ConnectionError:
                    raise
                except OSError:  # of the file, for the most part: whoever reads it tells what it is
                    return
                if not count:
                    return
                piece.sent += count
                self._pace.note(waited, count)
        finally:
            sock.settimeout(timeout)

    def _wait(self, sock: socket.socket, poller: select.poll, wanted: int) -> float:
        """Wait until more can be sent; the seconds that it took. Raises TimeoutError, AnsweredEarlyError."""
        poller.register(sock, wanted)
        start = self.wires.clock()
        events = poller.poll(self.wires.silence * 1000)
        waited = self.wires.clock() - start
        if not events:
            raise TimeoutError
        if events[0][1] & ~select.POLLOUT and self._is_answered(sock):
            raise AnsweredEarlyError
        return waited

    def _is_answered(self, sock: socket.socket) -> bool:
        """Take in what the server says meanwhile; True when it is a final answer, or the end."""
        try:
            heard = sock.recv(_BUFFER)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False  # a part of a TLS record, or one that carries no data (session tickets)
        self._early += heard
        while True:
            begun = len(self._early) >= _STATUS_SEEN
            interim = begun and self._early.startswith(b"HTTP/1.") and self._early[9:10] == b"1"
            head, end, rest = self._early.partition(b"\r\n\r\n")
            if not interim or head[9:12] == b"101":
                return begun or not heard
            if not end:
                return not heard or len(self._early) > _MOST_HEAD
            self._early = rest


#: `HTTP/1.1 1`: by then an interim answer can be told from a final one.
_STATUS_SEEN = 12


def _push(sock: socket.socket, data: memoryview) -> tuple[int, int]:
    """Send what can be sent without waiting: how much it was, and what to wait for next."""
    count = 0
    while count < len(data):
        try:
            count += sock.send(data[count:])
        except (BlockingIOError, ssl.SSLWantWriteError):
            break
        except ssl.SSLWantReadError:
            return count, select.POLLIN
    return count, _BOTH


def pool_classes(wires: Wires) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """urllib3's pools by scheme, whose connections belong to `wires`."""

    class Plain(_Wired):
        pass

    class Secure(_Wired, HTTPSConnection):
        pass

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    Plain.wires = Secure.wires = wires
    return {"http": PlainPool, "https": SecurePool}

"""An answer: status, headers, and a body that is read in large pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, Self

from hostbuild.errors import HostbuildError, ProtocolError, TransferBrokenError

#: Bytes asked of the socket at a time; a piece is what is there, up to this. Just below the size from which
#: malloc asks the system for fresh pages each time: TLS gives 16 KiB a read, and would pay for the rest.
PIECE = 120 * 1024

#: Statuses whose answers have no body.
_WITHOUT_BODY = (204, 304)


class Incoming(Protocol):
    """What a body is read from: urllib3's response, for one."""

    length_remaining: int | None

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        """Up to `amt` bytes, as soon as there are some; b"" at the end."""

    def close(self) -> None:
        """End the connection."""

    def release_conn(self) -> None:
        """Give the connection back, so that it is used again if it can be."""


class Response:
    """The answer to one request. A context manager; close it, or read it to its end.

    `hurry` is told whether what is read next is read whole, and so has a time in all. `take` puts what is
    there of the body below `incoming` into a buffer (0: the end; None: it cannot).

    `url` is where it came from, after redirects (it may be a signed one: not to be shown); `headers` are a
    mapping without regard to case. The body is as it was sent: no content coding is undone.
    """

    def __init__(
        self,
        status: int,
        url: str,
        headers: Mapping[str, str],
        incoming: Incoming,
        *,
        method: str = "GET",
        broken: Callable[[Exception, int], HostbuildError],
        pause: Callable[[float], None],
        hurry: Callable[[bool], object] = bool,
        take: Callable[[memoryview], int | None] | None = None,
    ) -> None:
        self.status = status
        self.url = url
        self.headers = headers
        #: Sleeps so many seconds; raises CancelledTaskError as soon as the transport is closed.
        self.pause = pause
        self._incoming = incoming
        self._broken = broken
        self._hurry = hurry
        self._take = take
        self._ready: list[bytes] = []
        self._break: TransferBrokenError | None = None
        self._came = 0
        self._ended = False
        self.size = self._length(method)
        if self.size == 0:
            self._finish()

    def __repr__(self) -> str:
        return f"<Response {self.status}>"

    def _length(self, method: str) -> int | None:
        """The body's length in bytes; None where only its end will tell (RFC 9112, 6.3)."""
        if method == "HEAD" or self.status in _WITHOUT_BODY:
            return 0
        text = self.headers.get("Content-Length", "").partition(",")[0].strip()
        if "Transfer-Encoding" in self.headers or not (text.isascii() and text.isdigit()):
            return None
        return int(text[:19])

    def _finish(self) -> None:
        """There is nothing more to read: let the connection serve again."""
        self._ended = True
        if self.size is not None:
            self._incoming.read1(1, decode_content=False)  # tells urllib3 that this was all
        self._incoming.release_conn()

    def _next(self, buffer: memoryview | None = None) -> bytes | memoryview:
        """The next piece from the connection, in `buffer` if there is one and it can be; b"" at the end.
        Raises what `broken` makes of a break.
        """
        if self._ended:
            return b""
        from hostbuild.http.session import ERRORS  # loaded already, where there is a connection

        failed: Exception | None = None
        piece: bytes | memoryview = b""
        try:
            piece = self._read(buffer)
        except ERRORS as error:
            failed = error
        self._came += len(piece)
        if failed is None and not piece and self.size is not None and self._came < self.size:
            failed = EOFError()
        if failed is not None:
            self._ended = True
            self._incoming.close()
            self._incoming.release_conn()
            raise self._broken(failed, self._came)
        if not piece or self._came == self.size:
            self._finish()
        return piece

    def _read(self, buffer: memoryview | None) -> bytes | memoryview:
        count = self._take(buffer) if self._take is not None and buffer is not None else None
        if count is None or buffer is None:
            return self._incoming.read1(PIECE, decode_content=False)
        if self._incoming.length_remaining is not None:
            self._incoming.length_remaining -= count  # urllib3 counts only what it read itself
        return buffer[:count]

    def preload(self, limit: int) -> TransferBrokenError | None:
        """Read ahead until the end or until more than `limit` bytes are here; what broke it, if something
        did: the time for it may be over as well.

        The break is raised again where reading meets it; not for a refusal (status 400 and above): of its
        body what came is enough.
        """
        self._hurry(True)
        try:
            while not self._ended and self._came <= limit:
                piece = self._next()
                if piece:
                    self._ready.append(bytes(piece))
        except TransferBrokenError as error:
            if self.status < 400:
                self._break = error
            return error
        finally:
            self._hurry(False)
        return None

    def peek(self) -> bytes:
        """What was read ahead and not yet taken."""
        return b"".join(self._ready)

    def pieces(self) -> Iterator[bytes]:
        """The body from where reading stands, in pieces of up to 120 KiB; constant memory.

        Raises as `pieces_in`.
        """
        return map(bytes, self.pieces_in(None))

    def pieces_in(self, buffer: memoryview | None) -> Iterator[bytes | memoryview]:
        """As `pieces`, in larger ones: parts of `buffer` where that can be, so valid until the next one.

        Raises TransferBrokenError when it ends before its end, CancelledTaskError after the transport was
        closed.
        """
        while self._ready:
            yield self._ready.pop(0)
        if self._break is not None:
            raise self._break
        while piece := self._next(buffer):
            yield piece

    def read(self, limit: int) -> bytes:
        """The rest of the body, a document. Raises ProtocolError where it is longer than `limit` bytes, else
        as `pieces`, and TransferBrokenError where it takes too long in all.
        """
        if self.size is not None and self._came - sum(map(len, self._ready)) == 0 and self.size > limit:
            self.close()
            raise self._too_long(limit)
        self._hurry(True)
        pieces, count = [], 0
        for piece in self.pieces():
            pieces.append(piece)
            count += len(piece)
            if count > limit:
                self.close()
                raise self._too_long(limit)
        return b"".join(pieces)

    def _too_long(self, limit: int) -> ProtocolError:
        from hostbuild.http.redirects import public

        return ProtocolError(f"the answer of {public(self.url)} is too long", why=f"more than {limit} bytes")

    def close(self) -> None:
        """Let go of the connection; one with an unread body is ended. Again is harmless."""
        self._ready.clear()
        if not self._ended:
            self._ended = True
            self._incoming.close()
            self._incoming.release_conn()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

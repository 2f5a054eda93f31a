"""HTTP/1.1 on a raw socket: heads and bodies as they cross the wire, and ends that no library would allow."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

Headers = list[tuple[str, str]]
PIECE = 64 * 1024
_HEAD_LIMIT = 256 * 1024


class NotHttpError(Exception):
    """What came is no HTTP/1.1, or ended in its middle."""


def find(headers: Headers, name: str) -> str | None:
    """The first header of that name, whatever its case."""
    return next((value for key, value in headers if key.lower() == name.lower()), None)


@dataclass
class Head:
    """A start line and headers, order and case kept."""

    start: str
    headers: Headers

    def get(self, name: str) -> str | None:
        return find(self.headers, name)

    @property
    def length(self) -> int | None:
        text = self.get("Content-Length")
        return None if text is None else int(text)

    @property
    def is_chunked(self) -> bool:
        return (self.get("Transfer-Encoding") or "").lower().endswith("chunked")

    def encode(self) -> bytes:
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")


class Wire:
    """One connection. Not for several threads, but `kill` may come from anywhere."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._had = bytearray()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def some(self, most: int = PIECE) -> bytes:
        """What is there, at most so much; b"" at the end."""
        if self._had:
            data = bytes(self._had[:most])
            del self._had[:most]
            return data
        return self.socket.recv(most)

    def _line(self) -> bytes:
        while (end := self._had.find(b"\n")) < 0:
            if len(self._had) > _HEAD_LIMIT:
                raise NotHttpError("a line without an end")
            piece = self.socket.recv(PIECE)
            if not piece:
                raise NotHttpError("the connection ended in a line" if self._had else "")
            self._had += piece
        line = bytes(self._had[:end])
        del self._had[: end + 1]
        return line.rstrip(b"\r")

    def head(self) -> Head | None:
        """The next message's head; None where the connection ended between messages."""
        try:
            start = self._line().decode("latin-1")
        except NotHttpError as error:
            if str(error):
                raise
            return None
        if "HTTP/1." not in start:
            raise NotHttpError(f"no HTTP: {start[:40]!r}")
        headers = []
        while line := self._line():
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise NotHttpError(f"no header: {name[:40]!r}")
            headers.append((name, value.strip()))
        return Head(start, headers)

    def exactly(self, length: int) -> Iterator[bytes]:
        """So many bytes, in pieces; NotHttpError where fewer come."""
        while length:
            piece = self.some(min(length, PIECE))
            if not piece:
                raise NotHttpError(f"{length} bytes are missing from a body")
            length -= len(piece)
            yield piece

    def chunks(self) -> Iterator[bytes]:
        """A chunked body's bytes."""
        while size := int(self._line().partition(b";")[0], 16):
            yield from self.exactly(size)
            self._line()
        while self._line():
            pass

    def rest(self) -> Iterator[bytes]:
        """All until the other side closes."""
        while piece := self.some():
            yield piece

    def reset(self) -> None:
        """End the connection by RST: the other side gets "connection reset by peer"."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """End the connection in peace: the other side reads its end."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        self.socket.close()

    def kill(self) -> None:
        """Wake whoever waits on this connection, in whatever thread."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

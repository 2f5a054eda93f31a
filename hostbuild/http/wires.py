"""Connections of one transport: how they are opened, how fast they must move, and how they are broken."""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from hostbuild.errors import CancelledTaskError

CONNECT_SECONDS = 30.0
#: Bytes that a peer must move in `silence` seconds of waiting.
LEAST_PROGRESS = 1024
#: What the least progress would let take hours: see `Haste`. In bytes, and in times of `silence`.
DOCUMENT_SIZE = 4 * 1024 * 1024
DOCUMENT_SHARE = 3
_SHORTEST_CONNECT = 2.0

_SocketOptions = Sequence[tuple[int, int, int | bytes]]


class ConnectFailedError(OSError):
    """No connection came about; `cause` says why."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class TooSlowError(TimeoutError):
    """The peer moves less than the least progress."""


class TooLongError(TimeoutError):
    """A document, or the head of an answer, did not come within its time."""


class Pace:
    """The least progress of a peer, in one direction of one exchange."""

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._waited = 0.0
        self._count = 0
        self._begun = False

    def note(self, waited: float, count: int) -> None:
        """`count` bytes moved after `waited` seconds. Raises TooSlowError."""
        if self._begun:
            self._waited += waited
        self._begun = True
        self._count += count
        if self._count >= LEAST_PROGRESS:
            self._count, self._waited = 0, 0.0
        elif self._waited >= self._silence:
            raise TooSlowError


class Haste:
    """The time for what is read whole (a document, the head of an answer): `DOCUMENT_SHARE` times `silence`
    seconds of waiting for each `DOCUMENT_SIZE` bytes.
    """

    def __init__(self, silence: float) -> None:
        self._each = silence * DOCUMENT_SHARE
        self._waited = 0.0
        self._count = 0

    def note(self, waited: float, count: int) -> None:
        """`count` bytes came after `waited` seconds. Raises TooLongError."""
        self._waited += waited
        self._count += count
        if self._waited > self._each * max(1.0, self._count / DOCUMENT_SIZE):
            raise TooLongError


class Wire:
    """A second handle on one connection, with which any thread can shut it down, in whatever phase it is."""

    def __init__(self, sock: socket.socket) -> None:
        self._handle = sock.dup()
        self._lock = threading.Lock()
        self._users = 1

    def hold(self) -> None:
        """One more user."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """The last one closes the handle, because a connection ends with the last handle on it."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._handle.close()

    def cut(self) -> None:
        """Shut the connection down; who waits for it wakes up."""
        with self._lock, contextlib.suppress(OSError):  # not connected, or not any more
            self._handle.shutdown(socket.SHUT_RDWR)


class Wires:
    """All connections of one transport, and what they share."""

    def __init__(self, silence: float, clock: Callable[[], float]) -> None:
        self.silence = silence
        self.clock = clock
        self.closed = threading.Event()
        #: Of this thread's last exchange: whether its connection had served before.
        self.last = threading.local()
        self._wires: weakref.WeakSet[Wire] = weakref.WeakSet()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Break what is under way in other threads, at once, and refuse what would come."""
        self.closed.set()
        with self._lock:
            wires = list(self._wires)
        for wire in wires:
            wire.cut()

    def check(self) -> None:
        """Raises CancelledTaskError after `close`."""
        if self.closed.is_set():
            raise CancelledTaskError("a transfer was stopped")

    def connect(
        self, host: str, port: int, timeout: float, options: _SocketOptions
    ) -> tuple[socket.socket, Wire]:
        """A connected socket. Raises ConnectFailedError.

        All addresses are tried in order; each but the last may take its share of the time only.
        """
        addresses = self._resolve(host, port, timeout)
        failure: Exception = OSError("the name has no address")
        start = self.clock()
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            left = timeout - (self.clock() - start)
            share = max(left / (len(addresses) - number), min(_SHORTEST_CONNECT, timeout))
            try:
                return self._connect_to(address, (family, kind, protocol), share, options)
            except OSError as error:
                self.check()
                failure = error
        raise ConnectFailedError(failure)

    def _connect_to(
        self, address: Any, kind: tuple[int, int, int], timeout: float, options: _SocketOptions
    ) -> tuple[socket.socket, Wire]:
        sock = socket.socket(*kind)
        try:
            wire = Wire(sock)
            with self._lock:
                self._wires.add(wire)
            self.check()  # after it was added: `close` either sees the wire or is seen here
            try:
                for option in options:
                    sock.setsockopt(*option)
                sock.settimeout(timeout)
                sock.connect(address)
            except BaseException:
                wire.release()
                raise
        except BaseException:
            sock.close()
            raise
        return sock, wire

    def _resolve(self, host: str, port: int, timeout: float) -> list[Any]:
        """The host's addresses. The resolver is asked in a thread, because nothing can interrupt it."""
        with contextlib.suppress(socket.gaierror, UnicodeError):
            flags = socket.AI_NUMERICHOST
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
        found: list[Any] = []
        failure: list[Exception] = []
        ready = threading.Event()

        def look_up() -> None:
            try:
                found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except UnicodeError as error:
                failure.append(socket.gaierror(socket.EAI_NONAME, str(error)))
            except OSError as error:
                failure.append(error)
            finally:
                ready.set()

        threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
        waited = 0.0
        while not ready.wait(0.05):
            self.check()
            waited += 0.05
            if waited >= timeout:
                raise ConnectFailedError(socket.gaierror(socket.EAI_AGAIN, "no answer from the resolver"))
        if failure:
            raise ConnectFailedError(failure[0])
        return found

"""What went wrong with one attempt, in people's words, out of the exceptions of the libraries below.

Loaded with the first request, because it needs ssl and socket.
"""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from hostbuild.errors import HostbuildError, NetworkError, ProtocolError, TlsError, UnreachableError
from hostbuild.http.proxies import Proxy
from hostbuild.http.wires import (
    CONNECT_SECONDS,
    DOCUMENT_SHARE,
    LEAST_PROGRESS,
    ConnectFailedError,
    TooLongError,
    TooSlowError,
)

Kind = Literal["connect", "broken", "status", "tls", "protocol", "proxy"]

#: `connect`, `broken` and `status` may pass; the others do not.
_PASSING = frozenset({"connect", "broken", "status"})


class Failure(NamedTuple):
    """One attempt that failed. `place` is the host, or the proxy, that is to blame; `asked` what
    Retry-After says.

    `extra` goes into the error: `speaks` "http" or "tls" where the peer speaks the other of the two;
    `status`.
    """

    kind: Kind
    place: str
    reason: str
    fix: str = ""
    asked: float | None = None
    extra: tuple[tuple[str, str | int], ...] = ()
    #: The connection had been idle and was closed by the server, which is no fault.
    stale: bool = False

    @property
    def passes(self) -> bool:
        """Whether another attempt may go better."""
        return self.kind in _PASSING

    def to_error(self, subject: str, tries: int, kind: type[UnreachableError]) -> HostbuildError:
        """The error for the user: `kind` for what may pass; `subject` says what was being done."""
        extra: dict[str, Any] = dict(self.extra)
        if not self.passes:
            final = {"tls": TlsError, "protocol": ProtocolError}.get(self.kind, NetworkError)
            return final(f"{subject} failed: {self.place}", why=self.reason, fix=self.fix, **extra)
        often = f"; tried {tries} times" if tries > 1 else ""
        if self.asked:
            often += f"; it asks to wait for {self.asked:.0f} s"
        what = f"{subject} failed: {self.place}"
        if self.kind == "connect":
            what += " cannot be reached"
        return kind(what, why=f"{self.reason}{often}", fix=self.fix or _TRY_AGAIN, **extra)


_TRY_AGAIN = "try again later"
_CHECK_NAME = "check the name and the port; behind a proxy, set HTTPS_PROXY"
_SPEAKS_HTTP = (
    "it answers in plain HTTP where TLS is expected",
    "use its TLS port, or --tls-verify=false (--registry-insecure) to allow plain HTTP",
)
_SPEAKS_TLS = (
    "it speaks TLS where plain HTTP is expected",
    "use https://, or the port where it speaks plain HTTP",
)

#: What servers say on their TLS port to those who speak plain HTTP (Go, nginx, Apache).
_SENT_TO_TLS = (b"http request to an https server", b"sent to https port", b"to an ssl-enabled server port")


def failure_of(error: Exception, place: str, proxy: Proxy | None, silence: float) -> Failure:
    """Judge what an attempt to talk to `place` (through `proxy`) raised."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ConnectFailedError):
            return _not_connected(cause, proxy.place if proxy else place, bool(proxy))
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _tls(cause, place)
        tunnel = _TUNNEL.match(str(cause)) if type(cause) is OSError else None
        if tunnel and proxy:
            return refused_by_proxy(int(tunnel[1]), proxy, place)
    through = f" (through the proxy {proxy.place})" if proxy else ""
    for cause in causes:
        failure = _exchange(cause, place + through, silence)
        if failure:
            return failure
    return Failure("protocol", place + through, "its answer cannot be understood")


_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")


def _causes(error: Exception) -> Iterator[BaseException]:
    """The error and what it was made of. Not `__context__`: that may be what our caller was handling."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting += [*item.args, getattr(item, "reason", None), item.__cause__]
            if isinstance(item, ConnectFailedError):
                waiting.append(item.cause)


def _not_connected(error: ConnectFailedError, place: str, is_proxy: bool) -> Failure:
    cause = error.cause
    name = f"the proxy {place}" if is_proxy else place
    fix = "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY" if is_proxy else _CHECK_NAME
    if isinstance(cause, socket.gaierror):
        reason = "the name does not resolve"
        if cause.errno == socket.EAI_AGAIN:
            reason += " (no answer from a name server)"
    elif isinstance(cause, ConnectionRefusedError):
        reason = "connection refused"
    elif isinstance(cause, TimeoutError):
        reason = f"no answer within {CONNECT_SECONDS:.0f} s"
    else:
        number = cause.errno if isinstance(cause, OSError) else None
        reason = {
            errno.ENETUNREACH: "the network is unreachable",
            errno.EHOSTUNREACH: "no route to the host",
        }.get(number or 0, str(getattr(cause, "strerror", "") or "no connection").lower())
    return Failure("connect", name, reason, fix)


_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")
_BROKEN_TLS = ("BAD_RECORD_MAC", "UNEXPECTED_EOF", "BAD_LENGTH", "PROTOCOL_IS_SHUTDOWN")


def _tls(error: ssl.SSLError, place: str) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, place)
    reason = (error.reason or "").upper()
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or any(
        word in reason for word in _BROKEN_TLS
    ):
        return Failure("broken", place, "the connection broke within TLS")
    if any(word in reason for word in _NOT_TLS):
        return Failure("tls", place, _SPEAKS_HTTP[0], _SPEAKS_HTTP[1], extra=(("speaks", "http"),))
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason or "BAD_CERTIFICATE" in reason:
        return Failure(
            "tls",
            place,
            f"it refuses the TLS handshake: {reason.lower().replace('_', ' ')}",
            f"if it wants a client certificate: client.cert and client.key in /etc/docker/certs.d/{place}/",
        )
    words = reason.lower().replace("_", " ") or str(error)
    return Failure(
        "tls", place, f"no agreement on TLS: {words}", "update the server's TLS, or ask who runs it"
    )


_TRUST_IT = (
    "name its authority with --ca-file FILE, or do not verify with --tls-verify=false (--registry-insecure)"
)

#: OpenSSL's verification results (x509_vfy.h), reason and fix.
_CERTIFICATES = {
    9: ("its certificate is not valid yet", "check this machine's clock"),
    10: ("its certificate has expired", "let it be renewed, or do not verify with --tls-verify=false"),
    18: ("its certificate is self-signed", _TRUST_IT),
    19: ("its certificate is signed by an authority that is not trusted here", _TRUST_IT),
    20: ("its certificate is signed by an authority that is not trusted here", _TRUST_IT),
    21: ("its certificate is signed by an authority that is not trusted here", _TRUST_IT),
    62: ("its certificate is for other names", "check the name, or do not verify with --tls-verify=false"),
    64: ("its certificate is for other addresses", "use its name, or do not verify with --tls-verify=false"),
}


def _certificate(error: ssl.SSLCertVerificationError, place: str) -> Failure:
    words = getattr(error, "verify_message", "") or str(error.reason or "verification failed").lower()
    unknown = (f"its certificate is not accepted: {words.rstrip('.')}", _TRUST_IT)
    reason, fix = _CERTIFICATES.get(getattr(error, "verify_code", 0), unknown)
    return Failure("tls", place, reason, fix)


def _exchange(cause: BaseException, place: str, silence: float) -> Failure | None:
    """What happened after the connection stood; None where this exception does not tell."""
    if isinstance(cause, TooLongError):
        return Failure("broken", place, f"its answer did not end within {silence * DOCUMENT_SHARE:g} s")
    if isinstance(cause, TooSlowError):
        return Failure("broken", place, f"fewer than {LEAST_PROGRESS} bytes moved in {silence:g} s")
    if isinstance(cause, TimeoutError):
        return Failure("broken", place, f"no answer for {silence:g} s")
    if isinstance(cause, http.client.IncompleteRead | EOFError):
        return Failure("broken", place, "the answer ended before its end")
    if isinstance(cause, http.client.HTTPException) and not isinstance(cause, http.client.RemoteDisconnected):
        return _not_http(cause, place)
    if isinstance(cause, OSError):
        return _broken(cause, place)
    return None


def _not_http(cause: http.client.HTTPException, place: str) -> Failure:
    if isinstance(cause, http.client.BadStatusLine):
        if str(cause.args[0]).startswith(("\x15\x03", "\x16\x03")):
            return Failure("tls", place, _SPEAKS_TLS[0], _SPEAKS_TLS[1], extra=(("speaks", "tls"),))
        return Failure("protocol", place, "it does not answer in HTTP", _CHECK_NAME)
    return Failure("protocol", place, f"its answer is no correct HTTP ({type(cause).__name__})")


def _broken(cause: OSError, place: str) -> Failure | None:
    if isinstance(cause, http.client.RemoteDisconnected):
        return Failure("broken", place, "it closed the connection without an answer")
    if isinstance(cause, ConnectionError):
        return Failure("broken", place, "the connection was broken")
    if type(cause) is OSError and cause.errno:
        return Failure("broken", place, f"the connection broke: {(cause.strerror or '').lower()}")
    return None


def refused(status: int, place: str, asked: float | None) -> Failure:
    """A status that may pass; `asked` is what Retry-After asks for, in seconds."""
    phrase = http.client.responses.get(status, "")
    return Failure(
        "status", place, f"it answers {status} {phrase}".rstrip(), asked=asked, extra=(("status", status),)
    )


def refused_by_proxy(status: int, proxy: Proxy, place: str) -> Failure:
    """The proxy answered a request for `place` with this status of its own."""
    name = f"the proxy {proxy.place}"
    if status == 407:
        known = "refuses user and password" if proxy.user else "asks for user and password"
        return Failure("proxy", name, f"it {known} (407)", "HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT")
    if status in (502, 503, 504):
        return Failure("connect", place, f"{name} answers {status}", "try again later, or check the name")
    fix = "ask who runs the proxy, or name the host in NO_PROXY"
    return Failure("proxy", name, f"it refuses to connect to {place} ({status})", fix)


def speaks_tls(status: int, body: bytes, place: str) -> Failure | None:
    """Whether an answer to a plain request says that TLS is spoken on this port."""
    if status == 400 and any(words in body.lower() for words in _SENT_TO_TLS):
        return Failure("tls", place, _SPEAKS_TLS[0], _SPEAKS_TLS[1], extra=(("speaks", "tls"),))
    return None

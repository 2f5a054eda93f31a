"""Requests that are made again when they may be, and that follow redirects; from many threads at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from random import random as _random
from typing import TYPE_CHECKING, NamedTuple, Self

from hostbuild.errors import (
    HostbuildError,
    OfflineError,
    ProtocolError,
    TransferBrokenError,
    UnreachableError,
)
from hostbuild.http.bodies import Body, BytesBody
from hostbuild.http.proxies import is_loopback, proxy_for
from hostbuild.http.redirects import (
    MOST_REDIRECTS,
    REDIRECTS,
    Hop,
    follow,
    origin_of,
    public,
    split,
    without_user,
)
from hostbuild.http.response import Response
from hostbuild.http.retries import LONGEST_TOLD, RETRYABLE, Budget, retry_after
from hostbuild.model import Access, Event, EventCallback, ignore_event
from hostbuild.version import VERSION

if TYPE_CHECKING:
    from hostbuild.http.failures import Failure
    from hostbuild.http.session import Session
    from hostbuild.http.wires import Wires

#: Bodies up to here are read within the attempt, so that a break in them is tried again like any other: 4 MiB
#: is what a manifest may have.
_READ_AHEAD = 4 * 1024 * 1024
#: The same where the length is not known beforehand, and for redirects and refusals.
_READ_AHEAD_UNKNOWN = 64 * 1024


class _Call(NamedTuple):
    """What one request is: the same in every attempt."""

    hop: Hop
    body: Body | None
    subject: str
    place: str
    trusted: bool
    stream: bool


class Transport:
    """Makes requests as `access` says: trust, proxies, patience. Safe from many threads; a context manager.

    `pool` is how many idle connections a host keeps. `sleep` None waits so that `close` ends the wait.
    Nothing is connected, and no library loaded, before the first request.
    """

    def __init__(
        self,
        access: Access,
        *,
        on_event: EventCallback = ignore_event,
        pool: int = 8,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        random: Callable[[], float] = _random,
    ) -> None:
        self.access = access
        self._on_event = on_event
        self._pool = pool
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._session: Session | None = None
        self._wires: Wires | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        #: Hosts that have answered: with them, a refused connection is no typing error.
        self._known: set[str] = set()

    def __repr__(self) -> str:
        return f"<Transport {'closed' if self._is_closed else 'open'}>"

    def plain_http_allowed(self, host: str) -> bool:
        """Whether plain HTTP may be spoken to `host` (`name[:port]`): this machine, or any when nothing is
        verified.
        """
        if not self.access.verify:
            return True
        name = host[1:].partition("]")[0] if host.startswith("[") else host
        return is_loopback((name if name.count(":") > 1 else name.partition(":")[0]).lower())

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
        retry: bool = True,
        what: str = "",
        trusted: bool = True,
        stream: bool = False,
    ) -> Response:
        """The final answer, whatever its status; redirects are followed (10, no circles, no way to plain
        HTTP).

        `retry`: broken connections and the statuses of `retries.RETRYABLE` are tried again, with a
        `waiting` event each, until `access.retry_time` has passed since the first failure; what looks like
        a typing error (the name does not resolve, nobody listens) three times within 5 s. Otherwise there
        is one attempt. `what` says in messages what is being done ("fetching blob sha256:…"). `trusted`
        False: the URL was named by a server and not by the user, so plain HTTP is spoken only where
        `plain_http_allowed`. `stream`: the caller reads the body and asks for the rest of it after a break,
        so that no part of it is read within the attempt. User information in the URL becomes an
        Authorization header.

        Raises UnreachableError when no try succeeded; with `retry` False that, or TransferBrokenError once
        something had been sent. TlsError, ProtocolError, NetworkError (a proxy refuses) at once;
        OfflineError; InvalidValueError (the URL); UsageError (a proxy's address, a certificate file);
        CancelledTaskError after `close`; and what opening or reading the body raises.
        """
        target, user = without_user(url)
        own = {"User-Agent": f"hostbuild/{VERSION}", "Accept": "*/*", "Accept-Encoding": "identity"}
        given = dict(headers or {})
        if user:
            own["Authorization"] = _basic(user)
        names = {name.lower() for name in given}
        merged = {name: value for name, value in own.items() if name.lower() not in names} | given
        if isinstance(body, bytes):
            body = BytesBody(body)
        hop = Hop(method, target, merged, body is not None)
        subject = what or f"{method} {public(target)}"
        if self.access.offline:
            raise OfflineError(f"{subject} needs the network", why="--offline forbids it")
        return self._until_answered(
            _Call(hop, body, subject, origin_of(target).place, trusted, stream), retry
        )

    def close(self) -> None:
        """Break all that is under way, at once, from any thread; later requests are refused."""
        self._is_closed = True
        with self._lock:
            wires, session = self._wires, self._session
        if wires is not None and session is not None:
            wires.close()
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The parts of one request, from the outside in: tries, redirects, one exchange.

    def _until_answered(self, call: _Call, retry: bool) -> Response:
        budget = Budget(self.access.retry_time, self._clock, self._random)
        may_replay = True
        while True:
            outcome = self._follow(call, retry)
            if isinstance(outcome, Response):
                return outcome
            if not outcome.passes:
                raise outcome.to_error(call.subject, 1, UnreachableError)
            if not retry:
                kind = UnreachableError if outcome.kind == "connect" else TransferBrokenError
                raise outcome.to_error(call.subject, 1, kind)
            if may_replay and outcome.stale:
                may_replay = False  # an idle connection that the server had closed: no fault, so no wait
                continue
            brief = outcome.kind == "connect" and call.place not in self._known
            wait = budget.next_wait(asked=outcome.asked, brief=brief)
            if wait is None:
                raise outcome.to_error(call.subject, budget.failures, UnreachableError)
            self._announce(call, outcome, wait, budget.failures)
            self._pause(wait)

    def _follow(self, call: _Call, retry: bool) -> Response | Failure:
        """One attempt: the first request, and those that redirects ask for."""
        hop = call.hop
        if not call.trusted and split(hop.url).scheme == "http":
            self._refuse_plain(hop.url, call.subject)
        seen: set[tuple[str, str]] = set()
        while len(seen) <= MOST_REDIRECTS:
            seen.add((hop.method, hop.url))
            outcome = self._exchange(hop, call)
            if not isinstance(outcome, Response):
                return outcome
            location = outcome.headers.get("Location", "").strip()
            if outcome.status not in REDIRECTS or not location:
                return self._judge(outcome, hop, retry, stream=call.stream)
            _read_ahead(outcome, _READ_AHEAD_UNKNOWN)
            outcome.close()
            following = follow(hop, outcome.status, location)
            if (following.method, following.url) in seen:
                raise ProtocolError(f"{call.subject} failed", why=f"{public(hop.url)} redirects in circles")
            if (origin_of(hop.url).scheme, origin_of(following.url).scheme) == ("https", "http"):
                self._refuse_plain(following.url, call.subject, public(hop.url))
            hop = following
        raise ProtocolError(f"{call.subject} failed", why=f"more than {MOST_REDIRECTS} redirects")

    def _refuse_plain(self, url: str, subject: str, by: str = "") -> None:
        if self.access.verify and (by or not self.plain_http_allowed(origin_of(url).place)):
            raise ProtocolError(
                f"{subject} failed",
                why=f"{by or 'a server'} names a place in plain HTTP: {public(url)}",
                fix="--tls-verify=false (--registry-insecure) allows it",
            )

    def _judge(self, response: Response, hop: Hop, retry: bool, *, stream: bool) -> Response | Failure:
        """The answer, or why it is to be tried again."""
        from hostbuild.http import failures

        origin = origin_of(hop.url)
        proxy = proxy_for(origin, self.access.environment) if origin.scheme == "http" else None
        broken = None
        if response.status >= 300 or not stream:
            broken = _read_ahead(response, _READ_AHEAD if response.status < 300 else _READ_AHEAD_UNKNOWN)
        if origin.scheme == "http":
            wrong = failures.speaks_tls(response.status, response.peek(), origin.place)
            if wrong is None and proxy and response.status == 407:
                wrong = failures.refused_by_proxy(407, proxy, origin.place)
            if wrong is not None:
                response.close()
                return wrong
        if retry and response.status in RETRYABLE:
            response.close()
            after, date = response.headers.get("Retry-After", ""), response.headers.get("Date", "")
            asked = retry_after(after, date, longest=LONGEST_TOLD)
            return failures.refused(response.status, origin.place, asked)
        if retry and broken is not None and response.status < 400:
            response.close()
            return failures.Failure("broken", origin.place, broken.why)
        return response

    def _exchange(self, hop: Hop, call: _Call) -> Response | Failure:
        """One request and the head of its answer."""
        session, wires = self._open()
        wires.check()
        from hostbuild.http.bodies import BodyFailedError, Sending
        from hostbuild.http.failures import failure_of
        from hostbuild.http.session import ERRORS

        place = origin_of(hop.url).place
        proxy = proxy_for(origin_of(hop.url), self.access.environment)

        def broken(error: Exception, came: int) -> HostbuildError:
            wires.check()
            failure = failure_of(error, place, proxy, self.access.silence)
            return TransferBrokenError(
                f"{call.subject} failed: {failure.place}", why=f"{failure.reason} (after {came} bytes)"
            )

        body = call.body if hop.has_body else None
        sending = Sending(body) if body is not None else None
        failed: Exception
        wires.last.reused = False
        try:
            raw = session.send(hop.method, hop.url, hop.headers, sending, body.size if body else 0)
        except BodyFailedError as error:
            failed = error.cause
        except ERRORS as error:
            failed = error
        else:
            self._known.add(call.place)
            return Response(
                raw.status, hop.url, raw.headers, raw, method=hop.method, broken=broken, pause=self._pause,
                hurry=wires.last.hurry, take=wires.last.take,
            )  # fmt: skip
        finally:
            if sending is not None:
                sending.close()
        # Out of the handler, so that the error of the library below, which quotes URLs, is not its context.
        wires.check()
        if sending is not None and sending.failed:
            raise failed
        failure = failure_of(failed, place, proxy, self.access.silence)
        if failure.kind == "broken" and hop.url.startswith("http:") and call.place not in self._known:
            failure = failure._replace(fix="try again later; if this is a port of TLS, use https://")
        return failure._replace(stale=failure.kind == "broken" and wires.last.reused)

    def _open(self) -> tuple[Session, Wires]:
        with self._lock:
            if self._session is None or self._wires is None:
                from hostbuild.http.session import Session
                from hostbuild.http.wires import Wires

                self._wires = Wires(self.access.silence, self._clock)
                self._session = Session(self.access, self._wires, self._pool)
            if self._is_closed:
                self._wires.close()
            return self._session, self._wires

    def _announce(self, call: _Call, failure: Failure, wait: float, tries: int) -> None:
        self._on_event(
            Event(
                "waiting",
                f"{failure.place}: {failure.reason}; trying again in {wait:.1f} s",
                data={
                    "for": call.subject,
                    "host": call.place,
                    "reason": failure.reason,
                    "seconds": round(wait, 3),
                    "tries": tries,
                },
            )
        )

    def _pause(self, seconds: float) -> None:
        _, wires = self._open()
        if self._sleep is not None:
            self._sleep(seconds)
        else:
            wires.closed.wait(seconds)
        wires.check()


def _read_ahead(response: Response, limit: int) -> TransferBrokenError | None:
    """Read a body that is short enough, or of unknown length; what broke it, if something did."""
    if response.size is None:
        return response.preload(min(limit, _READ_AHEAD_UNKNOWN))
    return response.preload(limit) if response.size <= limit else None


def _basic(user: str) -> str:
    import base64
    from urllib.parse import unquote

    name, _, password = user.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")

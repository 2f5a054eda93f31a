"""The faults that the proxy between client and registry can do; tests/rig/test_faults_rig.py proves each.

Each function gives a `Fault` for `FaultProxy.on`. Where a request's body matters it is said whether the
registry got it: after a lost answer it did, and a client that repeats itself meets what it has already done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.rig.fault_proxy import Fault
from tests.rig.turn import Answer, RigError, Turn
from tests.rig.wire import Headers

HTML = b"<!DOCTYPE html><html><body><h1>It works, but not for you</h1></body></html>"


def status(
    code: int, *, headers: Headers | None = None, body: bytes | None = None, close: bool = False
) -> Fault:
    """An error of the registry's kind instead of an answer; the request's body is read and goes nowhere."""
    document = {"errors": [{"code": "TEST", "message": f"the test answers {code}"}]}
    data = json.dumps(document).encode() if body is None else body
    kind = "application/json" if body is None else "text/html"

    def run(turn: Turn) -> None:
        turn.drain()
        turn.answer(code, [("Content-Type", kind), *(headers or [])], data, close=close)

    return Fault(f"{code}", run)


def html(code: int = 200) -> Fault:
    """A web page where JSON belongs, as captive portals and wrong addresses give it."""
    return status(code, body=HTML)._replace(name=f"{code} with HTML")


def challenge(value: str) -> Fault:
    """401 with a WWW-Authenticate of one's own."""
    return status(401, headers=[("WWW-Authenticate", value)])._replace(name="401 with a challenge")


def bearer(realm: str, service: str, scope: str) -> Fault:
    """401 as a registry with a token server gives it."""
    return challenge(f'Bearer realm="{realm}",service="{service}",scope="{scope}",error="invalid_token"')


def too_many(after: float | None = None, *, as_date: bool = False) -> Fault:
    """429; `after` seconds is said in Retry-After, as a number or as a date."""
    if after is None:
        return status(429)
    kind = "a date" if as_date else "seconds"

    def run(turn: Turn) -> None:
        value = formatdate(time.time() + after, usegmt=True) if as_date else f"{after:g}"
        status(429, headers=[("Retry-After", value)]).run(turn)

    return Fault(f"429, Retry-After in {kind}", run)


def reset_before_body() -> Fault:
    """RST when the request's head was read; the registry sees nothing."""
    return Fault("reset before the body", Turn.reset)


def reset_in_body(after: int | None = None) -> Fault:
    """RST in the middle of the request's body (after so many bytes; None: half); the registry got so much."""

    def run(turn: Turn) -> None:
        turn.forward_partly(after)
        turn.reset()

    return Fault("reset in the body", run)


def reset_after_body() -> Fault:
    """RST instead of the answer; the registry has done what was asked."""

    def run(turn: Turn) -> None:
        for _ in turn.forward().pieces:
            pass
        turn.reset()

    return Fault("reset after the body", run)


def _cut(answer: Answer, after: int | None) -> Iterator[bytes]:
    """The first bytes of an answer, which must have more.

    None is half of it, rounded up: one byte at least passes, also of an answer of one byte, which then is
    whole before the connection breaks. Whoever asks for the rest again and again so comes to the end.
    """
    if not answer.length or (after is not None and not after < answer.length):
        raise RigError(f"an answer of {answer.length} bytes cannot be cut after {after}")
    left = -(-answer.length // 2) if after is None else after
    for piece in answer.pieces:
        if not left:
            break
        yield piece[:left]
        left -= len(piece[:left])


def reset_in_answer(after: int | None = None) -> Fault:
    """RST in the middle of the answer (after so many bytes of its body; None: half)."""

    def run(turn: Turn) -> None:
        answer = turn.forward()
        turn.send_head(answer)
        for piece in _cut(answer, after):
            turn.send_piece(piece)
        turn.wait(0.02)  # so that what was sent is not lost with the reset
        turn.reset()

    return Fault("reset in the answer", run)


def truncate(after: int | None = None) -> Fault:
    """The connection ends in peace before the answer does (after so many bytes; None: half)."""

    def run(turn: Turn) -> None:
        answer = turn.forward()
        turn.send_head(answer)
        for piece in _cut(answer, after):
            turn.send_piece(piece)
        turn.close()

    return Fault("answer cut short", run)


def change_body(change: Callable[[bytes], bytes], name: str = "other bytes") -> Fault:
    """Another body, with its own right length; headers stay."""

    def run(turn: Turn) -> None:
        answer = turn.forward()
        data = b"".join(answer.pieces)
        changed = change(data)
        if changed == data:
            raise RigError("the change changed nothing")
        answer.replace("Content-Length", str(len(changed)))
        turn.send(Answer(answer.status, answer.headers, iter([changed]), len(changed)))

    return Fault(name, run)


def wrong_byte(at: int | None = None) -> Fault:
    """One bit of the answer's body is not what it was (at this byte; None: in the middle)."""

    def flip(data: bytes) -> bytes:
        if not data:
            raise RigError("an empty answer has no byte to change")
        place = len(data) // 2 if at is None else at
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return change_body(flip, "a wrong byte")


def damaged_body(at: int = 0) -> Fault:
    """One bit of the request's body (at this byte) is another one when it reaches the registry."""

    def run(turn: Turn) -> None:
        if (turn.request.length or 0) <= at:
            raise RigError(f"a body of {turn.request.length} bytes has no byte {at} to damage")
        done = 0

        def damage(piece: bytes) -> bytes:
            nonlocal done
            place = at - done
            done += len(piece)
            if not 0 <= place < len(piece):
                return piece
            return piece[:place] + bytes([piece[place] ^ 1]) + piece[place + 1 :]

        turn.send(turn.forward(change=damage))

    return Fault("a damaged body", run)


def wrong_length(by: int) -> Fault:
    """Content-Length says so many bytes more (or fewer, below 0) than there are; the connection then ends."""

    def run(turn: Turn) -> None:
        answer = turn.forward()
        if answer.length is None or answer.length + by < 0:
            raise RigError(f"a length of {answer.length} cannot be wrong by {by}")
        answer.replace("Content-Length", str(answer.length + by))
        turn.send_head(answer, close=True)
        for piece in answer.pieces:
            turn.send_piece(piece)

    return Fault("Content-Length too large" if by > 0 else "Content-Length too small", run)


def chunked() -> Fault:
    """The right answer, chunked and without Content-Length."""

    def run(turn: Turn) -> None:
        turn.send(turn.forward(), chunked=True)

    return Fault("answer without Content-Length", run)


def dribble(pieces: int = 20, pause: float = 0.02) -> Fault:
    """Slow loris: the right answer, in so many small pieces with a pause (seconds) after each."""

    def run(turn: Turn) -> None:
        answer = turn.forward()
        data = b"".join(answer.pieces)
        answer.replace("Content-Length", str(len(data)))
        turn.send_head(answer)
        size = -(-len(data) // pieces) or 1
        for start in range(0, len(data), size):
            turn.send_piece(data[start : start + size])
            turn.wait(pause)

    return Fault("a slow answer", run)


def silence() -> Fault:
    """The request is read, and no answer comes until the proxy is left; the registry sees nothing."""

    def run(turn: Turn) -> None:
        turn.drain()
        turn.stopping.wait()
        turn.reset()

    return Fault("silence", run)


def silence_in_answer(after: int | None = None) -> Fault:
    """The answer begins (so many bytes; None: half), and nothing more comes until the proxy is left."""

    def run(turn: Turn) -> None:
        answer = turn.forward()
        turn.send_head(answer)
        for piece in _cut(answer, after):
            turn.send_piece(piece)
        turn.stopping.wait()
        turn.reset()

    return Fault("silence in the answer", run)


def cap_body(most: int, how: Literal["413", "reset"] = "413") -> Fault:
    """Bodies longer than `most` bytes: 413 from the head alone, or RST when too much has come."""

    def run(turn: Turn) -> None:
        length = turn.request.length
        if length is not None and length <= most:
            turn.pass_on()
            return
        if how == "413" and length is not None:
            turn.answer(413, [("Content-Type", "text/html")], HTML, close=True)
            return
        for _ in turn.body():
            if turn.exchange.received > most:
                if how == "413":
                    turn.answer(413, [("Content-Type", "text/html")], HTML, close=True)
                else:
                    turn.reset()
                return
        raise RigError(
            "a chunked body below the cap was swallowed"
        )  # not passed on: its length came too late

    return Fault(f"bodies capped ({how})", run)


def redirect(base: str, *, code: int = 307, query: str = "") -> Fault:
    """To the same path at `base` (scheme://host:port), with `query` added, as a registry's storage has it."""

    def run(turn: Turn) -> None:
        turn.drain()
        target = turn.exchange.target
        if query:
            target += ("&" if "?" in target else "?") + query
        turn.answer(code, [("Location", base + target)])

    return Fault(f"{code} to another host", run)


def redirect_to(location: str, *, code: int = 307) -> Fault:
    """To one fixed place, which may be the request's own."""
    return status(code, headers=[("Location", location)], body=b"")._replace(name=f"{code} to {location}")


def ignore_range() -> Fault:
    """200 with all of it, whatever Range asked for."""

    def run(turn: Turn) -> None:
        turn.send(turn.forward(without=["Range"]))

    return Fault("Range ignored", run)


def other_range(start: int = 0) -> Fault:
    """206 of a range that begins at `start`, not where it was asked for; Content-Range tells the truth."""

    def run(turn: Turn) -> None:
        if turn.request.get("Range") in (None, f"bytes={start}-"):
            raise RigError(f"Range is {turn.request.get('Range')!r}: {start} would not be another")
        turn.send(turn.forward(without=["Range"], extra=[("Range", f"bytes={start}-")]))

    return Fault("another Range answered", run)


def location(style: Literal["absolute", "relative", "document", "query"]) -> Fault:
    """The answer's Location in another form: with scheme and host, a path, a path relative to the request's,
    or with a query of its own (`marker`, percent-encoded) that a client must bring back.
    """

    def run(turn: Turn) -> None:
        answer = turn.forward()
        old = next((value for name, value in answer.headers if name.lower() == "location"), "")
        parts = urlsplit(old)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if not path:
            raise RigError(f"the answer {answer.status} has no Location")
        here = turn.exchange.path.rpartition("/")[0] + "/"
        if style == "document" and not path.startswith(here):
            raise RigError(f"{path} is not below {here}")
        query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), ("marker", "a/b+c=d &")])
        value = {
            "absolute": f"{turn.scheme}://{turn.request.get('Host')}{path}",
            "relative": path,
            "document": path.removeprefix(here),
            "query": f"{parts.path}?{query}",
        }[style]
        answer.replace("Location", value)
        turn.send(answer)

    return Fault(f"Location: {style}", run)


def location_at(base: str, query: str = "") -> Fault:
    """The answer's Location is the same path at `base` (scheme://host:port), with `query` added."""

    def run(turn: Turn) -> None:
        answer = turn.forward()
        old = next((value for name, value in answer.headers if name.lower() == "location"), "")
        if not old:
            raise RigError(f"the answer {answer.status} has no Location")
        parts = urlsplit(old)
        pairs = "&".join(part for part in (parts.query, query) if part)
        answer.replace("Location", f"{base}{parts.path}" + (f"?{pairs}" if pairs else ""))
        turn.send(answer)

    return Fault("Location at another host", run)


def without_query(*names: str) -> Fault:
    """The request reaches the registry without these parameters: `mount` and `from` make it answer 202."""

    def run(turn: Turn) -> None:
        parts = urlsplit(turn.exchange.target)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        kept = [(name, value) for name, value in pairs if name not in names]
        if kept == pairs:
            raise RigError(f"{turn.exchange.target} has none of {names}")
        turn.send(turn.forward(target=parts.path + (f"?{urlencode(kept)}" if kept else "")))

    return Fault("mount answered 202", run)


def mount_refused() -> Fault:
    """A mount is answered 202: upload it then."""
    return without_query("mount", "from")


def mount_pretended() -> Fault:
    """A mount is answered 201, and nothing was mounted."""

    def run(turn: Turn) -> None:
        turn.drain()
        digest = dict(parse_qsl(urlsplit(turn.exchange.target).query)).get("mount", "")
        if not digest:
            raise RigError(f"{turn.exchange.target} is no mount")
        place = turn.exchange.path.partition("/uploads/")[0] + "/" + digest
        turn.answer(201, [("Location", place), ("Docker-Content-Digest", digest)])

    return Fault("mount answered 201 untruly", run)


def header(name: str, value: str | None) -> Fault:
    """The right answer with one header set, or (None) taken away."""

    def run(turn: Turn) -> None:
        answer = turn.forward()
        answer.replace(name, value)
        turn.send(answer)

    return Fault(f"{name}: {value}" if value is not None else f"without {name}", run)


def meanwhile(act: Callable[[], object], name: str = "something happens in between") -> Fault:
    """Run `act` before the request is passed on: somebody else moves a tag, or deletes a blob."""

    def run(turn: Turn) -> None:
        act()
        turn.pass_on()

    return Fault(name, run)


def latency(seconds: float) -> Fault:
    """The right answer, later."""

    def run(turn: Turn) -> None:
        turn.wait(seconds)
        turn.pass_on()

    return Fault("a late answer", run)

"""How each fault of the table is made to happen: the rules that a stage's proxy gets."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.registry_matrix.house import SIGNATURE, Stage
from tests.registry_matrix.table import ALWAYS, ONCE
from tests.rig import faults
from tests.rig.fault_proxy import Fault, Rule
from tests.rig.turn import Turn

if TYPE_CHECKING:
    from tests.registry_matrix.operations import Prepared

#: The request of each operation that a fault is for, if the action says no other: method and path.
TARGETS = {
    "pull manifest": ("GET", r"/manifests/"),
    "pull blob": ("GET", r"/blobs/sha256:"),
    "push blob": ("PUT|PATCH", r"/blobs/uploads/"),
    "push manifest": ("PUT", r"/manifests/"),
    "whole push": ("PUT|PATCH", r"/blobs/uploads/"),
}
_TIMES = {ONCE: 1, ALWAYS: None}
#: Bytes: the cap that a proxy puts on bodies; below the size of the blobs.
CAP = 1_200_000


class Scene:
    """What an action works on: the stage, what was prepared, and the cell's operation and times."""

    def __init__(self, stage: Stage, prepared: Prepared, operation: str, times: str) -> None:
        self.stage = stage
        self.prepared = prepared
        self.operation = operation
        self.times = times
        self.rules: list[Rule] = []
        self.checks: list[tuple[str, Callable[[], bool]]] = []
        self.ends: list[Callable[[], bool]] = []  # what must hold, however it ended

    def on(self, method: str, path: str, fault: Fault, *, times: int | None = 1, skip: int = 0) -> None:
        """A rule that must take at least one request."""
        self.rules.append(self.stage.proxy.on(method, path, fault, times=times, skip=skip))

    def at_target(self, fault: Fault) -> None:
        method, path = TARGETS[self.operation]
        self.on(method, path, fault, times=_TIMES[self.times])

    def check(self, what: str, condition: Callable[[], bool]) -> None:
        """What must hold when the operation has succeeded."""
        self.checks.append((what, condition))

    def sent_once(self) -> bool:
        """Whether fewer bytes crossed the wire than two whole blobs; a manifest is sent again as a whole."""
        largest = max((len(data) for data in self.prepared.blobs), default=0)
        total = sum(self.stage.proxy.uploaded().values())
        whole = sum(map(len, self.prepared.blobs + self.prepared.configs))
        return "blobs" not in TARGETS[self.operation][1] or total < whole + largest * 0.75

    @property
    def scope(self) -> str:
        return f"repository:{self.stage.repository}:{'pull' if 'pull' in self.operation else 'pull,push'}"


Action = Callable[[Scene], None]


def simple(fault: Fault) -> Action:
    """The fault, at the operation's own request."""
    return lambda scene: scene.at_target(fault)


def at(method: str, path: str, fault: Fault) -> Action:
    """The fault, at another request."""
    return lambda scene: scene.on(method, path, fault, times=_TIMES[scene.times])


def unauthorized(scene: Scene) -> None:
    tokens = scene.stage.house.tokens
    scene.at_target(faults.bearer(tokens.realm, "registry.test", scene.scope))


def expiry(scene: Scene) -> None:
    """The token lives a moment and says that it lives long; one request is held up until it is over."""
    tokens = scene.stage.house.tokens
    tokens.lifetime, tokens.told_lifetime = 0.7, 300

    def run(turn: Turn) -> None:
        tokens.lifetime = 300
        turn.wait(tokens.ends[-1] + 0.05 - time.time())
        turn.pass_on()

    scene.at_target(Fault("the token ends", run))
    before = len(tokens.requests)
    scene.check("the token was renewed", lambda: len(tokens.requests) > before + 1)


def obeyed(fault: Fault, least: float) -> Action:
    """What Retry-After asks for is waited, and said."""

    def act(scene: Scene) -> None:
        scene.at_target(fault)
        scene.check("it was waited", lambda: max(scene.stage.waits()) >= least)

    return act


def waiting(fault: Fault) -> Action:
    """The fault, and a line that says what is waited for."""

    def act(scene: Scene) -> None:
        scene.at_target(fault)
        if scene.times == ONCE:
            scene.check("it was said", lambda: bool(scene.stage.waits()))

    return act


def resumed(fault: Fault) -> Action:
    """The fault in each body that has a middle; what had arrived is not sent again."""

    def run(turn: Turn) -> None:
        if (turn.request.length or 0) < 2:
            turn.pass_on()
        else:
            fault.run(turn)

    def act(scene: Scene) -> None:
        scene.at_target(Fault(fault.name, run))
        scene.check("the upload was resumed", scene.sent_once)

    return act


def every_third(fault: Fault) -> Action:
    """Every third request of any kind, from the first on; the rest pass."""

    def act(scene: Scene) -> None:
        count = iter(range(10**9))

        def run(turn: Turn) -> None:
            if next(count) % 3:
                turn.pass_on()
            else:
                fault.run(turn)

        scene.on("", "", Fault(f"every third {fault.name}", run), times=None)

    return act


def nobody_listens(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    scene.stage.proxy.address = f"127.0.0.1:{port}"


def by_digest(fault: Fault) -> Action:
    def act(scene: Scene) -> None:
        scene.stage.manifest_by_digest = True
        scene.at_target(fault)

    return act


def damage(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def endless(scene: Scene) -> None:
    """Another body, 5 MB longer, without a length."""

    def run(turn: Turn) -> None:
        answer = turn.forward()
        data = b"".join(answer.pieces) + b" " * 5_000_000
        answer.pieces = iter([data[start : start + 65536] for start in range(0, len(data), 65536)])
        turn.send(answer, chunked=True)

    scene.at_target(Fault("an endless answer", run))


def quiet(fault: Fault) -> Action:
    """A silent peer is given up soon."""

    def act(scene: Scene) -> None:
        scene.stage.silence = 0.4
        scene.at_target(fault)

    return act


def chunked_and(fault: Fault) -> Action:
    """Bodies are capped, so chunks are sent; the second one meets the fault."""

    def act(scene: Scene) -> None:
        scene.on("PATCH", "/blobs/uploads/", fault, skip=1)
        scene.on("PUT|PATCH", "/blobs/uploads/", faults.cap_body(CAP), times=None)
        scene.check("chunks were sent", lambda: len(scene.stage.proxy.seen("PATCH")) > 1)

    return act


def no_chunks(scene: Scene) -> None:
    scene.on("PATCH", "/blobs/uploads/", faults.status(405), times=None)
    scene.on("PUT", "/blobs/uploads/", faults.cap_body(CAP), times=None)


def redirected(code: int) -> Action:
    def act(scene: Scene) -> None:
        scene.at_target(faults.redirect(scene.stage.other.url, code=code, query=SIGNATURE))
        scene.check("the other host was asked", lambda: bool(scene.stage.other.seen()))

    return act


def redirected_upload(scene: Scene) -> None:
    scene.on("POST", "/blobs/uploads/", faults.redirect(scene.stage.other.url, query=SIGNATURE), times=None)
    scene.check("the other host was asked", lambda: bool(scene.stage.other.seen("PUT|PATCH")))


def challenged_elsewhere(scene: Scene) -> None:
    """The other host asks for a login too, at a token server of its own: it gets none."""
    other = scene.stage.other
    challenge = faults.bearer(f"{other.url}/token", "registry.test", scene.scope)
    other.on("", "/v2/", challenge, times=None)
    scene.at_target(faults.redirect(other.url))
    scene.ends.append(lambda: bool(other.seen("", "/v2/")) and not other.seen("", "/token"))


def located_elsewhere(scene: Scene) -> None:
    other = scene.stage.other
    scene.on("POST", "/blobs/uploads/", faults.location_at(other.url, SIGNATURE), times=None)
    scene.check("the other host was asked", lambda: bool(other.seen("PUT|PATCH")))
    scene.check("its signature came back", lambda: all(SIGNATURE in x.target for x in other.seen("PUT")))


def in_circles(scene: Scene) -> None:
    def run(turn: Turn) -> None:
        turn.drain()
        turn.answer(307, [("Location", turn.exchange.target)])

    scene.at_target(Fault("a circle", run))


def broken_then(fault: Fault) -> Action:
    """The first answer breaks off in its middle; the request for the rest meets the fault."""

    def act(scene: Scene) -> None:
        scene.at_target(faults.truncate(1_000_000))
        scene.on("GET", "/blobs/sha256:", fault)
        scene.check(
            "the rest was asked for",
            lambda: scene.stage.proxy.seen("GET", "/blobs/")[1].header("Range") is not None,
        )

    return act


def mounting(fault: Fault | None) -> Action:
    """The blobs are in another repository of the same registry."""

    def act(scene: Scene) -> None:
        source = f"{scene.stage.repository}-source"
        for data in scene.prepared.blobs:
            scene.stage.house.back_door.put_blob(source, data)
        scene.stage.mount_from = (source,)
        scene.on("POST", "mount=", fault or Fault("watched", Turn.pass_on), times=None)
        if fault is None:
            digests = set(scene.prepared.blob_digests)
            scene.check("no bytes were sent", lambda: not digests & set(scene.stage.proxy.uploaded()))

    return act


def move_tag(scene: Scene) -> None:
    stage = scene.stage

    def move() -> None:
        stage.house.back_door.put_image(stage.repository, "v1", [b"moved"])

    if scene.operation == "pull manifest":
        scene.on("GET", "/manifests/v1", faults.meanwhile(move))
    else:
        scene.on("PUT", "/manifests/v1", faults.meanwhile(move))


def push_meanwhile(scene: Scene) -> None:
    scene.at_target(faults.meanwhile(lambda: scene.prepared.put_all(scene.stage.house.back_door)))


def lose_blob(scene: Scene) -> None:
    """A blob is deleted when the first manifest comes."""
    stage = scene.stage
    digest = scene.prepared.blob_digests[0]
    gone = faults.meanwhile(
        lambda: stage.house.back_door.good("DELETE", f"/v2/{stage.repository}/blobs/{digest}")
    )
    scene.on("PUT", "/manifests/", gone)


def location_query(scene: Scene) -> None:
    scene.on("POST", "/blobs/uploads/", faults.location("query"), times=None)
    uploads = scene.stage.proxy
    scene.check(
        "the query came back",
        lambda: all("marker=a%2Fb%2Bc%3Dd+%26" in x.target for x in uploads.seen("PUT", "/uploads/")),
    )


_OTHER_DIGEST = "sha256:" + "0" * 64

ACTIONS: dict[str, Action] = {
    **{f"{code}": simple(faults.status(code)) for code in (403, 404, 416)},
    **{f"{code}": waiting(faults.status(code)) for code in (408, 429, 499, 500, 502, 503, 504, 522)},
    "401": unauthorized,
    "expiry": expiry,
    "429 seconds": obeyed(faults.too_many(1), 1),
    "429 date": obeyed(faults.too_many(2, as_date=True), 0.9),
    "429 too long": simple(faults.too_many(50)),
    "503 every third": every_third(faults.status(503)),
    "html": simple(faults.html()),
    "502 html": simple(faults.html(502)),
    "refused": nobody_listens,
    "reset before": simple(faults.reset_before_body()),
    "reset in body": resumed(faults.reset_in_body()),
    "no progress in body": simple(faults.reset_in_body(10)),
    "reset after": simple(faults.reset_after_body()),
    "reset in answer": simple(faults.reset_in_answer()),
    "no progress": simple(faults.reset_in_answer(10)),
    "truncated": simple(faults.truncate()),
    "wrong byte": simple(faults.wrong_byte()),
    "wrong byte by digest": by_digest(faults.wrong_byte()),
    "damaged body": simple(faults.damaged_body()),
    "length too large": simple(faults.wrong_length(10)),
    "length too small": simple(faults.wrong_length(-10)),
    "more bytes": simple(faults.change_body(lambda data: data + b"}", "more bytes")),
    "endless": endless,
    "chunked": simple(faults.chunked()),
    "slow": simple(faults.dribble(pieces=10, pause=0.02)),
    "late": simple(faults.latency(0.2)),
    "silence": quiet(faults.silence()),
    "silence in answer": quiet(faults.silence_in_answer()),
    "cap 413": simple(faults.cap_body(CAP, "413")),
    "cap reset": simple(faults.cap_body(CAP, "reset")),
    "chunk 416": chunked_and(faults.status(416)),
    "chunk lost": chunked_and(faults.reset_in_body()),
    "chunk answer lost": chunked_and(faults.reset_after_body()),
    "no chunks": no_chunks,
    "redirect": redirected(307),
    "redirect 302": redirected(302),
    "redirect upload": redirected_upload,
    "redirect challenge": challenged_elsewhere,
    "location elsewhere": located_elsewhere,
    "circles": in_circles,
    "no range": broken_then(faults.ignore_range()),
    "earlier range": broken_then(faults.other_range(500_000)),
    "later range": broken_then(faults.other_range(1_500_000)),
    "range 416": broken_then(faults.status(416)),
    "location absolute": at("POST", "/blobs/uploads/", faults.location("absolute")),
    "location relative": at("POST", "/blobs/uploads/", faults.location("relative")),
    "location document": at("POST", "/blobs/uploads/", faults.location("document")),
    "location query": location_query,
    "location missing": at("POST", "/blobs/uploads/", faults.header("Location", None)),
    "mount 201": mounting(None),
    "mount 202": mounting(faults.mount_refused()),
    "mount 404": mounting(faults.status(404)),
    "mount untrue": mounting(faults.mount_pretended()),
    "other digest": simple(faults.header("Docker-Content-Digest", _OTHER_DIGEST)),
    "no digest": at("", "/v2/.*/", faults.header("Docker-Content-Digest", None)),
    "moved": move_tag,
    "pushed meanwhile": push_meanwhile,
    "lost blob": lose_blob,
}

from __future__ import annotations

import json

import pytest

from hostbuild.errors import (
    AuthenticationError,
    HostbuildError,
    NotInRegistryError,
    RegistryError,
    UnreachableError,
)
from hostbuild.registry.answers import MAX_MESSAGE, registry_error
from hostbuild.registry.session import MAX_WARNINGS

from .wires import Ask, Events, Reply, errors_body, response_of
from .worlds import HTML, PULL, TokenWorld, get, opened

# Warnings and errors.


def test_warnings_of_the_registry_are_passed_on_once() -> None:
    events = Events()
    header = '299 - "old \\"API\\"", 299 - "quota\x1b[31m", 199 - "private"'
    session, _ = opened(lambda _ask: Reply(200, b"{}", {"Warning": header}), events=events)
    for _ in range(3):
        get(session)
    assert events.warnings == ['reg.example says: old "API"', "reg.example says: quota [31m"]


def test_a_registry_cannot_flood_with_warnings() -> None:
    events = Events()
    count = iter(range(10_000))

    def route(_ask: Ask) -> Reply:
        many = ", ".join(f'299 - "{next(count)} {"x" * 600}"' for _ in range(5))
        return Reply(200, b"{}", {"Warning": many})

    session, _ = opened(route, events=events)
    for _ in range(20):
        get(session)
    assert len(events.warnings) == MAX_WARNINGS
    assert all(len(text) < MAX_MESSAGE + 50 for text in events.warnings)


def error_of(
    status: int, body: bytes = b"", headers: dict[str, str] | None = None, method: str = "GET"
) -> HostbuildError:
    ask = Ask(method, "https://reg.example/v2/x?sig=hunter2", {}, b"")
    return registry_error(response_of(Reply(status, body, headers or {}), ask), "fetching x")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "UNAUTHORIZED", AuthenticationError),
        (403, "DENIED", AuthenticationError),
        (400, "DENIED", AuthenticationError),
        (404, "NAME_UNKNOWN", NotInRegistryError),
        (404, "MANIFEST_UNKNOWN", NotInRegistryError),
        (404, "BLOB_UNKNOWN", NotInRegistryError),
        (404, "", NotInRegistryError),
        (400, "NAME_UNKNOWN", NotInRegistryError),
        (400, "MANIFEST_INVALID", RegistryError),
        (413, "", RegistryError),
        (429, "TOOMANYREQUESTS", UnreachableError),
        (503, "UNAVAILABLE", UnreachableError),
        (500, "", UnreachableError),
        (507, "", RegistryError),
    ],
)
def test_errors_by_status_and_code(status: int, code: str, kind: type[HostbuildError]) -> None:
    error = error_of(status, errors_body(code, "words of the registry") if code else b"")
    assert type(error) is kind
    assert error.what == "fetching x failed"
    assert f"reg.example answered {status}" in error.why
    assert error.extra == {"status": status, "codes": (code,) if code else ()}
    if code:
        assert f"{code}: words of the registry" in error.why
    assert "hunter2" not in f"{error}{error.fix}{error!r}"


def test_every_error_that_people_can_mend_says_how() -> None:
    for status, code in (
        (401, "UNAUTHORIZED"),
        (404, "NAME_UNKNOWN"),
        (429, "TOOMANYREQUESTS"),
        (413, ""),
        (503, ""),
    ):
        assert error_of(status, errors_body(code)).fix
    assert "hostbuild login reg.example" in error_of(429).fix
    assert error_of(503).exit_code == 75


@pytest.mark.parametrize(
    ("body", "headers", "shown"),
    [
        (b"<html><h1>Bad Gateway</h1></html>", HTML, ""),
        (b"<html><h1>Bad Gateway</h1></html>", {}, ""),
        (b"plain words\n", {}, ": plain words"),
        (b"\x00\x01\xff\xfe", {}, ""),
        (b'{"errors": "no list"}', {}, ""),
        (b'{"errors": [7, null, {}]}', {}, ""),
        (b'{"broken', {}, ""),
        (b'{"message": "from a gateway"}', {}, ": from a gateway"),
        (b'{"error": "invalid_scope", "error_description": "no"}', {}, ": invalid_scope: no"),
        (errors_body("X", "bell\x07 \x1b]0;title\x07 \u202e new\nline"), {}, ": X: bell ]0;title new line"),
        (errors_body("X", "see https://u:p@h/x?sig=1 there"), {}, ": X: see https://***@h/x?… there"),
        (json.dumps({"errors": [{"code": f"C{n}"} for n in range(9)]}).encode(), {}, ": C0; C1; C2"),
    ],
)
def test_what_of_a_body_is_shown(body: bytes, headers: dict[str, str], shown: str) -> None:
    assert error_of(418, body, headers).why == f"reg.example answered 418 I'm a Teapot{shown}"


def test_bodies_are_bounded() -> None:
    error = error_of(400, errors_body("X", "y" * 100_000))
    assert len(error.why) < MAX_MESSAGE + 100
    assert len(error_of(400, b"y" * 10_000_000).why) < MAX_MESSAGE + 100
    assert error_of(599).why == "reg.example answered 599"
    assert error_of(404, errors_body("NAME_UNKNOWN"), method="HEAD").extra["status"] == 404


def test_an_error_of_what_needs_no_login_is_the_plain_one() -> None:
    session, _ = TokenWorld().session()
    ask = Ask("GET", "https://reg.example/v2/x", {}, b"")
    error = session.error(response_of(Reply(404, errors_body("NAME_UNKNOWN")), ask), "fetching x", PULL)
    assert type(error) is NotInRegistryError
    error = session.error(response_of(Reply(403, errors_body("DENIED")), ask), "fetching x", PULL)
    assert error.fix == "check the name; if it is right and not public, log in: hostbuild login reg.example"

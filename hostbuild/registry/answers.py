"""What a registry's refusal means: from status and error body to a typed error that says what to do.

The body is the distribution specification's ("Error codes"): `{"errors": [{"code", "message", "detail"}]}`.
What is between us and the registry answers in other ways (HTML pages, plain text, nothing): that is borne,
and never dumped into a message.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.errors import (
    AuthenticationError,
    HostbuildError,
    NotInRegistryError,
    RegistryError,
    UnreachableError,
)
from hostbuild.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostbuild.http import Response

    Hide = Callable[[str], str]

#: Bytes of an error's body that are read.
ERROR_LIMIT = 64 * 1024
#: Characters of one foreign message, and messages of one body, that an error shows.
MAX_MESSAGE = 300
MAX_MESSAGES = 3
#: Characters of Warning headers that are looked at (the specification's limit for all of them is 4096).
MAX_WARNING = 4096

#: Statuses that ask to come later (what a transport tries again).
LATER = frozenset({408, 429, 499, 500, 502, 503, 504, 522})

_ABSENT = frozenset({"NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"})
_REFUSED = frozenset({"UNAUTHORIZED", "DENIED"})
_BUSY = frozenset({"TOOMANYREQUESTS", "UNAVAILABLE"})

_CHANGED = "push again; where that fails too, something between here and the registry changes bodies"
_FIXES = {
    "NAME_UNKNOWN": "check the repository's name; some registries want it made before the first push",
    "MANIFEST_UNKNOWN": "check the tag or digest",
    "BLOB_UNKNOWN": "the image in the registry is incomplete: push it again",
    "MANIFEST_BLOB_UNKNOWN": "push again: the registry has lost a blob that the manifest names",
    "BLOB_UPLOAD_UNKNOWN": "push again: the registry has given up the upload",
    "NAME_INVALID": "use another repository name: this registry does not accept it",
    "TAG_INVALID": "use another tag: this registry does not accept it",
    "UNSUPPORTED": "the registry does not offer this: ask who runs it",
    "SIZE_INVALID": _CHANGED,
    "DIGEST_INVALID": _CHANGED,
}


class RegistryMessage(NamedTuple):
    """One entry of an error body: its code ("" where it has none) and its message, printable and bounded."""

    code: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in self if part)


def registry_error(response: Response, what: str) -> HostbuildError:
    """The error that a refusing answer stands for; reads and closes `response`.

    `what` says what was being done ("fetching blob sha256:…"). Gives AuthenticationError (401, 403,
    UNAUTHORIZED, DENIED), NotInRegistryError (404 and the UNKNOWN codes), UnreachableError for what asks to
    come later (408, 429, 5xx: exit code 75), else RegistryError. All carry `extra["status"]` and
    `extra["codes"]`. Better where a session is at hand: `RegistrySession.error`, which also says which login
    was refused.
    """
    messages = read_messages(response)
    return refusal(response.status, messages, what, host_of(response.url))


def refusal(
    status: int,
    messages: tuple[RegistryMessage, ...],
    what: str,
    registry: str,
    *,
    fix: str = "",
    why: str = "",
) -> HostbuildError:
    """The error for a status and its messages; `fix` and `why` take the place of the usual ones."""
    codes = tuple(message.code for message in messages if message.code)
    kind = _kind(status, codes)
    return kind(
        f"{what} failed" if what else f"{registry} refuses the request",
        why=why or explain(status, messages, registry),
        fix=fix or _fix(kind, status, codes, registry),
        status=status,
        codes=codes,
    )


def explain(status: int, messages: tuple[RegistryMessage, ...], registry: str) -> str:
    """`registry.example answered 403 Forbidden: DENIED: …`."""
    said = "; ".join(str(message) for message in messages)
    answered = f"{registry} answered {status_text(status)}"
    return f"{answered}: {said}" if said else answered


def status_text(status: int) -> str:
    """A status as people know it: `404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def read_messages(response: Response, hide: Hide = str) -> tuple[RegistryMessage, ...]:
    """What the body of a refusing answer says, bounded; closes `response`. Nothing of an HTML page.

    `hide` takes out what must not be shown (`Secrets.hide`): who was given a login may repeat it.
    """
    with response:
        data = read_some(response)
        kind = response.headers.get("Content-Type", "")
    messages = _structured(data, hide)
    if messages:
        return messages
    text = printable(data.decode("utf-8", "replace"), hide=hide)
    if not text or looks_like_html(data, kind) or "\ufffd" in text or text[0] in "{[":
        return ()
    return (RegistryMessage("", text),)


def looks_like_html(data: bytes, content_type: str) -> bool:
    """Whether an answer is a page for people."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return "html" in content_type.lower() or start.startswith(
        (b"<!doctype html", b"<html", b"<head", b"<body")
    )


def printable(text: str, limit: int = MAX_MESSAGE, *, hide: Hide = str) -> str:
    """Foreign text on one line, without what a terminal obeys, without the user information and the queries
    of URLs. `hide` is as for `read_messages`; it sees the whole text, because a part of a secret is one, too.
    """
    shown = "".join(character if character.isprintable() else " " for character in hide(text)[: limit * 4])
    shown = redact(re.sub(r"(?<=://)(\S*?)\?\S*", r"\1?…", " ".join(shown.split())))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def warning_texts(header: str, hide: Hide = str) -> tuple[str, ...]:
    """The texts of a Warning header that are for people (distribution specification, "Warnings"), bounded."""
    texts = re.findall(r'299[ \t]+\S+[ \t]+"((?:[^"\\]|\\.)*)"', header[:MAX_WARNING])
    plain = (re.sub(r"\\(.)", r"\1", text) for text in texts)
    return tuple(text for text in (printable(text, hide=hide) for text in plain) if text)


def host_of(url: str) -> str:
    """Host and port of a URL, for messages."""
    return url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]


def read_some(response: Response) -> bytes:
    """At most ERROR_LIMIT bytes; a body that breaks off has said what it had to say. Read, its connection is
    reused.
    """
    response.preload(ERROR_LIMIT)
    return response.peek()[:ERROR_LIMIT]


def _structured(data: bytes, hide: Hide) -> tuple[RegistryMessage, ...]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(document, dict):
        return ()
    entries = document.get("errors")
    if not isinstance(entries, list):
        # Token servers say {"details": …} or OAuth's {"error", "error_description"} (RFC 6749, 5.2).
        code, text = document.get("error"), document.get("error_description") or document.get("details")
        entries = [{"code": code, "message": text or document.get("message")}]
    messages = []
    for entry in entries[:MAX_MESSAGES]:
        if isinstance(entry, dict):
            message = RegistryMessage(_text(entry.get("code"), hide), _text(entry.get("message"), hide))
            if any(message):
                messages.append(message)
    return tuple(messages)


def _text(value: object, hide: Hide) -> str:
    return printable(value, hide=hide) if isinstance(value, str) else ""


def _kind(status: int, codes: tuple[str, ...]) -> type[HostbuildError]:
    if status in LATER or _BUSY.intersection(codes):
        return UnreachableError
    if status in (401, 403, 407) or (_REFUSED.intersection(codes) and status != 404):
        return AuthenticationError
    if status == 404 or _ABSENT.intersection(codes):
        return NotInRegistryError
    return RegistryError


def _fix(kind: type[HostbuildError], status: int, codes: tuple[str, ...], registry: str) -> str:
    if status == 407:
        return "the proxy wants a login: put it into HTTPS_PROXY (http://user:password@host:port)"
    if kind is AuthenticationError:
        return f"log in with an account that may do this: hostbuild login {registry}"
    if status == 429 or "TOOMANYREQUESTS" in codes:
        return f"try again later, or log in for a higher limit: hostbuild login {registry}"
    if kind is UnreachableError:
        return "try again later"
    if status == 413:
        return "the registry, or a proxy before it, takes no body of this size: ask who runs it"
    for code in codes:
        if code in _FIXES:
            return _FIXES[code]
    if kind is NotInRegistryError:
        return "check the name, and whether this account may see it"
    return ""

"""What an answer says of bytes, and what they are; and answers that cannot be a registry's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostbuild.errors import InvalidDigestError, ProtocolError
from hostbuild.oci.digest import Digest
from hostbuild.registry.answers import looks_like_html, status_text

if TYPE_CHECKING:
    from hostbuild.http import Response

HEADER = "Docker-Content-Digest"


def content_digest(response: Response, like: Digest | None = None) -> Digest | None:
    """The digest in an answer's header, None where it has none that can be read, or of another algorithm
    than `like`.
    """
    try:
        digest = Digest.parse(response.headers.get(HEADER, "").strip())
    except InvalidDigestError:
        return None
    return None if like is not None and digest.algorithm != like.algorithm else digest


def digest_of(data: bytes, algorithm: str) -> Digest:
    """The digest of `data` by an algorithm that `Digest` knows."""
    import hashlib

    return Digest(algorithm, hashlib.new(algorithm, data).hexdigest())


def is_page(response: Response, data: bytes = b"") -> bool:
    """Whether the answer is a page for people, by its header or the start of its body."""
    return looks_like_html(data, response.headers.get("Content-Type", ""))


def refuse_page(response: Response, what: str, data: bytes = b"") -> None:
    """Raise ProtocolError for a page for people: no registry answers so, whatever the status says."""
    if is_page(response, data):
        raise ProtocolError(
            f"{what} failed",
            why="a web page came in place of the registry's answer",
            fix="check the registry's address, and whether a proxy or a login page is between here and it",
        )


def not_begun(response: Response, what: str) -> ProtocolError:
    """The error for a success that is none: an upload was to begin, which is 202 (end-4a)."""
    return ProtocolError(
        f"{what} failed",
        why=f"asked to begin an upload, it answered {status_text(response.status)} in place of 202 Accepted",
        fix="the registry does not take blobs as it should: ask who runs it, or what is before it",
    )

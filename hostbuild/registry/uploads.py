"""One blob's way into one repository (distribution specification, "Pushing blobs").

HEAD; then POST with `mount`, once a source; then the bytes. What is chosen for these, and why:

- POST and one PUT that carries the whole body: two round trips, and what every registry takes. A single POST
  with the body would be one, but distribution (2.8 and 3) takes the body and stores nothing (202), so that it
  is sent twice.
- Chunks (PATCH with Content-Range, then an empty PUT) only where a body was too large for someone on the way
  (413, or 416 at the right offset), or broke twice: they cost round trips, and some registries get them
  wrong.
- Every body is sent once by the transport. What happens after a failure is decided here, because the upload
  itself may be changed by then: the registry is asked how much it has (GET of the upload), and the rest is
  sent. Where it does not say, the upload is lost: the blob may be complete all the same (HEAD), else all
  begins anew.

It ends: each failure without progress is counted (`Patience`), and a body can be halved only so often.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote as percent
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from hostbuild.errors import (
    HostbuildError,
    NetworkError,
    ProtocolError,
    RegistryError,
    UnreachableError,
)
from hostbuild.http.download import is_progress
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import SHA256
from hostbuild.points import reach
from hostbuild.registry.answers import LATER
from hostbuild.registry.bodies import Opener, PartBody
from hostbuild.registry.damage import check_blob
from hostbuild.registry.digests import content_digest, is_page, not_begun, refuse_page
from hostbuild.registry.patience import Pacing, Patience
from hostbuild.registry.place import Place, pull_scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostbuild.http import Response

BlobStatus = Literal["present", "mounted", "uploaded"]

#: Repositories that a blob is tried to be mounted from.
MAX_SOURCES = 3
#: A body that broke so often is sent in smaller ones.
BREAKS = 2

_OCTETS = "application/octet-stream"
#: 201 is what the specification asks for (end-6); the others count where the blob is found afterwards.
_DONE = (200, 201, 204)
_TAKEN = (200, 201, 202, 204)  # 202 by the specification; Amazon ECR says 201
_LOST = (404, 409, 410)
_NO_STATUS = (400, 405, 501)  # GET of an upload is not offered
_LOST_CODES = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"})
_MISMATCH_CODES = frozenset({"DIGEST_INVALID", "SIZE_INVALID"})


class Limits:
    """What was learned of a registry while bodies were sent to it; shared by all its uploads. In bytes.

    `body` is the largest body that it is sent, 0 while no limit is known. `start` is the first chunk's size
    where there must be chunks, `least` the smallest that is tried.
    """

    def __init__(self, body: int = 0, start: int = 64 * 1024 * 1024, least: int = 1024 * 1024) -> None:
        self.body = body
        self.start = start
        self.least = least


class Upload:
    """Brings one blob into the repository of `place`; `run` once."""

    def __init__(
        self, place: Place, descriptor: Descriptor, opener: Opener, *, limits: Limits, pacing: Pacing
    ) -> None:
        self._place = place
        self._descriptor = descriptor
        self._opener = opener
        self._limits = limits
        self._what = f"pushing blob {descriptor.digest} to {place.name}"
        self._patience = Patience(pacing, self._what)
        self._location = ""  # of the upload under way, "" for none
        self._offset = 0  # what the registry has of it
        self._best = 0  # the offset of the last progress
        self._blind = 0  # the offset from which a chunk was sent again without knowing what had come
        self._breaks = 0
        self._mismatched = False
        self._checked = False  # whether the bytes here were seen to be right
        self._body = limits.body  # as Limits.body, for this blob
        self._least = limits.least
        self._whole_only = False  # chunks were refused
        self._too_large: HostbuildError | None = None  # a whole body was refused

    def run(self, mount_from: Sequence[str] = ()) -> BlobStatus:
        """Have the blob in the repository. Raises RegistryError, UnreachableError, and what the opener
        raises.
        """
        if self._present():
            return "present"
        for source in tuple(dict.fromkeys(mount_from))[:MAX_SOURCES]:
            if source != self._place.repository and self._mounted(source):
                reach("upload-mounted")
                self._abandon()
                return "mounted"
        while not self._send_some():
            pass
        if self._body:
            self._limits.body = min(self._body, self._limits.body or self._body)
        return "uploaded"

    def _present(self) -> bool:
        """Whether the repository has the blob. What HEAD refuses, the upload will explain."""
        path = self._place.path(f"blobs/{self._descriptor.digest}")
        what = f"looking for blob {self._descriptor.digest} in {self._place.name}"
        with self._place.session.request("HEAD", path, scopes=self._place.push_scopes, what=what) as response:
            if response.status == 200:
                return not is_page(response)
            if 400 <= response.status < 500 and response.status not in LATER:
                return False
            raise self._place.session.error(response, what, self._place.push_scopes)

    def _mounted(self, source: str) -> bool:
        """Try to mount from one repository; the upload begun in place of it is kept for the bytes."""
        query = urlencode({"mount": str(self._descriptor.digest), "from": source})
        path = self._place.path(f"blobs/uploads/?{query}")
        scopes = (*self._place.push_scopes, pull_scope(source))
        try:
            with self._place.session.request(
                "POST", path, scopes=scopes, retry=False, what=self._what
            ) as got:
                if is_page(got):
                    return False
                if got.status == 201:
                    return content_digest(got, self._descriptor.digest) in (None, self._descriptor.digest)
                if got.status == 202:
                    self._abandon()
                    self._begin_at(got)
        except (NetworkError, UnreachableError):
            pass  # only the mount failed: the way without it tells what is wrong
        return False

    def _abandon(self) -> None:
        """Give back an upload that is not needed any more, where there is one. It expires anyway."""
        if self._location:
            with suppress(NetworkError, UnreachableError):
                self._request("DELETE", self._location, retry=False).close()
            self._location = ""

    def _begin(self) -> None:
        """POST: an upload, with nothing in it yet."""
        algorithm = self._descriptor.digest.algorithm
        query = "" if algorithm == SHA256 else f"?digest-algorithm={algorithm}"
        path = self._place.path(f"blobs/uploads/{query}")
        with self._request("POST", path) as response:
            if response.status != 202:
                raise self._error(response) if response.status >= 300 else not_begun(response, self._what)
            refuse_page(response, self._what)
            self._begin_at(response)

    def _begin_at(self, response: Response) -> None:
        self._location = self._next_location(response)
        self._offset = 0
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        if least.isascii() and least.isdecimal():
            self._least = max(self._limits.least, int(least[:15]))
        reach("upload-begun")

    def _send_some(self) -> bool:
        """Send the next body and judge the answer; True when the blob is complete."""
        if not self._location:
            self._begin()
        rest = self._descriptor.size - self._offset
        limit = 0 if self._whole_only else self._body and max(self._body, self._least)
        whole = not self._offset and (not limit or rest <= limit)
        length = rest if whole or not limit else min(rest, limit)
        headers = {"Content-Type": _OCTETS}
        if whole or not rest:
            method, url = "PUT", _with_digest(self._location, str(self._descriptor.digest))
            reach("upload-before-commit")
        else:
            method, url = "PATCH", self._location
            headers["Content-Range"] = f"{self._offset}-{self._offset + length - 1}"
        body = PartBody(self._descriptor, self._opener, self._offset, length) if length else b""
        try:
            response = self._place.session.request(
                method, url, scopes=self._place.push_scopes, headers=headers, body=body, retry=False,
                what=self._what,
            )  # fmt: skip
        except UnreachableError as error:
            return self._after_break(error, length)
        with response:
            if method == "PUT" and response.status in _DONE:
                refuse_page(response, self._what)
                self._check_digest(response)
                if response.status == 201 or self._present():
                    reach("upload-after-commit")
                    return True
                raise ProtocolError(
                    f"{self._what} failed",
                    why=f"the answer was {response.status}, and the registry does not have the blob",
                    fix="see what answers at this address, and whether a proxy is between here and it",
                )
            if method == "PATCH" and response.status in _TAKEN:
                refuse_page(response, self._what)
                self._advance(response, length)
                return False
            return self._after_refusal(response, method, length)

    def _check_digest(self, response: Response) -> None:
        stored = content_digest(response, self._descriptor.digest)
        if stored not in (None, self._descriptor.digest):
            self._check_blob()
            raise RegistryError(
                f"{self._what} failed",
                why=f"the registry says that it stored {stored}",
                fix="do not use this registry: it changes what it is given",
            )

    def _check_blob(self) -> None:
        """See once that what is sent is right. Raises CorruptBlobError."""
        if not self._checked:
            check_blob(self._descriptor, self._opener)
            self._checked = True

    def _advance(self, response: Response, length: int) -> None:
        """A chunk was taken; the registry's Range says how much of it, where it says anything."""
        if response.headers.get("Location"):
            self._location = self._next_location(response)
        expected = self._offset + length
        reached = _range_end(response)
        if reached is None:
            reached = expected
        if not self._offset < reached <= expected:
            # It does not count as we do (Amazon ECR drops each chunk after the first): it gets one body.
            error = ProtocolError(
                f"{self._what} failed",
                why=f"after bytes {self._offset} to {expected - 1} were sent, it says it has {reached}",
                fix="the registry does not take blobs in chunks as it should: ask who runs it",
            )
            self._refuse_chunks(error)
            return
        self._reach(reached)
        reach("upload-chunk-sent")

    def _reach(self, offset: int) -> None:
        self._offset = offset
        if is_progress(offset - self._best, self._descriptor.size - self._best):
            self._best = offset
            self._patience.progressed()

    def _after_break(self, error: UnreachableError, length: int) -> bool:
        self._breaks += 1
        if self._breaks % BREAKS == 0 and length > self._least and not self._whole_only:
            self._body = max(self._least, min(self._limits.start, length // 2))
        self._patience.spend(error)
        return self._recover()

    def _after_refusal(self, response: Response, method: str, length: int) -> bool:
        """What to do after a status that is no success; True when the blob turns out to be complete."""
        status = response.status
        asked, date = response.headers.get("Retry-After", ""), response.headers.get("Date", "")
        error = self._error(response)
        codes = frozenset(error.extra.get("codes", ()))
        if status == 413:
            self._shrink(error, length)
            return self._recover()
        if status == 416:
            return self._after_wrong_range(error, length)
        if status in LATER:
            self._patience.spend(error, asked=asked, date=date)
            return self._recover()
        if codes & _MISMATCH_CODES or (status == 400 and method == "PUT"):
            self._check_blob()
        if codes & _MISMATCH_CODES and not self._mismatched:
            self._mismatched = True  # once it may have been damaged on the way
            self._patience.spend(error, pause=False)
            self._location, self._offset = "", 0
            return False
        if status in _LOST or codes & _LOST_CODES:
            self._patience.spend(error, pause=False)
            return self._recover()
        if method == "PATCH" and status not in (401, 403) and not codes & _MISMATCH_CODES:
            self._refuse_chunks(error)
            return False
        raise error

    def _after_wrong_range(self, error: HostbuildError, length: int) -> bool:
        """416: the registry has more or less than we think; or it means that the body is too large (GHCR)."""
        before, location = self._offset, self._location
        self._patience.spend(error, pause=False)
        if self._recover():
            return True
        if self._location and self._offset == before and location and length > self._least:
            self._shrink(error, length)
        return False

    def _shrink(self, error: HostbuildError, length: int) -> None:
        """A body of `length` bytes was too large for the registry or for something before it."""
        if self._whole_only or length <= self._least:
            raise error
        self._too_large = self._too_large or error
        self._body = max(self._least, min(self._limits.start, length // 2))
        self._limits.body = min(self._body, self._limits.body or self._body)

    def _refuse_chunks(self, error: HostbuildError) -> None:
        """The registry takes no chunks: the whole blob in one body, unless that was refused before."""
        if self._whole_only or self._too_large is not None:
            raise self._too_large or error
        self._whole_only = True
        self._body = 0
        self._patience.spend(error, pause=False)
        self._abandon()
        self._offset = 0

    def _recover(self) -> bool:
        """Ask how much of the upload the registry has. Where it does not say, the upload is lost.

        True when the blob is complete: the answer to the last body may be what was lost.
        """
        with self._request("GET", self._location) as response:
            reached = _range_end(response) if response.status in _TAKEN else None
            if reached is not None and reached <= self._descriptor.size and self._may_resume(reached):
                if response.headers.get("Location"):
                    self._location = self._next_location(response)
                self._reach(reached)
                return False
            if response.status in _NO_STATUS and self._offset not in (0, self._blind):
                self._blind = self._offset  # it cannot say: the chunk once more, as if nothing of it had come
                return False
        self._location, self._offset = "", 0
        return self._present()

    def _may_resume(self, reached: int) -> bool:
        return not (self._whole_only and reached)

    def _request(self, method: str, path_or_url: str, *, retry: bool = True) -> Response:
        return self._place.session.request(
            method, path_or_url, scopes=self._place.push_scopes, retry=retry, what=self._what
        )

    def _error(self, response: Response) -> HostbuildError:
        return self._place.session.error(response, self._what, self._place.push_scopes)

    def _next_location(self, response: Response) -> str:
        """The upload's next address: relative or absolute, its query kept.

        A registry behind a proxy that ends TLS often calls itself http://: its own address is asked by https
        all the same, and another host's plain one is refused.
        """
        location = response.headers.get("Location", "")
        if not location:
            raise ProtocolError(
                f"{self._what} failed",
                why="the registry began an upload and did not say where (no Location)",
                fix="ask who runs the registry, or what is before it",
            )
        base = urlsplit(response.url)
        try:
            there = urlsplit(urljoin(response.url, location))
            known = there.scheme in ("http", "https") and bool(there.hostname)
        except ValueError:
            known = False
        if known and base.scheme == "https" and there.scheme == "http":
            known = there.hostname == base.hostname
            there = there._replace(scheme="https", netloc=base.netloc)
        if not known:
            raise ProtocolError(
                f"{self._what} failed",
                why="the registry's address for the upload (Location) cannot be used",
                fix="ask who runs the registry, or what is before it",
            )
        return urlunsplit(there._replace(fragment=""))


def _with_digest(location: str, digest: str) -> str:
    """The address that completes the upload: its query as it is (it may be signed), and the digest."""
    return f"{location}{'&' if urlsplit(location).query else '?'}digest={percent(digest, safe='')}"


def _range_end(response: Response) -> int | None:
    """How many bytes the registry has, by its `Range: 0-<last>`; None where it does not say.

    distribution says `0-0` of an empty upload: one byte is never sent alone, so that is what it means.
    """
    found = re.fullmatch(r"(?:bytes[ =])?0-(-?[0-9]{1,18})", response.headers.get("Range", "").strip())
    if found is None:
        return None
    last = int(found[1])
    return last + 1 if last > 0 else 0

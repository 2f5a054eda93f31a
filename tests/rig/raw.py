"""The distribution protocol by hand, with the standard library's client: to fill and to ask registries."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.rig.handmade import tar_of
from tests.rig.layout import CONFIG, INDEX, LAYER, MANIFEST

_SECONDS = 30
_ACCEPTED = f"{MANIFEST}, {INDEX}, */*"


class RawAnswer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


class Raw:
    """One registry (host:port), asked without mercy: one connection a request, no retries, no redirects."""

    def __init__(
        self, address: str, *, authorization: str = "", context: ssl.SSLContext | None = None
    ) -> None:
        self.address = address
        self._authorization = authorization
        self._context = context

    def request(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> RawAnswer:
        """Whatever http.client makes of the answer; its exceptions are the caller's."""
        if self._context is None:
            connection = http.client.HTTPConnection(self.address, timeout=_SECONDS)
        else:
            connection = http.client.HTTPSConnection(self.address, timeout=_SECONDS, context=self._context)
        sent = {"Accept": _ACCEPTED, **(headers or {})}
        if self._authorization:
            sent["Authorization"] = self._authorization
        try:
            connection.request(method, target, body, sent)
            answer = connection.getresponse()
            return RawAnswer(answer.status, dict(answer.headers.items()), answer.read())
        finally:
            connection.close()

    def good(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> RawAnswer:
        answer = self.request(method, target, body, headers)
        assert answer.status < 300, f"{method} {target}: {answer.status} {answer.body!r}"
        return answer

    def start_upload(self, repository: str, query: str = "") -> str:
        """The Location of a new upload: a path with its query."""
        found = self.good("POST", f"/v2/{repository}/blobs/uploads/{query}").headers["Location"]
        parts = urlsplit(found)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def put_blob(self, repository: str, data: bytes, media_type: str = LAYER) -> dict[str, Any]:
        """Upload a blob in one PUT; its descriptor."""
        place = self.start_upload(repository)
        made = descriptor(data, media_type)
        self.good("PUT", f"{place}{'&' if '?' in place else '?'}digest={made['digest']}", data)
        return made

    def put_manifest(
        self, repository: str, identifier: str, document: Mapping[str, Any], media_type: str = MANIFEST
    ) -> dict[str, Any]:
        """Put a manifest or index under a tag, or (identifier "") under its digest; its descriptor."""
        data = json.dumps(document).encode()
        made = descriptor(data, media_type)
        target = f"/v2/{repository}/manifests/{identifier or made['digest']}"
        self.good("PUT", target, data, {"Content-Type": media_type})
        return made

    def put_image(
        self, repository: str, identifier: str, layers: list[bytes], *, platform: str = "linux/amd64"
    ) -> dict[str, Any]:
        """An image of gzip layers, each holding one file with the given bytes; its manifest's descriptor."""
        os_name, architecture, variant = [*platform.split("/"), ""][:3]
        archives = [tar_of({f"f{number}": data}) for number, data in enumerate(layers)]
        config = {
            "os": os_name,
            "architecture": architecture,
            **({"variant": variant} if variant else {}),
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(archive) for archive in archives]},
            "history": [{"created_by": "test"} for _ in archives],
        }
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.put_blob(repository, json.dumps(config).encode(), CONFIG),
            "layers": [
                self.put_blob(repository, gzip.compress(archive, 1, mtime=0), LAYER + "+gzip")
                for archive in archives
            ],
        }
        return self.put_manifest(repository, identifier, document)

    def put_index(
        self, repository: str, identifier: str, images: Mapping[str, list[bytes]]
    ) -> dict[str, Any]:
        """An index of images by platform; its descriptor."""
        manifests = []
        for platform, layers in images.items():
            os_name, architecture, variant = [*platform.split("/"), ""][:3]
            target = {"os": os_name, "architecture": architecture}
            if variant:
                target["variant"] = variant
            made = self.put_image(repository, "", layers, platform=platform)
            manifests.append({**made, "platform": target})
        return self.put_manifest(
            repository, identifier, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, INDEX
        )

    def has_tag(self, repository: str, tag: str) -> bool:
        return self.request("HEAD", f"/v2/{repository}/manifests/{tag}").status == 200

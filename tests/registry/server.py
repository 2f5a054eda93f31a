"""A small registry in memory, over real sockets, that misbehaves on request."""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Headers = dict[str, str]
NAME = r"(?P<name>[a-z0-9/._-]+)"
PIECE = 65536


@dataclass
class Asked:
    """One request as it came: what tests look at."""

    method: str
    path: str  # with its query
    headers: Headers
    body: int = 0  # bytes of the body that were read

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Fault:
    """What happens to the requests of a method whose path matches, `times` times after `skip` of them."""

    method: str
    pattern: str
    action: Callable[[Handler], bool]  # True: answered (or broken), False: go on as always
    times: int = 1
    skip: int = 0


@dataclass
class UploadState:
    name: str
    data: bytearray = field(default_factory=bytearray)


class MemoryRegistry:
    """State and knobs; `address` is host:port once it runs."""

    def __init__(self) -> None:
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.uploads: dict[str, UploadState] = {}
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.address = ""
        self.count = 0
        # Knobs
        self.body_cap: int | None = None  # 413 above
        self.chunk_cap: int | None = None  # 416 above, for PATCH, as GHCR
        self.chunk_min = 0  # OCI-Chunk-Min-Length, and 416 for smaller ones that are not the last
        self.chunks = (
            "yes"  # "no" (405), "stale" (as ECR: drops each after the first), "partial" (takes half)
        )
        self.keeps_partial = (
            True  # what came before a break is kept (distribution 3), else the upload dies (2.8)
        )
        self.status_of_uploads = True  # GET of an upload
        self.location = "relative"  # "absolute", "query"
        self.mounts = "yes"  # "no" (202), or a status
        self.subjects = False  # answers OCI-Subject
        self.digest_headers = True
        self.head = "yes"  # "bare" (no headers that matter), or a status
        self.ranges = True
        self.rewrite: Callable[[bytes], bytes] = bytes
        self.on_put: Callable[[str, str], None] = lambda name, reference: None

    def count_of(self, method: str, pattern: str = "") -> int:
        """How many requests there were."""
        return len(self.requests(method, pattern))

    def requests(self, method: str, pattern: str = "") -> list[Asked]:
        return [one for one in self.asked if one.method == method and re.search(pattern, one.path)]

    def fail(
        self, method: str, pattern: str, action: Callable[[Handler], bool], *, times: int = 1, skip: int = 0
    ) -> None:
        self.faults.append(Fault(method, pattern, action, times, skip))

    def add_blob(self, name: str, data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs.setdefault(name, {})[digest] = data
        return digest

    def add_manifest(self, name: str, data: bytes, media_type: str, *tags: str) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        for reference in (digest, *tags):
            self.manifests.setdefault(name, {})[reference] = (media_type, data)
        return digest

    @contextmanager
    def running(self) -> Iterator[MemoryRegistry]:
        server = _Server(("127.0.0.1", 0), Handler)
        server.registry = self
        self.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def fault_for(self, asked: Asked) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.method == asked.method and re.search(fault.pattern, asked.path) and fault.times:
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    registry: MemoryRegistry

    def handle_error(self, request: Any, client_address: Any) -> None:
        """BrokenError connections are what the tests are about."""


class BrokenError(Exception):
    """The connection ends here."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: _Server
    asked: Asked
    silent = False

    def log_message(self, *args: Any) -> None:
        pass

    @property
    def registry(self) -> MemoryRegistry:
        return self.server.registry

    def _run(self) -> None:
        self.asked = Asked(self.command, self.path, dict(self.headers.items()))
        self.left = int(self.headers.get("Content-Length") or 0)
        self.silent = False
        with self.registry.lock:
            self.registry.asked.append(self.asked)
        try:
            fault = self.registry.fault_for(self.asked)
            if fault is None or not fault.action(self):
                self._route()
        except (BrokenError, ConnectionError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _run  # noqa: N815

    # For faults and answers

    def answer(self, status: int, headers: Headers | None = None, body: bytes = b"") -> bool:
        """Answer; what is left of the request's body is not read, and then the connection ends."""
        if self.silent:
            self.reset()
        self.send_response(status)
        named = {"Content-Length": str(len(body)), **(headers or {})}
        if self.left:
            named["Connection"] = "close"
        for name, value in named.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if self.left:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            while self.rfile.read1(PIECE):  # so that the answer is not lost in a reset
                pass
            raise BrokenError
        return True

    def reset(self) -> None:
        """End the connection with a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise BrokenError

    def read_body(self, limit: int | None = None) -> bytes:
        wanted = self.left if limit is None else min(self.left, limit)
        data = bytearray()
        while len(data) < wanted:
            piece = self.rfile.read1(min(PIECE, wanted - len(data)))
            if not piece:
                break
            data += piece
        self.left -= len(data)
        self.asked.body += len(data)
        return bytes(data)

    def refuse(self, status: int, code: str = "") -> bool:
        return self.answer(
            status, {"Content-Type": "application/json"}, f'{{"errors":[{{"code":"{code}"}}]}}'.encode()
        )

    # The registry

    def _route(self) -> None:
        path = urlsplit(self.path).path
        routes: list[tuple[str, Callable[..., Any]]] = [
            (r"/v2/", self._ping),
            (rf"/v2/{NAME}/manifests/(?P<reference>[^/]+)", self._manifest),
            (rf"/v2/{NAME}/blobs/uploads/", self._begin),
            (rf"/v2/{NAME}/blobs/uploads/(?P<number>\w+)", self._upload),
            (rf"/v2/{NAME}/blobs/(?P<digest>[^/]+)", self._blob),
        ]
        for pattern, method in routes:
            found = re.fullmatch(pattern, path)
            if found:
                method(**found.groupdict())
                return
        self.refuse(404, "NAME_UNKNOWN")

    def _ping(self) -> None:
        self.answer(200, {"Docker-Distribution-API-Version": "registry/2.0"}, b"{}")

    def _manifest(self, name: str, reference: str) -> None:
        stored = self.registry.manifests.setdefault(name, {})
        if self.command == "PUT":
            data = self.registry.rewrite(self.read_body())
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            media_type = self.headers.get("Content-Type", "")
            with self.registry.lock:
                stored[reference] = stored[digest] = (media_type, data)
            headers = {"Location": f"/v2/{name}/manifests/{digest}"}
            if self.registry.digest_headers:
                headers["Docker-Content-Digest"] = digest
            if self.registry.subjects and b'"subject"' in data:
                headers["OCI-Subject"] = "sha256:" + "0" * 64
            self.registry.on_put(name, reference)
            self.answer(201, headers)
            return
        if self.command == "HEAD" and self.registry.head.isdecimal():
            self.answer(int(self.registry.head))
            return
        if reference not in stored:
            self.refuse(404, "MANIFEST_UNKNOWN")
            return
        media_type, data = stored[reference]
        headers = {"Content-Type": media_type, "Content-Length": str(len(data))}
        if self.registry.digest_headers:
            headers["Docker-Content-Digest"] = "sha256:" + hashlib.sha256(data).hexdigest()
        if self.command == "HEAD" and self.registry.head == "bare":
            headers = {"Content-Length": "0"}
        self.answer(200, headers, data)

    def _blob(self, name: str, digest: str) -> None:
        data = self.registry.blobs.get(name, {}).get(digest)
        if data is None:
            self.refuse(404, "BLOB_UNKNOWN")
            return
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        if asked and self.registry.ranges:
            start = int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.answer(
            206 if start else 200, {**headers, "Content-Length": str(len(data) - start)}, data[start:]
        )

    def _begin(self, name: str) -> None:
        query = parse_qs(urlsplit(self.path).query)
        registry = self.registry
        if "mount" in query:
            if registry.mounts.isdecimal():
                self.refuse(int(registry.mounts), "DENIED")
                return
            digest = query["mount"][0]
            source = registry.blobs.get(query.get("from", [""])[0], {})
            if registry.mounts == "yes" and digest in source:
                registry.blobs.setdefault(name, {})[digest] = source[digest]
                self.answer(201, {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/blobs/{digest}"})
                return
        with registry.lock:
            registry.count += 1
            number = f"u{registry.count}"
            registry.uploads[number] = UploadState(name)
        headers = self._place(name, number)
        if registry.chunk_min:
            headers["OCI-Chunk-Min-Length"] = str(registry.chunk_min)
        self.answer(202, headers)

    def _place(self, name: str, number: str) -> Headers:
        held = len(self.registry.uploads[number].data)
        path = f"/v2/{name}/blobs/uploads/{number}"
        if self.registry.location == "absolute":
            path = f"http://{self.registry.address}{path}"
        elif self.registry.location == "query":
            path += f"?_state=a%2Bb%3D{held}"
        return {"Location": path, "Range": f"0-{max(0, held - 1)}"}

    def _upload(self, name: str, number: str) -> None:
        registry = self.registry
        if registry.body_cap is not None and self.left > registry.body_cap:
            self.answer(413, {"Content-Type": "text/html"}, b"<html>413</html>")
            return
        state = registry.uploads.get(number)
        query = parse_qs(urlsplit(self.path).query)
        if state is None or (
            registry.location == "query" and query.get("_state") != [f"a+b={len(state.data)}"]
        ):
            registry.uploads.pop(number, None)
            self.refuse(404, "BLOB_UPLOAD_UNKNOWN")
        elif self.command == "DELETE":
            del registry.uploads[number]
            self.answer(204)
        elif self.command == "GET":
            if registry.status_of_uploads:
                self.answer(204, self._place(name, number))
            else:
                self.refuse(400, "NAME_INVALID")
        elif self.command == "PATCH":
            self._patch(name, number, state)
        else:
            self._finish(name, number, state, query["digest"][0])

    def _patch(self, name: str, number: str, state: UploadState) -> None:
        registry = self.registry
        if registry.chunks == "no":
            self.refuse(405, "UNSUPPORTED")
            return
        begin, _, end = self.headers.get("Content-Range", "").partition("-")
        size = self.left
        right = begin == str(len(state.data)) and int(end) - int(begin) + 1 == size
        if not right or (registry.chunk_cap is not None and size > registry.chunk_cap):
            self.refuse(416, "RANGE_INVALID")
            return
        data = self._take(number, state)
        if registry.chunks == "stale" and state.data:
            self.answer(201, self._place(name, number))
            return
        state.data += data[: (size + 1) // 2] if registry.chunks == "partial" and size > 1 else data
        self.answer(202, self._place(name, number))

    def _take(self, number: str, state: UploadState) -> bytes:
        """The body; where it breaks off, what that does to the upload."""
        data = self.read_body()
        if self.left:
            self.lose(number, state, data)
        return data

    def lose(self, number: str, state: UploadState, data: bytes) -> None:
        """The connection broke in the body."""
        if self.registry.keeps_partial:
            state.data += data
        else:
            self.registry.uploads.pop(number, None)
        raise BrokenError

    def _finish(self, name: str, number: str, state: UploadState, digest: str) -> None:
        data = bytes(state.data) + self._take(number, state)
        algorithm, _, expected = digest.partition(":")
        self.registry.uploads.pop(number, None)
        if hashlib.new(algorithm, data).hexdigest() != expected:
            self.refuse(400, "DIGEST_INVALID")
            return
        with self.registry.lock:
            self.registry.blobs.setdefault(name, {})[digest] = data
        self.answer(201, {"Docker-Content-Digest": digest} if self.registry.digest_headers else {})


# Actions of faults


def status(code: int, headers: Headers | None = None, body: bytes = b"") -> Callable[[Handler], bool]:
    """Answer this."""
    return lambda handler: handler.answer(code, headers, body)


def reset_after(size: int) -> Callable[[Handler], bool]:
    """Break the connection after `size` bytes of the body; the knob says whether the registry keeps them."""

    def action(handler: Handler) -> bool:
        data = handler.read_body(size)
        number = urlsplit(handler.path).path.rpartition("/")[2]
        state = handler.registry.uploads.get(number)
        if state is not None:
            with suppress(BrokenError):
                handler.lose(number, state, data)
        handler.reset()
        return True

    return action


def lose_answer(handler: Handler) -> bool:
    """Do what is asked, and break instead of answering."""
    handler.silent = True
    return False


def cut_after(size: int) -> Callable[[Handler], bool]:
    """Answer a GET of a blob with its length, and break after `size` bytes."""

    def action(handler: Handler) -> bool:
        name, _, digest = urlsplit(handler.path).path.removeprefix("/v2/").partition("/blobs/")
        data = handler.registry.blobs[name][digest]
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(asked[1]) if asked and handler.registry.ranges else 0
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start : start + size])
        handler.wfile.flush()
        raise BrokenError

    return action

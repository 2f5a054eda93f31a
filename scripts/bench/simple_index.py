"""A package index of one directory of wheels, so that a benchmark compares work and not the line.

PEP 503 and PEP 691 pages with hashes and sizes, and PEP 658's metadata beside each wheel, as the large public
index has them. Connections stay open. Pages are made before anybody asks.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

_JSON = "application/vnd.pypi.simple.v1+json"
_HTML = "application/vnd.pypi.simple.v1+html"


class _Wheel(NamedTuple):
    filename: str
    size: int
    sha256: str
    metadata: bytes


class Index:
    """What is served, and how often somebody asked (`requests`)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.requests = 0
        self._lock = threading.Lock()
        self._projects: dict[str, list[_Wheel]] = {}
        self.metadata: dict[str, bytes] = {}
        for path in sorted(directory.glob("*.whl")):
            wheel = _read(path)
            name = re.sub(r"[-_.]+", "-", path.name.partition("-")[0]).lower()
            self._projects.setdefault(name, []).append(wheel)
            self.metadata[f"{wheel.filename}.metadata"] = wheel.metadata
        self.pages = {
            (name, kind): page(name, wheels)
            for name, wheels in self._projects.items()
            for kind, page in ((_JSON, _json_page), (_HTML, _html_page))
        }

    @property
    def size(self) -> int:
        """Bytes of all wheels."""
        return sum(wheel.size for wheels in self._projects.values() for wheel in wheels)

    def count(self) -> None:
        """One more request."""
        with self._lock:
            self.requests += 1


def _read(path: Path) -> _Wheel:
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        metadata = archive.read(names[0])
    return _Wheel(path.name, len(data), hashlib.sha256(data).hexdigest(), metadata)


def _json_page(name: str, wheels: list[_Wheel]) -> bytes:
    files = [
        {
            "filename": wheel.filename,
            "url": f"/files/{wheel.filename}",
            "hashes": {"sha256": wheel.sha256},
            "size": wheel.size,
            "core-metadata": {"sha256": hashlib.sha256(wheel.metadata).hexdigest()},
        }
        for wheel in wheels
    ]
    versions = sorted({wheel.filename.split("-")[1] for wheel in wheels})
    return json.dumps(
        {"meta": {"api-version": "1.1"}, "name": name, "versions": versions, "files": files}
    ).encode()


def _html_page(name: str, wheels: list[_Wheel]) -> bytes:
    links = [
        f'<a href="/files/{html.escape(wheel.filename)}#sha256={wheel.sha256}"'
        f' data-core-metadata="sha256={hashlib.sha256(wheel.metadata).hexdigest()}">'
        f"{html.escape(wheel.filename)}</a><br>\n"
        for wheel in wheels
    ]
    head = '<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.1">'
    return f"{head}<title>{name}</title></head><body>\n{''.join(links)}</body></html>\n".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave in two pieces; without this each file would wait for the peer's late answer.
    disable_nagle_algorithm = True
    index: Index

    def do_GET(self) -> None:
        """A page, a wheel, or its metadata."""
        self.index.count()
        parts = self.path.strip("/").split("/")
        if len(parts) == 2 and parts[0] == "simple":
            kind = _JSON if _JSON in self.headers.get("Accept", "") else _HTML
            self._answer(self.index.pages.get((parts[1], kind)), kind)
        elif len(parts) == 2 and parts[0] == "files" and parts[1] in self.index.metadata:
            self._answer(self.index.metadata[parts[1]], "application/octet-stream")
        elif len(parts) == 2 and parts[0] == "files" and f"{parts[1]}.metadata" in self.index.metadata:
            self._send_file(self.index.directory / parts[1])
        else:
            self._answer(None, "")

    def end_headers(self) -> None:
        """As the large index says it: pages are good for ten minutes, files for ever."""
        age = 600 if self.path.startswith("/simple/") else 365000000
        self.send_header("Cache-Control", f"max-age={age}, public")
        super().end_headers()

    def _answer(self, body: bytes | None, kind: str) -> None:
        self.send_response(HTTPStatus.OK if body is not None else HTTPStatus.NOT_FOUND)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def _send_file(self, path: Path) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        with path.open("rb") as stream:
            shutil.copyfileobj(stream, self.wfile, 1 << 18)

    def log_message(self, *_: object) -> None:
        """Nothing is shown while times are taken."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that closes its connection early is no matter."""


@contextmanager
def serve(directory: Path) -> Iterator[tuple[Index, str]]:
    """The index of a directory on a free port of this machine, and the address of its simple pages."""
    index = Index(directory)
    handler = type("Handler", (_Handler,), {"index": index})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield index, f"http://127.0.0.1:{server.server_address[1]}/simple/"
        finally:
            server.shutdown()
            thread.join()


def download(
    wheels: Path, pip: Sequence[str], requirements: str, platforms: Iterable[str], python_version: str
) -> None:
    """Bring the wheels for all platforms into a directory, from the index that pip is set to; once."""
    wheels.mkdir(parents=True, exist_ok=True)
    wanted = f"# Python {python_version}\n{requirements}"
    asked, complete = wheels / "asked.txt", wheels / "requirements.txt"
    if complete.is_file() and complete.read_text() == wanted:
        return
    asked.write_text(wanted)
    for tag in platforms:
        words = [*pip, "download", "--quiet", "--only-binary", ":all:", "--platform", tag]
        words += ["--python-version", python_version, "--dest", str(wheels), "--requirement", str(asked)]
        subprocess.run(words, check=True)
    asked.rename(complete)

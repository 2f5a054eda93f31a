"""Real programs of other people, unmodified: downloaded by the go command and built as they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.rig.builder import Hostbuild
from tests.rig.go_modules import copy_module
from tests.rig.layout import Layout
from tests.rig.run_image import run_to_end

PLATFORMS = {"linux/amd64", "linux/arm64", "linux/arm/v7"}


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: the test looks at the client."""


@contextmanager
def web_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hello)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def check_program(layout: Layout, name: str) -> None:
    """A plain program: its binary and what it needs of a system, nothing of its source."""
    for image in layout.images.values():
        config = image.config["config"]
        assert config["Entrypoint"] == [f"/app/{name}"]
        assert not config.get("Cmd")
        files = {path for path, member in image.files.items() if member.kind != "dir"}
        assert files == {
            f"app/{name}",
            "etc/pki/tls/certs/ca-certificates.crt",
            "etc/ssl/certs/ca-certificates.crt",
        }


def test_hey(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = copy_module("github.com/rakyll/hey@v0.1.4", tmp_path / "hey")
    layout = hostbuild.build(root)
    assert set(layout.images) == PLATFORMS
    check_program(layout, "hey")
    for platform, image in layout.images.items():
        with web_server() as address:
            code, output = run_to_end(image, tmp_path / "run" / platform, "-n", "3", "-c", "1", address)
        assert code == 0, output
        assert "[200]\t3 responses" in output


def test_age_keygen(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = copy_module("filippo.io/age@v1.2.1", tmp_path / "age")
    layout = hostbuild.build(root, "--package", "./cmd/age-keygen", "-t", "registry.example/age-keygen:v1")
    assert set(layout.images) == PLATFORMS
    assert layout.reference == "registry.example/age-keygen:v1"
    check_program(layout, "age-keygen")
    for platform, image in layout.images.items():
        code, output = run_to_end(image, tmp_path / "run" / platform)
        assert code == 0, output
        assert "AGE-SECRET-KEY-1" in output


def test_crane(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = copy_module("github.com/google/go-containerregistry@v0.20.6", tmp_path / "crane")
    version = "-X github.com/google/go-containerregistry/cmd/crane/cmd.Version=v0.20.6-test"
    platforms = ("linux/amd64", "linux/arm64")  # the largest of the three: two platforms are enough
    layout = hostbuild.build(
        root, "--package", "./cmd/crane", "--platform", ",".join(platforms), "--ldflags", version
    )
    assert tuple(layout.images) == platforms
    check_program(layout, "crane")
    for platform, image in layout.images.items():
        code, output = run_to_end(image, tmp_path / "run" / platform, "version")
        assert (code, output.strip()) == (0, "v0.20.6-test")

"""A package index that asks who we are: the lock, the errors and the key say nothing of it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.inputs import find_inputs
from hostbuild.languages.python.locking import lock, lock_key
from hostbuild.languages.python.selection import select
from hostbuild.languages.python.session import credentials_for
from hostbuild.wheels.credentials import Credentials
from tests.languages.python.made import THREE, environment, sha256, wheel, write

PASSWORD = "pass-w0rd"
HEADER = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.headers.get("Authorization") == HEADER:
            super().do_GET() if self.command == "GET" else super().do_HEAD()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The host and port of the index, and the wheel in it."""
    root = tmp_path_factory.mktemp("index")
    made = wheel(root / "simple" / "secretpkg", "secretpkg", "1.0")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", made
    server.shutdown()
    server.server_close()
    thread.join()


WAYS = {
    "pip's variable": ({"PIP_INDEX_URL": "http://me:{pw}@{host}/simple"}, {}),
    "uv's variable": ({"UV_DEFAULT_INDEX": "http://me:{pw}@{host}/simple"}, {}),
    "a file": ({"PW": "{pw}"}, {"requirements.txt": "-i http://me:${{PW}}@{host}/simple\nsecretpkg\n"}),
    "a direct URL": (
        {"PW": "{pw}"},
        {
            "requirements.txt": "secretpkg @ http://me:${{PW}}@{host}/simple/secretpkg/secretpkg-1.0-py3-none-any.whl"
        },
    ),
    "uv's named index": (
        {"UV_INDEX_CORP_USERNAME": "me", "UV_INDEX_CORP_PASSWORD": "{pw}"},
        {
            "pyproject.toml": '[project]\nname = "a"\nversion = "1"\ndependencies = ["secretpkg"]\n'
            '[[tool.uv.index]]\nname = "corp"\nurl = "http://{host}/simple"\ndefault = true\n'
        },
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_credentials_are_used_and_kept_nowhere(
    tmp_path: Path, uv_home: Path, work: Path, index: tuple[str, Path], way: str
) -> None:
    host, made = index
    variables, files = WAYS[way]
    files = files or {"requirements.txt": "secretpkg\n"}
    write(tmp_path, {name: text.format(host=host) for name, text in files.items()})
    tools = environment(uv_home, **{k: v.format(host=host, pw=PASSWORD) for k, v in variables.items()})
    inputs = find_inputs(str(tmp_path), environment=tools)
    found = lock(inputs, THREE, environment=tools, work=str(work))
    (chosen,) = select(found, THREE, root=inputs.root).targets[2].wheels
    assert chosen.sha256 == sha256(made)
    assert chosen.url == f"http://{host}/simple/secretpkg/{made.name}"
    assert PASSWORD not in json.dumps([found.to_json(), lock_key(inputs, THREE, tools)])
    assert PASSWORD not in repr((inputs, found))
    assert ("were left out" in "".join(found.warnings)) is (way == "a direct URL")
    # What fetches the wheel is told who we are, apart from the lock.
    _, header = Credentials(credentials_for(inputs, tools)).apply(chosen.url)
    assert header == {"Authorization": HEADER}


def test_a_wrong_password_is_told_without_it(
    tmp_path: Path, uv_home: Path, work: Path, index: tuple[str, Path]
) -> None:
    write(tmp_path, {"requirements.txt": "secretpkg\n"})
    tools = environment(uv_home, UV_DEFAULT_INDEX=f"http://me:wr0ng-one@{index[0]}/simple")
    inputs = find_inputs(str(tmp_path), environment=tools)
    with pytest.raises(DependenciesError) as caught:
        lock(inputs, THREE, environment=tools, work=str(work))
    error = caught.value
    assert "wr0ng-one" not in f"{error} {error.fix} {error.detail}"
    assert "~/.netrc" in error.fix

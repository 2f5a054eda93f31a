"""The program around a function, with knative's func-python as it is published."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from hostbuild.errors import SettingsError
from hostbuild.languages.python.functions import Function, find_function
from hostbuild.languages.python.scaffold import FUNC_PYTHON, main_source
from tests.languages.python.made import write

EXAMPLE = Path(__file__).parents[3] / "examples/py-function"

HANDLE = """
async def {name}({self}scope, receive, send):
    body = {body}
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": body.encode()}})
"""

HOOKS = """
import sys

class Greeter:
    def start(self, cfg):
        self.word = cfg["WORD"]

    def stop(self):
        print("stopped", self.word)

    def alive(self):
        return True, "alive and " + self.word

    def ready(self):
        return False, "not ready"

    async def handle(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.word.encode()})
"""

EVENTS = """
from cloudevents.core.v1.event import CloudEvent

class Events:
    async def handle(self, scope, receive, send):
        event = scope["event"]
        answer = {"id": "2", "source": "/test", "type": event.get_type() + ".answer", "specversion": "1.0"}
        await send(CloudEvent(attributes=answer, data=event.get_data()))
"""


@pytest.fixture(scope="session")
def middleware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """func-python and what it depends on, installed by pip."""
    folder = tmp_path_factory.mktemp("middleware")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), FUNC_PYTHON]
    for _ in range(3):  # the network is not what is tested here
        done = subprocess.run(
            [*command, "markupsafe"], capture_output=True, text=True, check=False, cwd=folder
        )
        if done.returncode == 0:
            return folder
    raise AssertionError(done.stdout + done.stderr)


@contextmanager
def served(
    root: Path, work: Path, middleware: Path, *, invoke: str = "http", **more: str
) -> Iterator[HTTPConnection]:
    """A function that is served as in an image; standard output goes to work/out, the log to work/log."""
    main = work / "service" / "main.py"
    main.parent.mkdir()
    main.write_bytes(main_source(find_function(str(root)), invoke, source=str(root)))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{middleware}:{root}",
        "LISTEN_ADDRESS": "127.0.0.1:0",
        **more,
    }
    with (work / "out").open("w") as out, (work / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(main)], env=environment, stdout=out, stderr=log, cwd=work
        )
    try:
        yield HTTPConnection("127.0.0.1", port_of(process, work / "log"), timeout=20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def port_of(process: subprocess.Popen[bytes], log: Path) -> int:
    for _ in range(2000):
        text = log.read_text()
        if match := re.search(r"Running on http://127\.0\.0\.1:(\d+)", text):
            return int(match[1])
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise AssertionError(log.read_text())


def ask(
    connection: HTTPConnection,
    path: str = "/",
    *,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    connection.request("POST" if body is not None else "GET", path, body=body, headers=dict(headers or {}))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_example_answers(tmp_path: Path, middleware: Path) -> None:
    with served(EXAMPLE, tmp_path, middleware, GREETING="Good day") as connection:
        assert ask(connection, "/?name=%3CAda%3E") == (200, "<p>Good day, &lt;Ada&gt;!</p>\n")
        assert ask(connection, "/health/liveness") == (200, "alive")
        assert ask(connection, "/health/readiness") == (200, "ready")


@pytest.mark.parametrize(
    "files",
    [
        {"func.py": HOOKS + "\ndef new():\n    return Greeter()\n"},
        {"func.py": HOOKS + "\ndef make():\n    return Greeter()\n\nnew = make\n"},
        {"func.py": HOOKS + "\nnew = Greeter\n"},
        {"function/__init__.py": "from .a import Greeter as new", "function/a.py": HOOKS},
    ],
    ids=["new", "another name", "a class", "imported"],
)
def test_an_instance_with_all_its_hooks(files: dict[str, str], tmp_path: Path, middleware: Path) -> None:
    root = write(tmp_path / "function", files)
    with served(root, tmp_path, middleware, WORD="w") as connection:
        assert ask(connection) == (200, "w")
        assert ask(connection, "/health/liveness") == (200, "alive and w")
        assert ask(connection, "/health/readiness") == (500, "not ready")
    assert (tmp_path / "out").read_text() == "stopped w\n"


@pytest.mark.parametrize(
    "rest", ["", "\nhandle = other\n", "\nclass App:\n    __call__ = staticmethod(other)\n\nhandle = App()\n"]
)
def test_a_handler(rest: str, tmp_path: Path, middleware: Path) -> None:
    text = HANDLE.format(name="other" if rest else "handle", self="", body="scope['path']")
    root = write(tmp_path / "function", {"function/__init__.py": text + rest})
    with served(root, tmp_path, middleware) as connection:
        assert ask(connection, "/a/b") == (200, "/a/b")
        assert ask(connection, "/health/liveness") == (200, "OK")


@pytest.mark.parametrize("folder", [".", "src"])
def test_what_a_function_imports(folder: str, tmp_path: Path, middleware: Path) -> None:
    body = "main.NAME + ' ' + dependency.NAME + ' ' + str(sys.argv[1:])"
    text = "import main, dependency, sys" + HANDLE.format(name="handle", self="", body=body)
    files = {f"{folder}/func.py": text, f"{folder}/main.py": "NAME = 'its own main'\n"}
    root = write(tmp_path / "function", files)
    write(root, {f"{folder}/dependency.py": "NAME = 'in the source'\n"})
    write(tmp_path / "first", {"dependency.py": "NAME = 'of the user'\n"})
    path = f"{tmp_path / 'first'}:{middleware}:{root}"
    with served(root, tmp_path, middleware, PYTHONPATH=path) as connection:
        assert ask(connection) == (200, "its own main of the user []")


@pytest.mark.parametrize("path", ["{middleware}", "{middleware}:{root}", "{root}:{middleware}"])
def test_the_source_is_found_whatever_pythonpath_is(path: str, tmp_path: Path, middleware: Path) -> None:
    root = write(tmp_path / "function", {"src/func.py": HANDLE.format(name="handle", self="", body="'a'")})
    path = path.format(middleware=middleware, root=root)
    with served(root, tmp_path, middleware, PYTHONPATH=path) as connection:
        assert ask(connection) == (200, "a")


@pytest.mark.parametrize(
    "text",
    [
        EVENTS + "\ndef new():\n    return Events()\n",
        EVENTS
        + "\nasync def handle(scope, receive, send):\n    await Events().handle(scope, receive, send)\n",
    ],
    ids=["new", "handle"],
)
def test_events(text: str, tmp_path: Path, middleware: Path) -> None:
    root = write(tmp_path / "function", {"func.py": text})
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/here",
        "ce-type": "a.b",
        "content-type": "application/json",
    }
    with served(root, tmp_path, middleware, invoke="cloudevent") as connection:
        status, body = ask(connection, body='{"n": 7}', headers=headers)
        assert status == 200
        answer = json.loads(body)
        assert (answer["type"], answer["data"]) == ("a.b.answer", {"n": 7})
        assert ask(connection, body="no event")[0] == 400


def test_an_error_in_the_source_is_shown_as_it_is(tmp_path: Path, middleware: Path) -> None:
    root = write(tmp_path / "function", {"func.py": "import not_there\nnew = 1\n"})
    with (
        pytest.raises(AssertionError, match="No module named 'not_there'"),
        served(root, tmp_path, middleware),
    ):
        pass


def test_the_same_function_gives_the_same_bytes() -> None:
    function = Function("function", "new", "function/__init__.py")
    text = main_source(function, "")
    assert text == main_source(function, "http") == main_source(Function("function", "new", ""), "http")
    assert b"SOURCE, FOLDER = '/func', '/func'\n" in text
    others = {
        main_source(function, "cloudevent"),
        main_source(function._replace(attribute="handle"), "http"),
        main_source(function._replace(module="func"), "http"),
        main_source(function._replace(folder="src"), "http"),
    }
    assert len(others | {text}) == 5
    for each in others | {text}:
        compile(each, "main.py", "exec")


def test_another_word() -> None:
    with pytest.raises(SettingsError, match="is not known"):
        main_source(Function("func", "new", "func.py"), "events")

"""Python functions and the examples, as images of three platforms that answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.rig.layout import Image
from tests.rig.oci_tools import skopeo_copy, umoci_unpack
from tests.rig.python_base import PLATFORMS, python_base
from tests.rig.python_image import answering, built, image_over, inventory, run_directory, unpacked
from tests.rig.python_judge import PipJudge, installed_in, pip_directory
from tests.rig.python_sets import MACHINES

EXAMPLES = Path(__file__).parents[2] / "examples"
SKIPPED = {".func", "__pycache__", ".pytest_cache"}
INSTANCED, APPLICATION = "py-function", "py-webapp"

EVENTS = {
    "func.yaml": """\
specVersion: 0.36.0
name: events
runtime: python
invoke: cloudevent
registry: registry.example/team
run:
  envs:
    - name: PYTHONPATH
      value: /func/first
""",
    "function/__init__.py": "from .func import new\n",
    "function/func.py": """\
import platform

import packaging
from cloudevents.core.v1.event import CloudEvent

def new():
    return Events()

class Events:
    async def handle(self, scope, receive, send):
        asked = scope["event"]
        attributes = {"id": "2", "source": "/answers", "type": "answer", "specversion": "1.0"}
        data = {"machine": platform.machine(), "asked": asked.get_type(), "packaging": packaging.WHOSE}
        await send(CloudEvent(attributes=attributes, data=data))
""",
    "pyproject.toml": """\
[project]
name = "function"
version = "0.1.0"
requires-python = ">=3.9"
dependencies = []
""",
    "first/packaging/__init__.py": 'WHOSE = "the user\'s"\n',
    "first/packaging/version.py": "def parse(text):\n    return tuple(map(int, text.split('.')))\n",
    "tests/test_func.py": "",
    ".venv/pyvenv.cfg": "",
}

HANDLE = {
    "func.yaml": "specVersion: 0.36.0\nname: plain\nruntime: python\nregistry: registry.example/team\n",
    "func.py": """\
import platform

async def handle(scope, receive, send):
    body = f"{scope['path']} on {platform.machine()}".encode()
    await send({"type": "http.response.start", "status": 201, "headers": [[b"x-kind", b"plain"]]})
    await send({"type": "http.response.body", "body": body})
""",
}


def example(name: str) -> dict[str, str | bytes]:
    """The files of an example, as they are."""
    root = EXAMPLES / name
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in paths
        if not SKIPPED & set(path.relative_to(root).parts)
    }


SOURCES: dict[str, Mapping[str, str | bytes]] = {
    INSTANCED: example(INSTANCED),
    APPLICATION: example(APPLICATION),
    "events": EVENTS,
    "handle": HANDLE,
}
each_platform = pytest.mark.parametrize("platform", PLATFORMS)


def layout_of(factory: pytest.TempPathFactory, name: str) -> Path:
    return built(
        factory, name, SOURCES[name], "--base", python_base().place, "-t", f"registry.example/{name}"
    )


def image_of(factory: pytest.TempPathFactory, name: str, platform: str) -> Image:
    return image_over(python_base(), layout_of(factory, name), platform)


def shipped(image: Image) -> set[str]:
    return {
        path for path, member in image.files.items() if path.startswith("func/") and member.kind == "file"
    }


@each_platform
def test_the_example_of_a_function(
    platform: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = image_of(tmp_path_factory, INSTANCED, platform)
    config = image.config["config"]
    assert not config.get("Entrypoint")
    assert config["Cmd"] == ["/usr/bin/python3", "/opt/python/service/main.py"]
    assert config["User"] == "1000:1000"
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert image.env["LISTEN_ADDRESS"] == "[::]:8080"
    assert image.env["GREETING"] == "Hello"
    assert {"func/function/func.py", "func/func.yaml"} <= shipped(image)
    layout = layout_of(tmp_path_factory, INSTANCED)
    with unpacked(python_base(), layout, image, tmp_path) as root:
        seen = inventory(
            image, root, "function", "func_python.http", "markupsafe._speedups", pip=pip_directory()
        )
        assert seen == dict(installed_in(image).versions)
        with answering(image, root, tmp_path / "log", {"GREETING": "Welcome"}) as service:
            assert service.request(path="/?name=%3CAda").body == "<p>Welcome, &lt;Ada!</p>\n"
            for path, body in (("/health/liveness", "alive"), ("/health/readiness", "ready")):
                answer = service.request(path=path)
                assert (answer.status, answer.body) == (200, body)
    assert "greets with 'Welcome'" in (tmp_path / "log").read_text()


@each_platform
def test_a_functions_dependencies_are_those_that_pip_chooses(
    platform: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = image_of(tmp_path_factory, INSTANCED, platform)
    judge = PipJudge.made(run_directory(tmp_path_factory), platform)
    ours, theirs = installed_in(image), judge.install("func", ["func-python", "markupsafe>=2.1"])
    assert ours.versions == theirs.versions
    assert ours.files == theirs.files


@each_platform
def test_a_cloudevent_is_answered_and_the_users_path_comes_first(
    platform: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = image_of(tmp_path_factory, "events", platform)
    assert image.env["PYTHONPATH"].split(":")[0] == "/func/first"
    assert "/opt/python/site-packages" in image.env["PYTHONPATH"].split(":")[1:]
    assert {path for path in shipped(image) if "/.venv/" in path or "__pycache__" in path} == set()
    event = {"ce-id": "1", "ce-source": "/test", "ce-type": "question", "ce-specversion": "1.0"}
    with (
        unpacked(python_base(), layout_of(tmp_path_factory, "events"), image, tmp_path) as root,
        answering(image, root, tmp_path / "log") as service,
    ):
        headers = {**event, "content-type": "application/json"}
        answer = service.request("POST", "/", b"{}", headers)
        refused = service.request("POST", "/", b"{}")
    assert answer.status == 200, (tmp_path / "log").read_text()
    data = json.loads(answer.body).get("data") or json.loads(answer.body)
    assert data == {"machine": MACHINES[platform], "asked": "question", "packaging": "the user's"}
    assert refused.status == 400


@each_platform
def test_a_plain_handle_is_served(
    platform: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = image_of(tmp_path_factory, "handle", platform)
    with (
        unpacked(python_base(), layout_of(tmp_path_factory, "handle"), image, tmp_path) as root,
        answering(image, root, tmp_path / "log") as service,
    ):
        answer = service.request(path="/a/b?c")
        alive = service.request(path="/health/liveness")
    assert (answer.status, answer.body) == (201, f"/a/b on {MACHINES[platform]}")
    assert answer.headers["x-kind"] == "plain"
    assert alive.status == 200


@each_platform
def test_the_example_of_an_application(
    platform: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = image_of(tmp_path_factory, APPLICATION, platform)
    config = image.config["config"]
    assert config["Entrypoint"] == ["/opt/python/bin/py-webapp"]
    assert not config.get("Cmd")
    assert image.env["PORT"] == "8080"
    assert image.env["PATH"].startswith("/opt/python/bin:")
    layout = layout_of(tmp_path_factory, APPLICATION)
    with unpacked(python_base(), layout, image, tmp_path) as root:
        seen = inventory(image, root, "py_webapp.app", pip=pip_directory())
        assert seen == dict(installed_in(image).versions)
        with answering(image, root, tmp_path / "log") as service:
            page, style = service.request(), service.request(path="/static/style.css")
    assert f"Python 3.11.2 on {MACHINES[platform]}" in page.body
    assert style.status == 200
    assert "font-family" in style.body


def test_layers_are_shared_between_platforms_and_images(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is pure is one blob for all; another image with the same function scaffold has it, too."""
    layers = {}
    for platform in PLATFORMS:
        image = image_of(tmp_path_factory, INSTANCED, platform)
        digests = [layer["digest"] for layer in image.manifest["layers"][-len(image.layers) :]]
        layers[platform] = dict(zip(digests, image.layers, strict=True))
    common = set.intersection(*(set(each) for each in layers.values()))
    for platform, mine in layers.items():
        for digest, members in mine.items():
            native = [member.path for member in members if re.search(r"\.so(\.|$)", member.path)]
            assert not (native and digest in common), f"{platform}: {native} are in a shared layer"
    pure = {member.path for digest in common for member in layers[PLATFORMS[0]][digest]}
    assert "opt/python/site-packages/func_python/http.py" in pure
    assert "func/function/func.py" in pure
    other = image_of(tmp_path_factory, "handle", PLATFORMS[0])
    assert {layer["digest"] for layer in other.manifest["layers"]} & common


def test_umoci_unpacks_what_tar_unpacked(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    layout = layout_of(tmp_path_factory, INSTANCED)
    image = image_of(tmp_path_factory, INSTANCED, "linux/arm64")
    single = skopeo_copy(layout, f"registry.example/{INSTANCED}:latest", "linux/arm64", tmp_path / "single")
    theirs = umoci_unpack(single, tmp_path / "bundle")
    for path, member in image.files.items():
        if member.kind == "file":
            assert (theirs / path).read_bytes() == member.data, path
            assert (theirs / path).stat().st_mode & 0o777 == member.mode, path

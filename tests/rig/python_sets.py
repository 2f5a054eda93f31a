"""Python projects to build and to judge, one of each kind that is installed in a way of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tests.rig.python_base import PLATFORMS

#: Answers each request with what `report` gives, by nothing but the standard library.
_SERVER = """
import http.server
import json
import os
import socket


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(report()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


Server(("::", int(os.environ["PORT"])), Handler).serve_forever()
"""


class Project(NamedTuple):
    """A source, and what its image answers to GET / ; `modules` are imported beside what is found.

    `answer` is JSON text in which `MACHINE` stands for the machine's name, and `ANSWER` for the platform's
    own part. pip finds wheels for `judged`, by default for all `platforms`. What `inert` names is there and
    refuses to be imported, as its authors want it.
    """

    requirements: tuple[str, ...]
    files: Mapping[str, str]
    answer: str
    platforms: tuple[str, ...] = PLATFORMS
    modules: tuple[str, ...] = ()
    judged: tuple[str, ...] = PLATFORMS
    inert: tuple[str, ...] = ()


def served(
    requirements: tuple[str, ...],
    code: str,
    answer: str,
    *,
    platforms: tuple[str, ...] = PLATFORMS,
    modules: tuple[str, ...] = (),
    judged: tuple[str, ...] = PLATFORMS,
) -> Project:
    """A project whose `report` function, in `code`, makes the answer."""
    files = {
        "requirements.txt": "".join(f"{each}\n" for each in requirements),
        "Procfile": "web: python3 server.py\n",
        "server.py": code + _SERVER,
    }
    return Project(requirements, files, answer, platforms, modules, judged)


MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64", "linux/arm/v7": "armv7l"}

_FLASK = """
import os
import platform

import flask
import markupsafe._speedups

app = flask.Flask(__name__)


@app.get("/")
def index():
    text = flask.render_template_string("{{ '<' }}")
    return {"machine": platform.machine(), "text": text}


def main():
    app.run(host="::", port=int(os.environ["PORT"]))


if __name__ == "__main__":
    main()
"""

_FASTAPI = """
import platform

import fastapi
import pydantic


class Item(pydantic.BaseModel):
    machine: str
    number: pydantic.PositiveInt = 3


app = fastapi.FastAPI()


@app.get("/")
async def index() -> Item:
    return Item(machine=platform.machine())
"""

_NUMPY = """
import platform

import numpy


def report():
    matrix = numpy.array([[2.0, 1.0], [1.0, 3.0]])
    return [platform.machine(), round(float(numpy.linalg.det(matrix)), 6)]
"""

_GRPC = """
import concurrent.futures
import platform

import grpc


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request[::-1])


server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), handlers=[Echo()])
port = server.add_insecure_port("127.0.0.1:0")
server.start()


def report():
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/test.Echo/Call")
        return [platform.machine(), call(b"abc", timeout=20).decode()]
"""

_MARKERS = """
import importlib.metadata
import platform

NAMES = ["colorama", "iniconfig", "pluggy", "six", "tomli", "toolz"]


def report():
    seen = {each.metadata["Name"] for each in importlib.metadata.distributions()}
    return [platform.machine(), sorted(seen & set(NAMES))]
"""

_NAMESPACES = """
import importlib.metadata
import platform

import jaraco
import jaraco.context
import jaraco.functools


def report():
    is_namespace = getattr(jaraco, "__file__", None) is None
    return [platform.machine(), is_namespace, len(list(jaraco.__path__))]
"""

_DATA = """
import os
import platform
import subprocess
import sys


def report():
    prefix = "/opt/python"
    words = subprocess.run(["pygmentize", "-V"], capture_output=True, text=True, check=True).stdout
    names = ["share/jupyter", "include", "bin/bottle.py"]
    return [platform.machine(), words.split()[0], [os.path.exists(f"{prefix}/{name}") for name in names]]
"""

_PTH = """
import platform
import sys

import distutils


def report():
    return [platform.machine(), "_distutils_hack" in sys.modules, distutils.__file__.split("/")[-3]]
"""

#: There is no wheel for armv7l: hostbuild makes a pure one of the source, as pyyaml does without its library.
_SOURCE = """
import platform

import yaml


def report():
    return [platform.machine(), yaml.__with_libyaml__, yaml.safe_load("a: [1]")]
"""

MARKERS = (
    "colorama; platform_machine == 'armv7l'",
    "iniconfig; platform_machine == 'aarch64' and sys_platform == 'linux'",
    "pluggy; platform_machine != 'armv7l'",
    "six; python_full_version >= '3.11.2' and python_full_version < '3.11.3'",
    "toolz; sys_platform == 'win32' or platform_python_implementation == 'PyPy'",
)

#: Each platform's part of an answer.
ANSWERS = {
    "markers": {
        "linux/amd64": '["pluggy", "six"]',
        "linux/arm64": '["iniconfig", "pluggy", "six"]',
        "linux/arm/v7": '["colorama", "six"]',
    },
    "source": {"linux/amd64": "true", "linux/arm64": "true", "linux/arm/v7": "false"},
}

PROJECTS = {
    "flask": Project(
        ("flask",),
        {
            "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\ndependencies = ["flask"]\n',
            "Procfile": "web: python3 shop.py\n",
            "shop.py": _FLASK,
        },
        '{"machine": "MACHINE", "text": "&lt;"}',
        modules=("markupsafe._speedups",),
    ),
    "fastapi": Project(
        ("fastapi", "pydantic", "uvicorn"),
        {
            "requirements.txt": "fastapi\npydantic\nuvicorn\n",
            "Procfile": "web: uvicorn main:app --host '' --port $PORT\n",
            "main.py": _FASTAPI,
        },
        '{"machine": "MACHINE", "number": 3}',
        modules=("pydantic_core._pydantic_core",),
    ),
    "numpy": served(("numpy",), _NUMPY, '["MACHINE", 5.0]', platforms=PLATFORMS[:2]),
    "grpcio": served(("grpcio",), _GRPC, '["MACHINE", "cba"]'),
    "namespace": served(("jaraco.functools", "jaraco.context"), _NAMESPACES, '["MACHINE", true, 1]'),
    "data": served(
        ("bottle", "jupyterlab-widgets", "pygments", "pybind11-global"),
        _DATA,
        '["MACHINE", "Pygments", [true, true, true]]',
    ),
    "markers": served(MARKERS, _MARKERS, '["MACHINE", ANSWER]'),
    "source": served(("pyyaml",), _SOURCE, '["MACHINE", ANSWER, {"a": [1]}]', judged=PLATFORMS[:2])._replace(
        inert=("_yaml",)
    ),
    "pth": served(("setuptools",), _PTH, '["MACHINE", true, "setuptools"]'),
}

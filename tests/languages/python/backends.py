"""Projects with a small build backend of their own, which needs nothing of any index."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from tests.languages.python.made import write

_BACKEND = """
import base64, hashlib, os, subprocess, sys, zipfile
NAME, VERSION, TAG, PURE = {name!r}, {version!r}, {tag!r}, "true"
FILES = {{}}

def collect():
    for folder, _, names in os.walk("pkg"):
        for each in names:
            path = os.path.join(folder, each)
            with open(path, "rb") as stream:
                FILES[path] = stream.read()

def step():
    pass

{step}

def build_wheel(directory, config_settings=None, metadata_directory=None):
    collect()
    step()
    info = f"{{NAME}}-{{VERSION}}.dist-info"
    FILES[f"{{info}}/METADATA"] = f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n".encode()
    FILES[f"{{info}}/WHEEL"] = f"Wheel-Version: 1.0\\nRoot-Is-Purelib: {{PURE}}\\nTag: {{TAG}}\\n".encode()
    lines = [f"{{info}}/RECORD,,"]
    for path, data in FILES.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        lines.append(f"{{path}},sha256={{digest}},{{len(data)}}")
    FILES[f"{{info}}/RECORD"] = "\\n".join(lines).encode()
    name = f"{{NAME}}-{{VERSION}}-{{TAG}}.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        for path, data in FILES.items():
            archive.writestr(path, data)
    return name
"""


def backend(step: str = "", *, name: str = "demo", version: str = "1.0", tag: str = "py3-none-any") -> str:
    """The backend's text: what lies in pkg/ becomes the wheel; `step` may define `step()`, or say more."""
    return _BACKEND.format(name=name, version=version, tag=tag, step=textwrap.dedent(step))


def project(
    folder: Path,
    step: str = "",
    *,
    files: Mapping[str, str] | None = None,
    requires_python: str = "",
    tag: str = "py3-none-any",
) -> Path:
    """A project "demo" with one module."""
    more = f'requires-python = "{requires_python}"\n' if requires_python else ""
    text = f'[project]\nname = "demo"\nversion = "1.0"\n{more}'
    text += '[build-system]\nrequires = []\nbuild-backend = "tiny"\nbackend-path = ["."]\n'
    own = {"pyproject.toml": text, "tiny.py": backend(step, tag=tag), "pkg/__init__.py": "X = 1\n"}
    return write(folder, {**own, **(files or {})})

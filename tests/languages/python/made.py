"""Small wheels, source archives and projects for tests, and targets."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hostbuild.oci.platform import Platform
from hostbuild.wheels.target import Target


def target(
    platform: str = "linux/amd64", python: str = "3.13.5", libc: str = "glibc", libc_version: str = "2.36"
) -> Target:
    minor = ".".join(python.split(".")[:2])
    return Target(Platform.parse(platform), python, libc, libc_version, f"/usr/local/bin/python{minor}")


THREE = tuple(target(each) for each in ("linux/amd64", "linux/arm64", "linux/arm/v7"))


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def environment(home: Path, **more: str) -> dict[str, str]:
    """What uv is started with: this machine's own, without what another's settings would change."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    return {**kept, "UV_CACHE_DIR": str(home / "uv-cache"), **more}


def wheel(
    folder: Path, name: str, version: str, tag: str = "py3-none-any", requires: Sequence[str] = ()
) -> Path:
    """A wheel that uv can read, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {each}\n" for each in requires)
    pure = "true" if tag.endswith("any") else "false"
    tags = "".join(f"Tag: {each}\n" for each in tag.split(" "))
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: {pure}\n{tags}",
    }
    record = "".join(f"{path},sha256={_hash(text)},{len(text)}\n" for path, text in files.items())
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in (*files.items(), (f"{info}/RECORD", f"{record}{info}/RECORD,,\n")):
            archive.writestr(zipfile.ZipInfo(member), text)
    return path


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def sdist(folder: Path, name: str, version: str, *, setup: str = "", metadata: bool = True) -> Path:
    """A source archive; `setup` is its setup.py; without `metadata` only a build tells what it depends on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}.tar.gz"
    files = {"setup.py": setup or "from setuptools import setup\nsetup()\n"}
    if metadata:
        files["PKG-INFO"] = f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n"
        files["pyproject.toml"] = f"[project]\nname = {name!r}\nversion = {version!r}\n"
    with tarfile.open(path, "w:gz") as archive:
        for member, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{member}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

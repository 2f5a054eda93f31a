"""What the go command says about a package: the judge of our own reading."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from hostbuild.oci.platform import Platform

KINDS = ("GoFiles", "SFiles", "HFiles", "SysoFiles", "EmbedFiles")
FIELDS = "Dir,ImportPath,Name,Standard,Module,DepsErrors," + ",".join(KINDS)


def platform(text: str) -> Platform:
    return Platform.parse(text)


@cache
def go_minor() -> int:
    version = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("go1.").split(".")[0].strip())


def environment(target: Platform, **more: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GO")}
    env |= {name: os.environ[name] for name in ("GOMODCACHE", "GOPROXY", "GOCACHE") if name in os.environ}
    env |= {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "",
        "GOOS": target.os,
        "GOARCH": target.architecture,
    }
    if target.architecture == "arm":
        env["GOARM"] = target.variant.removeprefix("v") or "7"
    if target.architecture == "amd64":
        env["GOAMD64"] = target.variant or "v1"
    return env | more


def go_list(
    directory: Path, target: Platform, *flags: str, patterns: str = ".", **env: str
) -> list[dict[str, Any]]:
    """The packages that the one in `directory` is made of, itself included, without the standard library."""
    done = subprocess.run(
        ["go", "list", "-e", "-deps", *flags, f"-json={FIELDS}", patterns],
        cwd=directory,
        env=environment(target, **env),
        capture_output=True,
        text=True,
        check=True,
    )
    decoder = json.JSONDecoder()
    text = done.stdout.lstrip()
    found = []
    while text:
        package, end = decoder.raw_decode(text)
        text = text[end:].lstrip()
        if not package.get("Standard") and package.get("Dir"):
            found.append(package)
    return found


def local_files(packages: list[dict[str, Any]], below: Path) -> set[str]:
    """The files of all packages that lie below a directory."""
    files = set()
    for package in packages:
        directory = Path(package["Dir"])
        if directory.is_relative_to(below):
            files |= {str(directory / name) for kind in KINDS for name in package.get(kind) or ()}
    return files


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return root

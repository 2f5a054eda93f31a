"""The other builders: installed once by `go install` into the user's cache."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Peer(NamedTuple):
    """A Go program: its package, and the versions to try in turn."""

    package: str
    versions: tuple[str, ...]


PEERS = {
    "ko": Peer("github.com/google/ko", ("v0.19.1",)),
    "crane": Peer("github.com/google/go-containerregistry/cmd/crane", ("v0.22.1",)),
    "func": Peer("knative.dev/func/cmd/func", ("latest",)),
}
_SECONDS = 600


def cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "hostbuild-bench")


def find(name: str, go: str, say: Callable[[str], None]) -> Path | None:
    """The program's path; None, and why is said, where it is not to be had."""
    peer = PEERS[name]
    why = ""
    for version in peer.versions:
        path = cache_directory() / f"{name}@{version}" / name
        if path.exists():
            return path
        say(f"go install {peer.package}@{version}")
        why = _install(peer.package, version, go, path)
        if not why:
            return path
    say(f"{name} is left out: {why}")
    return None


def _install(package: str, version: str, go: str, path: Path) -> str:
    """Build into a scratch directory, then rename; "" or why it failed, in one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent.parent, prefix=".install.") as scratch:
        environment = {**os.environ, "GOBIN": scratch, "CGO_ENABLED": "0", "GOFLAGS": ""}
        try:
            done = subprocess.run(
                [go, "install", "-trimpath", f"{package}@{version}"],
                cwd=scratch,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"go install took longer than {_SECONDS} s"
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if "downloading" not in line]
            return " ".join(lines)[-300:] or "go install failed"
        os.replace(os.path.join(scratch, path.name), path)
    return ""

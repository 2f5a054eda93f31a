"""Run one platform's image and speak HTTP with it.

The layers are unpacked into a directory. As root the command runs chrooted into it, as the user, in the
working directory and with the environment that the config names, so that nothing of the host is within its
reach; otherwise it is started where it lies. A foreign architecture runs under qemu's static user emulator.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.rig.layout import Image
from tests.rig.oci_tools import tool

EMULATORS = {"amd64": "qemu-x86_64-static", "arm64": "qemu-aarch64-static", "arm": "qemu-arm-static"}
NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "")
_START_SECONDS = 60.0

#: Runs in a fresh interpreter: enters the root, becomes the user, replaces itself by the command.
_ENTER = """
import json, os, sys
root, user, group, cwd, argv, env = json.loads(sys.argv[1])
os.chroot(root)
os.chdir(cwd)
os.setgroups([])
os.setgid(group)
os.setuid(user)
os.execve(argv[0], argv, env)
"""


@dataclass(frozen=True)
class Answer:
    """One HTTP response."""

    status: int
    body: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Service:
    """A started image; `request` speaks to it."""

    port: int

    def request(
        self,
        method: str = "GET",
        path: str = "/",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, response.read().decode(errors="replace"), names)
        finally:
            connection.close()


def unpack(image: Image, root: Path) -> Path:
    """Write the files of an image without a base below `root`."""
    root.mkdir(parents=True)
    for path, member in image.files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if member.kind == "dir":
            target.mkdir(exist_ok=True)
        elif member.kind == "link":
            target.symlink_to(member.target)
        else:
            target.write_bytes(member.data)
            target.chmod(member.mode)
    return root


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command_of(image: Image, root: Path, arguments: tuple[str, ...] = ()) -> tuple[list[str], str]:
    """The argv to start the image's process with, and the working directory, both as seen from the host."""
    config = image.config["config"]
    inside = [*(config.get("Entrypoint") or []), *(arguments or config.get("Cmd") or [])]
    assert inside, "the image names no command"
    chroot = os.geteuid() == 0
    architecture = image.config["architecture"]
    program = inside[0] if chroot else str(root / inside[0].lstrip("/"))
    argv = [program, *inside[1:]]
    if architecture != NATIVE:
        emulator = tool(EMULATORS[architecture])
        if chroot:
            shutil.copy2(emulator, root / ".emulator")
            emulator = "/.emulator"
        argv = [emulator, *argv]
    return argv, config.get("WorkingDir") or "/"


def _start(
    image: Image, root: Path, env: Mapping[str, str], arguments: tuple[str, ...], log: Path
) -> subprocess.Popen[bytes]:
    argv, cwd = command_of(image, root, arguments)
    if os.geteuid() == 0:
        user, _, group = (image.config["config"].get("User") or "0:0").partition(":")
        root.chmod(0o755)
        (root / cwd.lstrip("/")).mkdir(parents=True, exist_ok=True)
        plan = json.dumps([str(root), int(user), int(group or user), cwd, argv, dict(env)])
        argv, cwd = [sys.executable, "-I", "-S", "-c", _ENTER, plan], "/"
    else:
        cwd = str(root / cwd.lstrip("/"))
        Path(cwd).mkdir(parents=True, exist_ok=True)
    return _spawn(argv, cwd, env, log)


def _spawn(argv: list[str], cwd: str, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(image: Image, directory: Path, env: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Start the image and wait until it listens; it is killed at the end whatever happens.

    `directory` is made; the root file system and the log go there.
    """
    directory.mkdir(parents=True)
    root, log, port = unpack(image, directory / "root"), directory / "log", free_port()
    environment = {**image.env, "LISTEN_ADDRESS": f"127.0.0.1:{port}", **(env or {})}
    with _listening(_start(image, root, environment, (), log), port, log, image.platform) as service:
        yield service


@contextmanager
def serving(argv: list[str], port: int, log: Path, what: str) -> Iterator[Service]:
    """Start a command that is to listen at `port` of 127.0.0.1, and wait until it does; as `running` does."""
    with _listening(_spawn(argv, "/", {"PATH": os.defpath}, log), port, log, what) as service:
        yield service


@contextmanager
def _listening(process: subprocess.Popen[bytes], port: int, log: Path, what: str) -> Iterator[Service]:
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _listens(port):
            assert process.poll() is None, f"{what} ended with {process.returncode}: {log.read_text()}"
            assert time.monotonic() < deadline, f"{what} does not listen: {log.read_text()}"
            time.sleep(0.02)
        yield Service(port)
    finally:
        _end(process)


def run_to_end(image: Image, directory: Path, *arguments: str, timeout: float = 60) -> tuple[int, str]:
    """Run the image's command with `arguments` instead of its Cmd; its exit code and all that it printed."""
    directory.mkdir(parents=True)
    root, log = unpack(image, directory / "root"), directory / "log"
    process = _start(image, root, image.env, arguments, log)
    try:
        code = process.wait(timeout)
    finally:
        _end(process)
    return code, log.read_text(errors="replace")

"""Small Go projects for tests, and the real go command on them."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hostbuild.languages.base import Inspection, PlatformJob, Project, Tree
from hostbuild.languages.go import LANGUAGE
from hostbuild.model import Event
from hostbuild.oci.platform import Platform
from hostbuild.process.command import Completed, run

PLAIN = """package function

import (
	"fmt"
	"net/http"
)

func Handle(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "plain") }
"""


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def snapshot(folder: Path) -> dict[str, tuple[int, int, str]]:
    """All that a build could change: names, modes, times, contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = sha256(str(path)) if path.is_file() else ""
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, content)
    return found


class Recorder:
    """The context of a job: the real commands, and what was run and told."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.events: list[Event] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        self.commands.append(list(argv))
        return run(argv, cwd=cwd, env=env, on_line=on_line)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def path(self, digest: str) -> str:
        raise AssertionError(f"a Go build needs no {digest}")

    @property
    def verbs(self) -> list[str]:
        return [argv[1] for argv in self.commands]


def project(root: Path, platforms: str = "linux/amd64", **settings: Any) -> Project:
    environment = settings.pop("environment", None)
    environment = dict(os.environ) if environment is None else environment
    return Project(
        root=os.path.realpath(root),
        platforms=tuple(Platform.parse(text) for text in platforms.split(",")),
        environment=environment,
        digest_file=sha256,
        **settings,
    )


def inspect(root: Path, platforms: str = "linux/amd64", **settings: Any) -> Inspection:
    return LANGUAGE.inspect(project(root, platforms, **settings))


def build(
    root: Path, work: Path, platform: str = "linux/amd64", context: Recorder | None = None, **settings: Any
) -> Tree:
    found = inspect(root, platform, **settings)
    ((plan,),) = found.own
    job = PlatformJob(
        tree=plan.name,
        root=os.path.realpath(root),
        platform=Platform.parse(platform),
        work=str(work),
        recipe=plan.recipe,
        tools=found.tools,
        environment=found.environment,
        parallelism=2,
    )
    return LANGUAGE.platform_tree(job, context or Recorder())


def content(tree: Tree) -> bytes:
    entry = tree.entries[-1]
    assert entry.open is not None
    with entry.open() as stream:
        data = stream.read()
    assert len(data) == entry.size
    return data


@contextmanager
def served(tree: Tree, folder: Path, **variables: str) -> Iterator[str]:
    """Start the executable; gives its URL once it answers."""
    path = folder / "executable"
    path.write_bytes(content(tree))
    path.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"LISTEN_ADDRESS": f"127.0.0.1:{port}", "PORT": str(port), **variables}
    with subprocess.Popen([path], env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield _wait(f"http://127.0.0.1:{port}", process)
        finally:
            process.kill()


def _wait(url: str, process: subprocess.Popen[bytes]) -> str:
    for _ in range(400):
        assert process.poll() is None, "the program ended"
        try:
            get(url + "/health/liveness")
        except urllib.error.HTTPError:
            return url  # it answers
        except OSError:
            time.sleep(0.025)
        else:
            return url
    raise AssertionError("the program does not answer")


def get(url: str, data: bytes | None = None, **headers: str) -> tuple[str, dict[str, str]]:
    request = urllib.request.Request(url, data, {name.replace("_", "-"): v for name, v in headers.items()})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode(), dict(answer.headers)

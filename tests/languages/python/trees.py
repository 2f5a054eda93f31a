"""What tests of trees share: wheels made by hand, and the context in which trees are made of them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hostbuild.languages.base import Finished, Tree, TreeJob
from hostbuild.languages.python.trees import make_tree
from hostbuild.model import Event
from hostbuild.process.command import run
from tests.wheels.handmade import make_wheel

PYTHON = "/usr/local/bin/python3.13"
SITE = "/usr/local/lib/python3.13/site-packages"


class Context:
    """Wheels in a directory, by their digests; tools that run."""

    def __init__(self, *wheels: Path) -> None:
        self.events: list[Event] = []
        self.started: list[Sequence[str]] = []
        self.wheels = {f"sha256:{hashlib.sha256(each.read_bytes()).hexdigest()}": each for each in wheels}

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        """Run the tool, and remember it."""
        self.started.append(argv)
        return run(argv, cwd=cwd, env=env, on_line=on_line)

    def emit(self, event: Event) -> None:
        """Remember the event."""
        self.events.append(event)

    def path(self, digest: str) -> str:
        """Where the wheel lies."""
        return str(self.wheels[digest])

    def make(
        self, part: str, *, work: Path | None = None, env: Mapping[str, str] | None = None, **more: Any
    ) -> Tree:
        """A tree of all wheels, in the scratch directory `work`; `more` goes into its recipe."""
        if work is not None:
            work.mkdir(exist_ok=True)
        listed = [[path.name, digest] for digest, path in self.wheels.items()]
        recipe = {"part": part, "wheels": listed, "interpreter": PYTHON, "site": SITE, **more}
        job = TreeJob("t", "/", str(work or "/"), recipe, {"python": sys.executable}, dict(env or {}))
        return make_tree(job, self)


def handmade(folder: Path, name: str, files: Mapping[str, bytes | str], **more: str) -> Path:
    info = f"{name}-1.0.dist-info"
    return make_wheel(
        folder,
        {**files, **{f"{info}/{key}": text for key, text in more.items()}},
        filename=f"{name}-1.0-py3-none-any.whl",
        metadata=f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        info=info,
    )


def content(tree: Tree, path: str) -> bytes:
    (entry,) = [each for each in tree.entries if each.path == path]
    assert entry.open is not None
    with entry.open() as stream:
        return stream.read()

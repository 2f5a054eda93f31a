"""The functions that are built: for hostbuild, for ko, and as func's host builder does it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bed import Run, measured
from build import FUNCTION, FUNCTION_FILES, PLATFORMS, SCAFFOLD, SCAFFOLD_MOD

HERE = Path(__file__).parent
#: A base of three platforms without files: ko wants one.
EMPTY_BASE = "base:1"


@dataclass
class Tools:
    """Programs and places that all projects share."""

    home: Path
    go: str
    ko: Path | None
    crane: Path | None
    peer: Path  # layer_peer.go, built: a layer as builders in Go write it
    address: str = ""  # of the registry; empty without one
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("HOSTBUILD_", "KO"))
        }
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        path = os.pathsep.join([os.path.dirname(self.go), kept.get("PATH", os.defpath)])
        self.env = {**kept, "FUNC_GO": self.go, "PATH": path, "GOFLAGS": "-buildvcs=false"}


@dataclass
class Project:
    """One function in `root`, with a scaffold beside it that starts it, and a cache of its own."""

    tools: Tools
    root: Path
    edits: int = 0
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        write(self.function, FUNCTION_FILES)
        write(self.scaffold, {"go.mod": SCAFFOLD_MOD, "main.go": SCAFFOLD})
        self.edit()
        measured([self.tools.go, "mod", "tidy"], cwd=self.scaffold, env=self.tools.env)
        self.env = {**self.tools.env, "HOSTBUILD_CACHE_DIR": str(self.root / "cache")}

    @property
    def function(self) -> Path:
        return self.root / "function"

    @property
    def scaffold(self) -> Path:
        return self.root / "scaffold"

    def edit(self) -> None:
        """Change one line, to something that was never compiled."""
        self.edits += 1
        word = f"edit {self.edits} of {time.time_ns()}"
        (self.function / "function.go").write_text(FUNCTION.replace("EDIT", word))

    def add_data(self, files: int, megabytes: float, seed: int = 7) -> None:
        """Put a made tree beside the source, and the same files where ko takes data from."""
        make_tree(self.function / "data", files, megabytes, seed)
        shutil.copytree(self.function / "data", self.scaffold / "kodata", copy_function=os.link)

    def set_data(self, files: int, megabytes: float, seed: int) -> None:
        """As `add_data`, in place of other data: nobody has seen it."""
        for place in (self.function / "data", self.scaffold / "kodata"):
            shutil.rmtree(place, ignore_errors=True)
        self.add_data(files, megabytes, seed)

    def take_data(self, other: Project) -> None:
        """The same files as another project."""
        shutil.rmtree(self.function / "data", ignore_errors=True)
        shutil.copytree(other.function / "data", self.function / "data", copy_function=os.link)

    def ours(self, *more: str, extra: Mapping[str, str] | None = None) -> Run:
        """hostbuild, everything but the push."""
        command = [sys.executable, "-m", "hostbuild", "build", self.function, "--progress", "quiet"]
        platforms = [] if "--platform" in more else ["--platform", ",".join(PLATFORMS)]
        return measured([*command, *platforms, *more], env={**self.env, **(extra or {})})

    def ours_pushed(self, extra: Mapping[str, str] | None = None) -> Run:
        """hostbuild, as ko works: on a base in the registry, and pushed."""
        address = self.tools.address
        return self.ours(
            *(
                "--base",
                f"{address}/{EMPTY_BASE}",
                "--tag",
                f"{address}/{self.root.name}-hostbuild:1",
                "--push",
            ),
            *("--build-dir", str(self.root / "pushed")),
            # With a cache of its own: it must not find what the other has made.
            extra={"HOSTBUILD_CACHE_DIR": str(self.root / "cache-pushed"), **(extra or {})},
        )

    def as_func(self, extra: Mapping[str, str] | None = None) -> Run:
        """What func's host builder does: one platform after the other, each layer written anew."""
        output = self.root / "out"
        output.mkdir(exist_ok=True)
        peer, layer = self.tools.peer, self.root / "layer"
        total = measured([peer, self.function, layer], env=self.tools.env)
        for platform, settings in PLATFORMS.items():
            target = {"CGO_ENABLED": "0", "GOOS": "linux", "GOFLAGS": "-buildvcs=false -trimpath", **settings}
            place = output / platform.replace("/", ".")
            place.mkdir(exist_ok=True)
            command = [self.tools.go, "build", "-o", place / "f", "."]
            total += measured(command, cwd=self.scaffold, env={**self.tools.env, **target, **(extra or {})})
            total += measured([peer, place, layer], env=self.tools.env)
        return total

    def ko(self, extra: Mapping[str, str] | None = None) -> Run:
        """ko, pushed to the registry, without a bill of materials."""
        if self.tools.ko is None:
            raise SystemExit("error: ko is not here")
        address = self.tools.address
        env = {
            **self.tools.env,
            "KO_DOCKER_REPO": f"{address}/{self.root.name}-ko",
            "KO_DEFAULTBASEIMAGE": f"{address}/{EMPTY_BASE}",
            **(extra or {}),
        }
        command = [self.tools.ko, "build", "--bare", "--sbom=none", f"--platform={','.join(PLATFORMS)}", "."]
        return measured(command, cwd=self.scaffold, env=env)

    def ko_cached(self) -> Run:
        """ko with its cache of layers."""
        return self.ko({"KOCACHE": str(self.root / "kocache")})


def write(root: Path, files: Mapping[str, str]) -> None:
    root.mkdir(parents=True)
    for name, text in files.items():
        (root / name).write_text(text)


def make_tree(root: Path, files: int, megabytes: float, seed: int) -> None:
    """A tree as scripts/bench/layer.py makes it, in a process of its own: this one must stay small."""
    flags = [f"--files={files}", f"--mb={megabytes}", f"--seed={seed}"]
    measured([sys.executable, HERE / "layer.py", "--one", "make", "--tree", root, *flags])


def push_empty_base(tools: Tools) -> None:
    """Put EMPTY_BASE into the registry, by crane and nothing of ours."""
    names = []
    for platform in PLATFORMS:
        name = f"{tools.address}/parts:{platform.replace('/', '-')}"
        layer = tools.home / "empty.tar"
        layer.write_bytes(b"\0" * 10240)
        crane = str(tools.crane)
        measured([crane, "append", "--oci-empty-base", "-f", layer, "-t", name], env=tools.env)
        measured([crane, "mutate", name, "--set-platform", platform, "-t", name], env=tools.env)
        names += ["-m", name]
    base = f"{tools.address}/{EMPTY_BASE}"
    measured([str(tools.crane), "index", "append", *names, "-t", base], env=tools.env)

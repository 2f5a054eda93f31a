"""The sources of a run, and the directory that they and all that is shared lie in.

They overlap: Go programs share data files (kodata) and a module, two are the very same source at two places,
Python applications share wheels and the base. An edit writes one file, at once, by rename.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.languages.python.made import wheel
from tests.rig.builder import Hostbuild, make_source
from tests.rig.handmade import put, put_json
from tests.rig.layout import CONFIG, INDEX, LAYER, MANIFEST
from tests.wheels.images import PATH, archive, system, upstream

ROOT = Path(__file__).resolve().parents[2]
ONE, TWO = "linux/amd64", "linux/amd64,linux/arm64"
KINDS = ("program", "application", "program", "parts", "second application", "program")
_WHEELS = {"alpha": (), "beta": ("alpha",), "gamma": ("alpha",)}

_PROGRAM = """package main

import "os"

func main() {{ println("edit {edit}", os.Getenv("KO_DATA_PATH")) }}
"""
_PARTS = """package main

import "example.com/shared"

func main() {{ println("edit {edit}", shared.Word) }}
"""
_APPLICATION = "import alpha\n\nEDIT = {edit}\n"


@dataclass
class Source:
    """A source directory; `edit` numbers its content, `edits` counts the changes."""

    name: str
    kind: str
    root: Path
    tag: str
    edit: int = 0
    edits: int = 0
    arguments: tuple[str, ...] = ()
    platforms: tuple[str, ...] = (ONE,)

    @property
    def builds(self) -> Path:
        """Where its builds lie."""
        return self.root / ".func/builds"


@dataclass
class Home:
    """The directory `path` of a run: sources, the shared cache, what everybody printed."""

    path: Path
    count: int
    rng: random.Random
    kinds: Sequence[str] = KINDS
    sources: list[Source] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        """The cache that all builders share."""
        return self.path / "cache"

    @property
    def temp(self) -> Path:
        """TMPDIR of all commands."""
        return self.path / "tmp"

    def make(self) -> None:
        """Write everything that is there before the first builder."""
        for name in ("out", "tmp", "sources"):
            (self.path / name).mkdir(parents=True)
        _write_base(self.path / "base")
        for name, requires in _WHEELS.items():
            wheel(self.path / "wheels", name, "1.0", requires=requires)
        shared = {"go.mod": "module example.com/shared\n\ngo 1.21\n"}
        make_source(
            self.path / "shared", {**shared, "shared.go": 'package shared\n\nconst Word = "shared"\n'}
        )
        for number in range(self.count):
            self.sources.append(self._source(number))
        for source in self.sources:
            write_edit(source, source.root)
        own = {"TMPDIR": str(self.temp), "UV_CACHE_DIR": str(self.path / "uv"), "PYTHONPATH": str(ROOT)}
        self.environment = Hostbuild(self.path, own, prefix=()).environment({"PYTHONDONTWRITEBYTECODE": None})

    def argv(self, source: Source, platforms: str, *flags: str, root: Path | None = None) -> tuple[str, ...]:
        """The words after `hostbuild` that build `source`, at `root` where given."""
        where = str(root or source.root)
        return ("build", where, "-t", source.tag, "--platform", platforms, *source.arguments, *flags)

    def copy_of(self, source: Source, edit: int, destination: Path) -> Path:
        """The source as it is after that edit, without builds, in a new directory."""
        shutil.copytree(source.root, destination, symlinks=True, ignore=shutil.ignore_patterns(".func"))
        write_edit(Source(source.name, source.kind, destination, source.tag, edit), destination)
        return destination

    def edit(self, source: Source) -> None:
        """Change it: to something new, or to what another of its kind is."""
        alike = [other.edit for other in self.sources if other.kind == source.kind and other is not source]
        fresh = self.rng.randrange(1, 1_000_000)
        source.edit = self.rng.choice(alike) if alike and self.rng.random() < 0.4 else fresh
        source.edits += 1
        write_edit(source, source.root)

    def _source(self, number: int) -> Source:
        kind = self.kinds[number % len(self.kinds)]
        name = f"{kind.replace(' ', '-')}-{number}"
        root = self.path / "sources" / name
        # Programs have one name, so that two with the same edit are the same image.
        source = Source(name, kind, root, f"registry.example/{kind.replace(' ', '-')}:v1")
        data = random.Random(kind.partition(" ")[0]).randbytes(2_000_000)
        if kind in ("program", "parts"):
            replaced = (
                f"\nrequire example.com/shared v0.0.0\n\nreplace example.com/shared => {self.path}/shared\n"
            )
            files: dict[str, str | bytes] = {
                "go.mod": f"module example.com/{kind}\n\ngo 1.21\n{replaced if kind == 'parts' else ''}",
                "kodata/data.bin": random.Random("shared").randbytes(2_000_000),
                "kodata/kind.txt": kind,
            }
            source.platforms = (ONE, TWO)
        else:
            wanted = "alpha\nbeta\n" if kind == "application" else "gamma\nbeta\n"
            files = {
                "requirements.txt": f"--no-index\n--find-links {self.path}/wheels\n{wanted}",
                "Procfile": "web: python app.py\n",
                "data.bin": data,
            }
            source.arguments = ("--base", f"oci:{self.path}/base")
        make_source(root, files)
        source.edit = number
        return source


def write_edit(source: Source, root: Path) -> None:
    """Write the file that an edit changes, at once."""
    name, text = {
        "program": ("main.go", _PROGRAM),
        "parts": ("main.go", _PARTS),
    }.get(source.kind, ("app.py", _APPLICATION))
    new = root.parent / f".{root.name}.new"
    new.write_text(text.format(edit=source.edit))
    os.replace(new, root / name)


def _write_base(layout: Path) -> None:
    """A base with Python at its smallest, for one platform."""
    layout.mkdir()
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    tar = archive({**system(), **upstream()})
    layer = put(layout, gzip.compress(tar, mtime=0), f"{LAYER}+gzip")
    platform = {"os": "linux", "architecture": "amd64"}
    config = {
        **platform,
        "config": {"Env": [f"PATH={PATH}"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]},
        "history": [{"created_by": "hand"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": put_json(layout, config, CONFIG),
        "layers": [layer],
    }
    child = {**put_json(layout, manifest, MANIFEST), "platform": platform}
    index = put_json(layout, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}, INDEX)
    outer = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [index]}
    (layout / "index.json").write_text(json.dumps(outer))

"""A source, a cache, outputs and a registry in which the command is killed; and whether all is well after it.

worlds = Worlds(directory, registry)           # what all of them begin with is made once
world = worlds.make(tmp_path, World.build)     # a copy, and the command to run in it
world.check_sound(moved=False)                 # after a kill: nothing wrong can be seen
world.check_tidy()                             # after an error: nothing is left either
world.check_next_run()                         # the same command: it gives what an undisturbed one gives
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.bases.base_images import write_base
from tests.registry.server import MemoryRegistry
from tests.rig.builder import Hostbuild, make_source
from tests.rig.crashing import processes_of
from tests.rig.handmade import put_json, write_handmade
from tests.rig.layout import MANIFEST, read_layout
from tests.rig.oci_tools import tool
from tests.rig.processes import wait_until
from tests.rig.python_base import python_base
from tests.rig.sources import HELLO
from tests.wheels.handmade import make_wheel

Command = Callable[["World"], None]

PLATFORM = ("--platform", "linux/amd64")
NAME = ("-t", "registry.example/app:v1")
#: What a crash may leave that is no fault: files that are only looked at while they are locked.
_LASTING = re.compile(r"cache/(locks|keys|claims)/.+|reached|src/\.func/builds/(locks/.+|sequence)")


class Worlds:
    """The beginnings, made once: a built source with outputs of it, and what undisturbed commands give."""

    def __init__(self, directory: Path, registry: MemoryRegistry) -> None:
        self._directory = directory
        self.registry = registry
        self._undisturbed: dict[str, dict[str, str]] = {}
        begun = World(directory / "begun", registry)
        (begun.home / "out").mkdir(parents=True)
        make_source(begun.source, HELLO)
        begun.base = write_base(begun.home / "base", ["linux/amd64"])
        begun.run("build", begun.source, *NAME, *PLATFORM, *begun.outputs)
        self._begun = begun
        self._older = begun.digest()

    def make(self, home: Path, command: Command) -> World:
        """A world of one's own, about to run `command`."""
        name = command.__name__
        if name not in self._undisturbed:
            model = self._copy(self._directory / name, command)
            before = model.digest()
            model.run(*model.arguments, stdin=model.stdin)
            self._undisturbed[name] = {**model.state(), "before": before}
        world = self._copy(home, command)
        world.begun = frozenset(world._paths())
        world.older = self._older
        world.expected = dict(self._undisturbed[name])
        world.before = world.expected.pop("before")
        return world

    def _copy(self, home: Path, command: Command) -> World:
        subprocess.run([tool("cp"), "-a", "--reflink=auto", self._begun.home, home], check=True)
        world = World(home, self.registry)
        world.registry.__dict__.update(MemoryRegistry().__dict__ | {"address": self.registry.address})
        command(world)
        return world


class World:
    """One home; `arguments` and `stdin` are the command that is about to run."""

    def __init__(self, home: Path, registry: MemoryRegistry) -> None:
        self.home = home
        self.registry = registry
        self.hostbuild = Hostbuild(home)
        self.source = home / "src"
        self.base = home / "base"
        self.arguments: tuple[str | Path, ...] = ()
        self.stdin = ""
        self.before = ""
        self.begun: frozenset[str] = frozenset()
        self.older = ""
        self.damaged: Path | None = None
        self.expected: dict[str, str] = {}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Each kind of thing that a build may be asked for."""
        out = self.home / "out"
        return (
            *("-o", f"type=oci,dest={out}/image.tar"),
            *("-o", f"type=oci,tar=false,dest={out}/layout"),
            *("--metadata-file", f"{out}/metadata.json"),
        )

    def run(self, *arguments: str | Path, stdin: str = "") -> None:
        """Run the command, which must succeed."""
        result = self.hostbuild(*arguments, stdin=stdin)
        assert result.code == 0, result.stderr

    # The commands.

    def build(self) -> None:
        """Another build after the first; its code is in the cache."""
        self.arguments = ("build", self.source, *NAME, *PLATFORM, "--label", "crash=1")

    def build_with_outputs(self) -> None:
        """The same, with all that a user may ask for besides."""
        self.build()
        self.arguments = (*self.arguments, *self.outputs)

    def build_anew(self) -> None:
        """The first build of all, with an empty cache."""
        for path in (self.hostbuild.cache, self.source / ".func", self.home / "out"):
            shutil.rmtree(path)
        self.arguments = ("build", self.source, *NAME, *PLATFORM)

    def build_over_damaged(self) -> None:
        """A build whose directory is there, and damaged."""
        self.build()
        last = self.source / ".func/builds/last"
        older = last.readlink()
        self.run(*self.arguments)
        (last / "oci/index.json").unlink()
        last.unlink()
        last.symlink_to(older)
        (self.source / ".func/builds/last.json").unlink()

    def build_on_base(self) -> None:
        """A build on a base in the registry, whose name is locked."""
        self._put(self.base, "base", "1")
        base = ("--base", f"{self.registry.address}/base:1", "--lock")
        self.arguments = ("build", self.source, *NAME, *PLATFORM, *base)

    def build_with_wheel(self) -> None:
        """A Python program with one wheel."""
        files = {
            "requirements.txt": "--no-index\n--find-links wheels\none\n",
            "Procfile": "web: python3 app.py\n",
            "app.py": "import one\n",
            ".funcignore": "wheels\n",
            "wheels/": "",
        }
        shutil.rmtree(self.source)
        make_source(self.source, files)
        make_wheel(
            self.source / "wheels",
            {"one.py": b"WORD = 1\n"},
            filename="one-1.0-py3-none-any.whl",
            metadata="Metadata-Version: 2.1\nName: one\nVersion: 1.0\n",
            info="one-1.0.dist-info",
        )
        self.arguments = ("build", self.source, *NAME, *PLATFORM, "--base", python_base().place)

    def clean(self) -> None:
        """Clean, where a killed build left something."""
        make_source(self.source / ".func/builds/staging/.new.0123456789abcdef", {"owner.json": ""})
        self.arguments = ("clean", self.source)

    def clean_all(self) -> None:
        """Clean away every build; none is so new that somebody may still be about to read it."""
        for path in (self.source / ".func/builds/by-hash").iterdir():
            os.utime(path, (1, 1))
        self.arguments = ("clean", self.source, "--all")

    def prune(self) -> None:
        """Empty the cache."""
        self.arguments = ("cache", "prune", "--all")

    def repair(self) -> None:
        """Repair the cache, in which a blob is damaged."""
        self.damaged = next(path for path in (self.hostbuild.cache / "blobs").rglob("*") if path.is_file())
        self.damaged.unlink()  # layouts have the same file
        self.damaged.write_bytes(b"damaged")
        self.arguments = ("cache", "verify", "--repair")

    def login(self) -> None:
        """A login to the registry."""
        make_source(self.home, {"auth.json": '{"auths": {"other.example": {"auth": "YTpi"}}}\n'})
        name = self.registry.address
        auth = ("--authfile", self.home / "auth.json", "-u", "tester", "--password-stdin")
        self.arguments, self.stdin = ("login", name, *auth), "secret"

    def push(self) -> None:
        """A push of the build to a repository whose tags name an older image."""
        write_handmade(self.home / "older", "x/y:1", {"linux/amd64": {"f": b"older"}}, {})
        for tag in ("v1", "v2"):
            self._put(self.home / "older", "app", tag)
        names = [f"{self.registry.address}/app:{tag}" for tag in ("v1", "v2")]
        self.arguments = ("push", self.source, *names)

    def push_in_chunks(self) -> None:
        """The same to a registry that takes no large bodies."""
        self.push()
        self.registry.body_cap = 1 << 20

    def push_mounting(self) -> None:
        """A push to two repositories of the registry."""
        self.push()
        self.arguments = (*self.arguments, f"{self.registry.address}/other:v1")

    def push_referrer(self) -> None:
        """A push of an image that has a subject, to a registry that does not list referrers itself."""
        layout = self.home / "referrer"
        write_handmade(layout, "x/y:1", {"linux/amd64": {"f": b"signature"}}, {})
        (named,) = _read(layout / "index.json")["manifests"]
        (child,) = _blob(layout, named)["manifests"]
        subject = {"mediaType": MANIFEST, "digest": "sha256:" + "5" * 64, "size": 5}
        referrer = put_json(layout, {**_blob(layout, child), "subject": subject}, MANIFEST)
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [referrer]}))
        self.arguments = ("push", layout, f"{self.registry.address}/app:v1")

    def _put(self, layout: Path, repository: str, tag: str) -> None:
        """Have the image in the registry."""
        (named,) = _read(layout / "index.json")["manifests"]
        pending: list[tuple[dict[str, Any], tuple[str, ...]]] = [(named, (tag,))]
        while pending:
            descriptor, tags = pending.pop()
            data = (layout / "blobs/sha256" / descriptor["digest"][7:]).read_bytes()
            self.registry.add_manifest(repository, data, descriptor["mediaType"], *tags)
            document = json.loads(data)
            pending += [(child, ()) for child in document.get("manifests", ())]
            for blob in (*document.get("layers", ()), *filter(None, [document.get("config")])):
                self.registry.add_blob(
                    repository, (layout / "blobs/sha256" / blob["digest"][7:]).read_bytes()
                )

    # What must hold.

    def digest(self) -> str:
        """Of the layout that `last` names, every byte of which is read; "" for none."""
        last = self.source / ".func/builds/last"
        if not last.is_symlink():
            return ""
        return read_layout(last / "oci").digest

    def check_sound(self, *, moved: bool) -> None:
        """Nothing that anybody could take for good is wrong."""
        for path in (self.hostbuild.cache / "blobs").rglob("*"):
            if path.is_file() and path != self.damaged:
                assert _hash(path) == path.name, f"{path} is no such blob"
        assert self.digest() == (self.expected["last"] if moved else self.before)
        self._check_outputs()
        self._check_registry()

    def _check_outputs(self) -> None:
        out = self.home / "out"
        known = {self.older, self.expected["last"]}
        for path in out.glob("*"):
            if path.name == "layout":
                assert read_layout(path).digest in known
            elif path.name == "metadata.json":
                assert _read(path)["containerimage.digest"] in known

    def _check_registry(self) -> None:
        """Whoever pulls a tag, or any manifest, gets all of it."""
        for name, manifests in self.registry.manifests.items():
            blobs = self.registry.blobs.get(name, {})
            for reference, (_, data) in manifests.items():
                document = json.loads(data)
                for child in document.get("manifests", ()):
                    assert child["digest"] in manifests, f"{name}:{reference} lacks a manifest"
                for blob in (*document.get("layers", ()), *filter(None, [document.get("config")])):
                    assert blob["digest"] in blobs, f"{name}:{reference} lacks a blob"

    def check_tidy(self) -> None:
        """There is no file that an undisturbed run would not leave, and nothing runs."""
        wait_until(lambda: not processes_of(self.home), 20, "every process has ended")
        left = sorted(set(self._paths()) - self.expected.keys() - self.begun)
        assert not left, f"left behind: {left}"

    def check_next_run(self) -> None:
        """The same command again gives what it gives where nothing happened, and leaves nothing else."""
        self.run(*self.arguments, stdin=self.stdin)
        found = self.state()
        other = sorted(name for name, text in found.items() if self.expected.get(name) != text)
        assert not other, f"not as after an undisturbed run: {other}"
        missing = sorted(self.expected.keys() - found.keys())
        assert not missing, f"missing: {missing}"
        wait_until(lambda: not processes_of(self.home), 20, "every process has ended")

    def state(self) -> dict[str, str]:
        """All that is there: paths below the home, names in the registry; with what tells their content."""
        found = dict.fromkeys(self._paths(), "")
        found["last"] = self.digest()
        for name in ("auth.json", "src/hostbuild.lock", "out/image.tar"):
            if (self.home / name).exists():
                found[name] = _hash(self.home / name)
        if (self.home / "out").exists():
            found["out/layout"] = read_layout(self.home / "out/layout").digest
            found["out/metadata.json"] = _read(self.home / "out/metadata.json")["containerimage.digest"]
        for name, manifests in self.registry.manifests.items():
            for reference, (_, data) in manifests.items():
                found[f"{self.registry.address}/{name}:{reference}"] = hashlib.sha256(data).hexdigest()
        return found

    def _paths(self) -> list[str]:
        paths = [path for path in self.home.rglob("*") if not _tells_of_this_disk(path)]
        names = [str(path.relative_to(self.home)) for path in paths]
        return [name for name in names if not _LASTING.fullmatch(name)]


def _tells_of_this_disk(path: Path) -> bool:
    """The stat index holds inodes and times, so no two worlds have the same; and directories of blobs."""
    if path.parent.name != "sha256" and path.parent.parent.name != "sha256":
        return False
    return path.is_dir() or (path.is_file() and path.read_bytes()[:16] == b"hostbuild files ")


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def _blob(layout: Path, descriptor: Mapping[str, Any]) -> dict[str, Any]:
    return _read(layout / "blobs/sha256" / descriptor["digest"].partition(":")[2])


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

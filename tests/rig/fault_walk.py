"""Walk over all calls that a build makes to the disk: one run for each, in which it fails, and what is left.

The state before: an earlier build, which `last` names, and its outputs. Then the source is edited, and the
next build meets the fault.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig.builder import Hostbuild, Result, make_source
from tests.rig.faulty_disk import Call, Fault, FaultyDisk, Mode
from tests.rig.layout import read_layout
from tests.rig.sources import HELLO

PLATFORMS = ("--platform", "linux/amd64,linux/arm64")
#: What a disk says to each call; what only looks meets a damaged disk or a full table.
CODES = {
    "open": errno.EMFILE,
    "read": errno.EIO,
    "listdir": errno.EIO,
    "scandir": errno.EIO,
    "fsync": errno.EIO,
    "flock": errno.ENOLCK,
    "unlink": errno.EIO,
    "rmdir": errno.EIO,
    "utime": errno.EIO,
    "fchmod": errno.EIO,
    "chmod": errno.EIO,
}


def faults_for(call: Call, modes: tuple[Mode, ...] = ("once", "stays")) -> list[Fault]:
    """The faults that this kind of call is to meet."""
    code = CODES.get(call.function, errno.ENOSPC)
    looks = call.function in {"open", "read", "listdir", "scandir", "flock"}
    return [
        Fault(call, errno.EROFS if mode == "stays" else code, mode)
        for mode in modes
        if not (looks and mode == "stays")
    ]


@dataclass
class Walk:
    """One scenario below `top`; `complaints` are what was not as promised."""

    top: Path
    complaints: list[str] = field(default_factory=list)
    #: How many runs met their fault, and how many of these were a success all the same.
    met: int = 0
    survived: int = 0

    def __post_init__(self) -> None:
        self._template = self.top / "template"
        self._work = self.top / "work"
        self.root = self._work / "src"
        self.out = self._work / "out"
        self._work.mkdir(parents=True)
        (self._work / "home").mkdir()
        self.out.mkdir()
        self.hostbuild = Hostbuild(self._work / "home")
        self.disk = FaultyDisk(self.top / "calls", (self.hostbuild.cache, self.root / ".func", self.out))
        make_source(self.root, HELLO)
        self.before = self._build().digest
        self._old = _files(self.out)
        make_source(self.root, {"main.go": HELLO["main.go"].replace("hello", "other")})
        shutil.copytree(self._work, self._template, symlinks=True)
        recorded = self._build(self.disk.environment())
        self.after = recorded.digest
        self._new = _files(self.out)
        self.calls = self.disk.calls()

    def _build(self, env: dict[str, str] | None = None) -> Result:
        outputs = (
            "-o",
            f"type=oci,dest={self.out}/image.tar",
            "-o",
            f"type=oci,dest={self.out}/dir,tar=false",
        )
        files = ("--metadata-file", self.out / "metadata.json")
        return self.hostbuild("build", self.root, *PLATFORMS, *outputs, *files, env=env)

    def meet(self, fault: Fault) -> Result:
        """Run into the fault from the state before; judge what is left, and the next build."""
        shutil.rmtree(self._work)
        shutil.copytree(self._template, self._work, symlinks=True)
        result = self._build(self.disk.environment(fault))
        complaints = list(self._judge(result, fault)) if self.disk.calls() else ["the fault was not met"]
        self.met += bool(self.disk.calls())
        self.survived += result.code == 0
        complaints += self._judge_state(result.code == 0)
        following = self._build()
        if following.code or following.digest != self.after:
            complaints.append(f"the next build: {following}")
        else:
            complaints += self._judge_state(done=True)
            if fault.call.function not in {"unlink", "rmdir"}:  # what could not be removed may be there
                complaints += self._leftovers()
        name = f"{fault.mode} {errno.errorcode[fault.code]} {fault.call.function} {fault.call.site}"
        self.complaints += [f"{name}\n    {each}\n    {result.stderr.strip()}" for each in complaints]
        return result

    def _judge(self, result: Result, fault: Fault) -> Iterator[str]:
        if "Traceback" in result.stderr or "defect of hostbuild" in result.stderr:
            yield "a defect"
        if result.code == 0:
            if result.digest != self.after:
                yield "a success with another digest"
            return
        if result.code != 1:
            yield f"exit code {result.code}"
        if result.stdout:
            yield "a result line of a failed build"
        errors = re.findall(r"^error: (.*)$", result.stderr, re.MULTILINE)
        if len(errors) != 1:
            yield f"{len(errors)} errors"
        for part in ("why", "fix"):
            if not re.search(rf"^  {part}: \S", result.stderr, re.MULTILINE):
                yield f"no {part}"
        met = [each for each in self.disk.below if fault.call.path.startswith(str(each))]
        places = self.disk.below if fault.mode == "stays" else tuple(met)
        if errors and not any(str(each) in errors[0] for each in places):
            yield f"the error does not name {places}"
        names = (f"({errno.errorcode[fault.code]})", f"why: {os.strerror(fault.code)}")
        if not any(each in result.stderr for each in names):
            yield f"the error does not tell {names[0]}"

    def _judge_state(self, done: bool) -> list[str]:
        found = list(damage(self.hostbuild.cache, self.root / ".func"))
        last = self.root / ".func/builds/last"
        digest = read_layout(last / "oci").digest if last.exists() else "nothing"
        if digest != self.after and (done or digest != self.before):
            found.append(f"last names {digest}")
        files = _files(self.out)
        for name in {*self._old, *self._new, *files}:
            if name.startswith("."):
                continue  # private, and judged when the next build has cleaned
            allowed = (self._new.get(name),) if done else (self._old.get(name), self._new.get(name))
            if files.get(name) not in allowed and not name.endswith("metadata.json"):
                found.append(f"{name} is neither the older nor the newer one")
        return found

    def _leftovers(self) -> list[str]:
        builds = self.root / ".func/builds"
        places = [self.hostbuild.cache / "tmp", *(builds / name for name in ("staging", "trash", "by-pid"))]
        found = [str(each) for place in places for each in place.iterdir()]
        found += [str(each) for each in builds.iterdir() if re.match(r"\.(last|sequence)", each.name)]
        found += [str(each) for each in self.out.iterdir() if each.name.startswith(".")]
        return [f"left behind: {each}" for each in found]


def damage(cache: Path, func: Path) -> Iterator[str]:
    """What is under a final name in the cache and the build directory and is not whole."""
    for path in (cache / "blobs").glob("*/*/*"):
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            yield f"the blob {path} is damaged"
    for path in (cache / "keys").glob("*/*.json"):
        if _broken(path):
            yield f"{path} is no JSON"
    for path in (func / "builds/by-hash").glob("*"):
        if _broken(path / "build.json"):
            yield f"{path}/build.json is no JSON"
        else:
            read_layout(path / "oci")


def _broken(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError):
        return True
    return False


def _files(top: Path) -> dict[str, str]:
    return {
        os.path.relpath(path, top): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in top.rglob("*")
        if path.is_file()
    }

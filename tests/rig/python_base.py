"""A real base image with Python: Debian's, for three platforms, made by scripts/debian_base once a machine.

    base = python_base()
    hostbuild.run("build", source, "--base", base.place)       # the layout as a base
    name = base.push(f"{registry.address}/python:3.11")        # or in a registry of the tests: NAME@sha256:…
    image = base.image("linux/arm/v7")                         # config, files and all, as tests.rig.layout
    code, output = base.run("linux/arm64", "/usr/bin/python3", "-c", "print(1)")
    root = base.copy_root("linux/arm64", tmp_path / "root")    # to put layers over, and to run by `run_in`

It is kept below the user's cache under a key of what makes it; the first to ask makes it (a minute, and the
machine's Debian archive), under a lock, so that test workers and other runs wait for it. Beside the layout
lie the unpacked root file systems. They have the standard library's bytecode, which no image has: an emulated
interpreter would spend most of a test on compiling. It is made by the image's own Python, natively.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hostbuild.layer import LAYER_FORMAT
from hostbuild.model import Access
from hostbuild.pushing import push_place
from tests.rig.layout import (
    CONFIG,
    INDEX,
    MANIFEST,
    Image,
    blob_path,
    platform_text,
    read_document,
    read_image,
)
from tests.rig.oci_tools import run as run_tool
from tests.rig.oci_tools import tool
from tests.rig.run_image import EMULATORS, NATIVE

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "scripts"
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")
NOBODY = 65534
_MAKE_SECONDS = 900
_EMULATOR = ".emulator"


class PythonBase(NamedTuple):
    """The base in `directory`: its layout, and the index's digest. Nobody changes what is there."""

    directory: Path
    digest: str

    @property
    def layout(self) -> Path:
        """The image layout, of one index."""
        return self.directory / "layout"

    @property
    def place(self) -> str:
        """What `--base` takes."""
        return f"oci:{self.layout}"

    def image(self, platform: str) -> Image:
        """One platform's image, every byte of it verified."""
        return read_image(self.layout, _descriptors(self.layout)[platform])

    def root(self, platform: str) -> Path:
        """One platform's root file system, for all tests: to look at, or to run in without writing."""
        return self.directory / "roots" / platform.replace("/", "-")

    def copy_root(self, platform: str, directory: Path) -> Path:
        """A root file system of one's own in `directory`, which is made."""
        run_tool("cp", "-a", "--reflink=auto", self.root(platform), directory)
        return directory

    def run(self, platform: str, *argv: str) -> tuple[int, str]:
        """Run a command in the shared root file system as nobody: its exit code, and all that it printed."""
        manifest = read_document(self.layout, _descriptors(self.layout)[platform], MANIFEST)
        config = read_document(self.layout, manifest["config"], CONFIG)
        env = dict(text.split("=", 1) for text in config["config"]["Env"])
        return run_in(self.root(platform), *argv, env=env, user=NOBODY)

    def push(self, reference: str) -> str:
        """Push it to a registry on this machine; its name by digest, for `--base`."""
        (pushed,) = push_place(str(self.layout), [reference], Access(environment={}))
        return f"{pushed.reference.familiar_name}@{pushed.digest}"


def run_in(
    root: Path, *argv: str, env: Mapping[str, str], user: int = 0, timeout: float = 120
) -> tuple[int, str]:
    """Run a command (its path first) in a root file system of a base, emulated where need be.

    As root by chroot, as `user`; otherwise in a user namespace, as whoever runs the tests.
    """
    emulated = [f"/{_EMULATOR}"] if (root / _EMULATOR).exists() else []
    if os.geteuid() == 0:
        enter = [tool("chroot"), f"--userspec={user}:{user}", str(root)]
    else:
        enter = [tool("unshare"), "--map-current-user", f"--root={root}", "--wd=/"]
    done = subprocess.run(
        [*enter, *emulated, *argv],
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def cache_directory() -> Path:
    """Where made bases are kept: below XDG_CACHE_HOME, or below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "hostbuild-test-bases")


def recipe_key() -> str:
    """The digest of all that decides what is made, but for what the archive has at that time."""
    hasher = hashlib.sha256(LAYER_FORMAT.encode())
    library = sorted((SCRIPTS / "debian_base_lib").glob("*.py"))
    for path in (Path(__file__), SCRIPTS / "debian_base", *library):
        hasher.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return hasher.hexdigest()[:32]


def make_once(key: str) -> Path:
    """The base's directory; made under a lock if it is not there. The kernel frees the lock of who dies."""
    home = cache_directory()
    home.mkdir(parents=True, exist_ok=True)
    destination = home / key
    if not destination.exists():
        with (home / f"{key}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not destination.exists():
                # A private directory, then one rename: nobody sees half a base.
                with tempfile.TemporaryDirectory(dir=home, prefix=f".{key}.") as scratch:
                    made = Path(scratch, "made")
                    made.mkdir()
                    _make(made)
                    os.replace(made, destination)
    return destination


@cache
def python_base() -> PythonBase:
    """The base, made if need be."""
    directory = make_once(recipe_key())
    (named,) = json.loads((directory / "layout/index.json").read_bytes())["manifests"]
    return PythonBase(directory, named["digest"])


def _make(directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / "debian_base", directory / "layout", "--platform", ",".join(PLATFORMS)],
        capture_output=True,
        text=True,
        timeout=_MAKE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"scripts/debian_base: {done.stdout}{done.stderr}"
    base = PythonBase(directory, "")
    for platform in PLATFORMS:
        _unpack(base.image(platform), base.layout, base.root(platform))
    native = next((each for each in PLATFORMS if each == f"linux/{NATIVE}"), PLATFORMS[0])
    _compile(base.root(native))
    for platform in PLATFORMS:
        _share_bytecode(base.root(native), base.root(platform))


def _descriptors(layout: Path) -> dict[str, dict[str, Any]]:
    """The images' descriptors by platform."""
    (named,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    index = read_document(layout, named, INDEX)
    return {platform_text(each["platform"]): each for each in index["manifests"]}


def _unpack(image: Image, layout: Path, root: Path) -> None:
    """The layers as other people's code unpacks them, modes and all, and what a foreign machine's needs."""
    root.mkdir(parents=True)
    for layer in image.manifest["layers"]:
        archive = blob_path(layout, layer["digest"])
        run_tool("tar", "--extract", "--preserve-permissions", f"--file={archive}", f"--directory={root}")
    root.chmod(0o755)
    architecture = image.config["architecture"]
    if architecture != NATIVE:
        shutil.copy2(tool(EMULATORS[architecture]), root / _EMULATOR)


def _compile(root: Path) -> None:
    argv = ("/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
    library = "/usr/lib/" + os.readlink(root / "usr/bin/python3")
    code, output = run_in(root, *argv, library, env={}, timeout=_MAKE_SECONDS)
    assert code == 0, f"the standard library does not compile: {output}"


def _share_bytecode(native: Path, root: Path) -> None:
    """Bytecode depends on Python's version and the source only, not on the machine."""
    for compiled in native.glob("usr/lib/python3*/**/__pycache__/*.pyc"):
        folder = compiled.parent.parent.relative_to(native)
        source = folder / f"{compiled.name.partition('.')[0]}.py"
        if (root / source).is_file() and (root / source).read_bytes() == (native / source).read_bytes():
            target = root / folder / "__pycache__"
            target.mkdir(exist_ok=True)
            if not (target / compiled.name).exists():
                shutil.copy2(compiled, target)

"""pip as the judge: what it installs from the same index, run inside the emulated system of each platform.

    judge = PipJudge.made(run_directory(tmp_path_factory), "linux/arm64")
    theirs = judge.install("flask", ["flask"])                 # unpinned: pip resolves for itself
    ours = installed_in(image)                                 # what hostbuild put into its image
    assert ours == theirs                                      # versions, and each file's digest

pip is the newest that the machine's index has, unpacked and compiled once, beside the bases. It runs in a
copy of the base with the host's network: its resolver, its certificates, and pip's settings as `pip config`
tells them.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tests.rig.layout import Image
from tests.rig.python_base import cache_directory, python_base, recipe_key, run_in
from tests.rig.python_image import PREFIX, SITE, compile_natively, once, versions

_HOME = "/judge"
_PYTHON = "/usr/bin/python3"
_INSTALL_SECONDS = 300

#: What an installer writes into .dist-info for itself.
_OWN = re.compile(r"[^/]+\.dist-info/(INSTALLER|RECORD|REQUESTED|direct_url\.json)")
_BYTECODE = re.compile(r"(.*/)?__pycache__/.*|.*\.pyc")

#: A script for an entry point, in any installer's words, less its first line.
_ENTRY_POINT = re.compile(
    rb"(?:#.*\n|import (?:re|sys)\n|\n)*from ([\w.]+) import (\w+)\n+"
    rb"if __name__ == ['\"]__main__['\"]:\n(?: +sys\.argv\[0\] = .*\n)? +sys\.exit\(([\w.]+)\(\)\)\s*"
)

#: Variables that reach the network, and nothing else.
_NETWORK = re.compile(r"(https?|all|no)_proxy", re.IGNORECASE)
_CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_SYSTEMS_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

#: Prints what decides which wheels fit: the tags in pip's order, and the environment of markers.
_TARGET = """
import json
from pip._vendor.packaging import markers, tags
print(json.dumps({"tags": [str(tag) for tag in tags.sys_tags()], "platforms": list(tags.platform_tags()),
    "markers": dict(markers.default_environment())}))
"""


class Installed(NamedTuple):
    """What an installer left: each distribution's version; each file's content, by its path in the target.

    Paths are those of `pip install --target`: modules at the top, commands in bin, data where the wheel has
    it. A content is a digest, of a script without its first line; of a command for an entry point what it
    starts, as every installer has its own words for that. An executable file's is marked so.
    """

    versions: Mapping[str, str]
    files: Mapping[str, str]


class Target(NamedTuple):
    """What the emulated system's own Python says of itself; `platforms` are its tags' last parts."""

    tags: Sequence[str]
    platforms: Sequence[str]
    markers: Mapping[str, str]


class PipJudge(NamedTuple):
    """pip in the root file system of one platform's base."""

    platform: str
    root: Path

    @classmethod
    def made(cls, directory: Path, platform: str) -> PipJudge:
        """The judge for one platform, its root file system below `directory`, made by the first who asks."""
        name = f"pip-{platform.replace('/', '-')}"
        return cls(platform, once(directory / name, lambda made: _prepare(made, platform)) / "root")

    def pip(self, *arguments: str, packages: str = "", timeout: float = _INSTALL_SECONDS) -> tuple[int, str]:
        """Run pip there, with `packages` in front of the path: its exit code, and all that it printed."""
        path = f"{_HOME}/pip" + (f":{packages}" if packages else "")
        return self.python("-m", "pip", *arguments, path=path, timeout=timeout)

    def install(self, name: str, requirements: Sequence[str]) -> Installed:
        """What pip makes of requirements, all of them wheels, in a directory of that name."""
        target = f"{_HOME}/{name}"
        code, output = self.pip(
            *("install", "--quiet", "--target", target, "--no-compile", "--no-cache-dir"),
            *("--only-binary", ":all:", "--root-user-action", "ignore", *requirements),
        )
        assert code == 0, f"pip on {self.platform}: {output}"
        root = self.root / target.lstrip("/")
        found = {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}
        result = installed({name: (path.read_bytes(), path.stat().st_mode) for name, path in found.items()})
        shutil.rmtree(root)
        return result

    def resolve(self, requirements: Sequence[str]) -> list[dict[str, Any]]:
        """The metadata of what pip would install, of wheels only: [{name, version, requires_dist, …}]."""
        report = self.root / f"judge/report-{os.getpid()}.json"
        code, output = self.pip(
            *("install", "--quiet", "--dry-run", "--ignore-installed", "--no-cache-dir"),
            *("--report", f"{_HOME}/{report.name}", "--only-binary", ":all:", *requirements),
        )
        assert code == 0, f"pip on {self.platform}: {output}"
        return [each["metadata"] for each in json.loads(report.read_bytes())["install"]]

    def target(self) -> Target:
        """What this system's Python says of itself."""
        code, output = self.python("-c", _TARGET, path=f"{_HOME}/pip", timeout=60)
        assert code == 0, output
        return Target(**json.loads(output))

    def has_wheels(self, target: Target, pins: Sequence[str]) -> tuple[bool, str]:
        """Whether pip, told of the target's tags, finds a wheel of each pin (name==version); what it said.

        It is asked without dependencies: told of another machine, pip takes this one's markers all the same.
        """
        where = [word for each in target.platforms for word in ("--platform", each)]
        code, output = self.pip(
            *("install", "--dry-run", "--quiet", "--target", f"{_HOME}/none", "--no-cache-dir", "--no-deps"),
            *("--python-version", target.markers["python_version"], "--implementation", "cp"),
            *("--only-binary", ":all:", "--root-user-action", "ignore", *where, *pins),
        )
        return code == 0, output

    def python(self, *arguments: str, path: str, timeout: float) -> tuple[int, str]:
        """Run the base's Python there with a path of its own: its exit code, and all that it printed."""
        environment = _settings(self.root)
        environment |= {"PYTHONPATH": path, "HOME": _HOME, "PATH": "/usr/bin:/bin", "TMPDIR": "/tmp"}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return run_in(self.root, _PYTHON, *arguments, env=environment, timeout=timeout)


def installed_in(image: Image) -> Installed:
    """What hostbuild put into an image: all below its prefix, but for a function's service."""
    found = {}
    for path, member in image.files.items():
        if member.kind == "dir" or not path.startswith(f"{PREFIX}/") or path.startswith(f"{PREFIX}/service/"):
            continue
        shown = path.removeprefix(f"{SITE}/") if path.startswith(f"{SITE}/") else path[len(PREFIX) + 1 :]
        assert shown not in found, f"{shown} is in site-packages and beside it"
        assert member.kind == "file", path
        found[shown] = (member.data, member.mode)
    return installed(found)


def installed(files: Mapping[str, tuple[bytes, int]]) -> Installed:
    """What is to be compared of files, each with its content and mode."""
    compared = {
        path: _content(path, data) + (", executable" if mode & 0o111 else "")
        for path, (data, mode) in files.items()
        if not _OWN.fullmatch(path) and not _BYTECODE.fullmatch(path)
    }
    return Installed(versions({path: data for path, (data, _) in files.items()}), compared)


def _content(path: str, data: bytes) -> str:
    if path.startswith("bin/") and data.startswith(b"#!"):
        body = data.partition(b"\n")[2]
        return _started(body) or hashlib.sha256(body).hexdigest()
    return hashlib.sha256(data).hexdigest()


def _started(body: bytes) -> str:
    """What a script of an entry point starts, as `module:attribute`; "" for any other script."""
    match = _ENTRY_POINT.fullmatch(body)
    if match is None:
        return ""
    module, imported, attribute = (text.decode() for text in match.groups())
    return f"starts {module}:{attribute}" if attribute.partition(".")[0] == imported else ""


@cache
def pip_directory() -> Path:
    """pip, unpacked, with bytecode made by the base's Python: emulated, it would be most of what it does."""
    return once(cache_directory() / f"unpacked-pip-{recipe_key()}", _unpack_pip) / "pip"


def _unpack_pip(directory: Path) -> None:
    host_pip("download", "--quiet", "--no-deps", "--dest", str(directory), "pip")
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "pip")
    compile_natively(directory / "pip")


def host_pip(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Standard output of pip on the host; a failure shows all that it printed."""
    done = host_pip_result(*arguments, env=env)
    assert done.returncode == 0, f"pip {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def host_pip_result(
    *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """pip of the Python that runs the tests, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=_INSTALL_SECONDS,
        check=False,
    )


@cache
def pip_settings() -> dict[str, str]:
    """pip's settings on this machine, whichever file or variable has them, as variables."""
    found = {}
    for line in host_pip("config", "list").splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in {"global", "install", "download", ":env:"}:
            found[f"PIP_{key.upper().replace('-', '_')}"] = str(ast.literal_eval(value))
    return found


def _prepare(directory: Path, platform: str) -> None:
    """A copy of the base with pip and the host's way to its index."""
    root = python_base().copy_root(platform, directory / "root")
    home = root / _HOME.lstrip("/")
    home.mkdir()
    shutil.copytree(pip_directory(), home / "pip")
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(f"/etc/{name}", root / "etc" / name)
    if (netrc := Path(os.environ.get("NETRC") or Path.home() / ".netrc")).exists():
        shutil.copyfile(netrc, home / ".netrc")
    if (certificates := _host_certificates()) is not None:
        shutil.copyfile(certificates, home / "certificates.pem")
    for place in _local_links():
        shutil.copytree(place, root / place.relative_to("/"), dirs_exist_ok=True)


def _host_certificates() -> Path | None:
    named = [pip_settings().get("PIP_CERT"), *map(os.environ.get, _CERTIFICATES), _SYSTEMS_CERTIFICATES]
    return next((Path(path) for path in named if path and Path(path).is_file()), None)


def _local_links() -> Iterable[Path]:
    words = pip_settings().get("PIP_FIND_LINKS", "").split()
    return [Path(word) for word in words if word.startswith("/") and Path(word).is_dir()]


def _settings(root: Path) -> dict[str, str]:
    """The environment for pip in a root that `_prepare` made."""
    found = {name: value for name, value in os.environ.items() if _NETWORK.fullmatch(name)} | pip_settings()
    if (root / _HOME.lstrip("/") / "certificates.pem").exists():
        found["PIP_CERT"] = f"{_HOME}/certificates.pem"
    return found

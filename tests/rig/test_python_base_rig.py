"""The base with Python is what a base must be, and runs; scripts/debian_base makes it as it says."""

from __future__ import annotations

import io
import json
import os
import posixpath
import sys
import tarfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hostbuild.errors import InvalidDocumentError, ProtocolError, SettingsError, ToolError, UsageError
from hostbuild.oci.reference import Reference
from tests.rig import python_base as rig
from tests.rig.layout import Member, read_layout
from tests.rig.oci_tools import validate
from tests.rig.pulling import Puller
from tests.rig.python_base import PLATFORMS, SCRIPTS, python_base, run_in
from tests.rig.registries import Registry
from tests.rig.schemas import Schemas

sys.path.insert(0, str(SCRIPTS))

from debian_base_lib import command
from debian_base_lib.apt import Apt
from debian_base_lib.images import PACKAGES_LABEL, Contents, python_version, write_base
from debian_base_lib.sources import Source, find_source
from debian_base_lib.tree import merged, system

MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64", "linux/arm/v7": "armv7l"}
REFERENCE = Reference.parse("registry.example/base:1")
each_platform = pytest.mark.parametrize("platform", PLATFORMS)

#: The modules that a server needs, each extension module with its libraries, certificates, names.
PROGRAM = """
import ssl, sqlite3, asyncio, http.server, json, ctypes, multiprocessing, sys
import glob, importlib, platform, pwd, socket
files = [file for folder in sys.path for file in glob.glob(folder + "/*.so")]
names = [file.rpartition("/")[2].partition(".")[0] for file in files]
for name in names:
    importlib.import_module(name)
print(json.dumps({
    "version": sys.version.split()[0],
    "machine": platform.machine(),
    "modules": len(names),
    "certificates": len(ssl.create_default_context().get_ca_certs()),
    "user": pwd.getpwuid(65534).pw_name,
    "localhost": len(socket.getaddrinfo(b"localhost", 80)) > 0,
    "sum": sqlite3.connect(":memory:").execute("select 1 + 1").fetchone()[0],
    "libc": ctypes.CDLL("libc.so.6").abs(-3),
    "encoding": sys.getfilesystemencoding(),
}))
"""


def resolve(files: Mapping[str, Member], path: str, steps: int = 0) -> str:
    """The path of what `path` leads to, through the links of the image."""
    assert steps < 20, f"{path} goes in circles"
    parts = posixpath.normpath(path).strip("/").split("/")
    for end in range(1, len(parts) + 1):
        head = "/".join(parts[:end])
        member = files.get(head)
        if member is not None and member.kind == "link":
            target = posixpath.join("/", posixpath.dirname(head), member.target, *parts[end:])
            return resolve(files, target, steps + 1)
    return "/".join(parts)


@each_platform
def test_each_image_is_a_whole_small_system(platform: str) -> None:
    image = python_base().image(platform)
    files = image.files
    assert sum(len(member.data) for member in files.values()) < 80_000_000
    (version,) = (text[15:] for text in image.config["config"]["Env"] if text.startswith("PYTHON_VERSION="))
    assert version.startswith("3.11.")
    assert image.config["config"]["Cmd"] == ["python3"]
    assert "User" not in image.config["config"]
    packages = image.config["config"]["Labels"][PACKAGES_LABEL].split()
    assert any(package.startswith(f"python3.11-minimal={version}") for package in packages)
    assert any(package.startswith("libc6=2.36") for package in packages)
    assert [name for name in ("bin", "lib", "sbin") if files[name].target != f"usr/{name}"] == []
    assert files["tmp"].mode == 0o1777
    assert b"nobody:" in files["etc/passwd"].data
    assert files[resolve(files, "bin/sh")].data.startswith(b"\x7fELF")
    assert files[resolve(files, "usr/bin/python3")].path == "usr/bin/python3.11"
    assert [path for path, member in files.items() if resolve(files, path) not in files] == []
    assert [path for path in files if path.endswith(".pyc") or "/doc/" in path or "/man/" in path] == []
    assert {member.mtime for member in files.values()} == {0}
    assert {member.path.partition("/")[0] for member in image.layers[1]} <= {"etc", "usr"}


@each_platform
def test_each_image_runs_python(platform: str) -> None:
    base = python_base()
    code, output = base.run(platform, "/usr/bin/python3", "-c", PROGRAM)
    assert code == 0, output
    found = json.loads(output)
    assert found.pop("modules") > 40
    assert found.pop("certificates") > 100
    assert found.pop("version").startswith("3.11.")
    assert found == {
        "machine": MACHINES[platform],
        "user": "nobody",
        "localhost": True,
        "sum": 2,
        "libc": 3,
        "encoding": "utf-8",
    }


@each_platform
def test_a_shell_runs_in_a_root_of_ones_own(platform: str, tmp_path: Path) -> None:
    root = python_base().copy_root(platform, tmp_path / "root")
    code, output = run_in(root, "/bin/sh", "-c", "echo $A > /x; exit 7", env={"A": "b"})
    assert (code, output, (root / "x").read_text()) == (7, "", "b\n")
    assert not (python_base().root(platform) / "x").exists()


def test_it_is_one_index_that_others_accept(schemas: Schemas, tmp_path: Path) -> None:
    base = python_base()
    outer = json.loads((base.layout / "index.json").read_bytes())
    name = outer["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
    assert schemas.errors("image-index-schema.json", outer) == []
    validate(base.layout, name)
    with Registry("docker-registry", tmp_path / "registry") as registry:
        reference = f"{registry.address}/library/python:3.11"
        assert base.push(reference) == f"{registry.address}/library/python@{base.digest}"
        puller = Puller(tmp_path / "puller")
        assert puller.digest(reference) == base.digest
        manifests = puller.manifest(reference)["manifests"]
    assert ["/".join(each["platform"].values()) for each in manifests] == [
        "/".join({"architecture": architecture, "os": "linux", **variant}.values())
        for architecture, variant in (("amd64", {}), ("arm64", {}), ("arm", {"variant": "v7"}))
    ]


def test_a_base_is_made_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []

    def make(directory: Path) -> None:
        made.append(directory)
        time.sleep(0.2)
        (directory / "whole").touch()

    monkeypatch.setattr(rig, "_make", make)
    with ThreadPoolExecutor(4) as pool:
        paths = {future.result() for future in [pool.submit(rig.make_once, "key") for _ in range(4)]}
    assert paths == {tmp_path / "hostbuild-test-bases/key"}
    assert len(made) == 1
    assert (tmp_path / "hostbuild-test-bases/key/whole").exists()


def test_half_a_base_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise AssertionError("no archive")

    monkeypatch.setattr(rig, "_make", fail)
    with pytest.raises(AssertionError, match="no archive"):
        rig.make_once("key")
    assert [path.name for path in (tmp_path / "hostbuild-test-bases").iterdir()] == ["key.lock"]


# The maker: packages to entries


def archive(*members: tarfile.TarInfo | tuple[str, bytes], mtime: int = 0) -> bytes:
    """The tar archive of a package; a pair is a plain file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member in members:
            info, data = (
                (member, b"")
                if isinstance(member, tarfile.TarInfo)
                else (tarfile.TarInfo(member[0]), member[1])
            )
            info.size, info.mtime = len(data), mtime
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def special(name: str, kind: bytes, target: str = "", mode: int = 0o755) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def package_set(mtime: int = 0) -> dict[str, bytes]:
    return {
        "libc6": archive(
            special("./lib/", tarfile.DIRTYPE),
            ("./lib/x/libc.so.6", b"elf"),
            special("./lib64/ld.so", tarfile.SYMTYPE, "/lib/x/ld.so"),
            ("./usr/share/doc/libc6/copyright", b"free"),
            mtime=mtime,
        ),
        "dash": archive(
            ("./bin/dash", b"shell"), special("./bin/ash", tarfile.LNKTYPE, "./bin/dash"), mtime=mtime
        ),
        "base-files": archive(
            special("./tmp/", tarfile.DIRTYPE, mode=0o1777),
            special("./bin", tarfile.SYMTYPE, "usr/bin"),
            special("./usr/bin/", tarfile.DIRTYPE),
            mtime=mtime,
        ),
        "python3.11-minimal": archive(
            ("./usr/bin/python3.11", b"elf"), ("./usr/lib/python3.11/__pycache__/a.pyc", b"junk"), mtime=mtime
        ),
    }


def test_packages_become_a_merged_system_and_a_layer_of_python() -> None:
    below, above = system(package_set())
    files = {entry.path: entry for entry in below}
    assert [entry.path for entry in above] == ["usr", "usr/bin", "usr/bin/python3.11"]
    assert {files[path].target for path in ("bin", "lib", "lib64", "sbin")} == {
        "usr/bin",
        "usr/lib",
        "usr/lib64",
        "usr/sbin",
    }
    assert files["usr/lib64/ld.so"].target == "/lib/x/ld.so"
    assert files["usr/bin/sh"].target == "dash"
    opened = files["usr/bin/ash"].open
    assert opened is not None
    assert opened().read() == b"shell"
    assert files["tmp"].mode == 0o1777
    assert not [path for path in files if "share" in path]
    assert [merged(path) for path in ("./", "./lib", "./library/x", "./lib32/y", "./usr/lib/z")] == [
        "",
        "usr/lib",
        "library/x",
        "usr/lib32/y",
        "usr/lib/z",
    ]


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (special("./dev/null", tarfile.CHRTYPE), "neither file"),
        (("./usr/../../x", b""), "leads out"),
        (("./usr/bin/dash", b"another"), "two packages bring"),
    ],
)
def test_what_no_package_holds_is_refused(member: tarfile.TarInfo | tuple[str, bytes], why: str) -> None:
    with pytest.raises(InvalidDocumentError, match=why):
        system({**package_set(), "zz": archive(member)})


def write(layout: Path, packages: Mapping[str, bytes], version: str = "3.11.2-6+deb12u8") -> str:
    contents = Contents({"python3.11-minimal": version}, packages)
    base = write_base(layout, [(platform, contents) for platform in PLATFORMS], "bookworm", REFERENCE)
    read = read_layout(layout)
    assert read.digest == str(base.digest)
    assert list(read.images) == list(PLATFORMS)
    return read.digest


def test_the_same_packages_give_the_same_digest(tmp_path: Path) -> None:
    packages = package_set()
    turned = dict(reversed(package_set(mtime=7).items()))
    digest = write(tmp_path / "one", packages)
    assert write(tmp_path / "two", turned) == digest
    assert write(tmp_path / "one", packages, "3.11.2-7") != digest  # it stands in a label
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.parametrize("version", ["3.11.2", "3.11.2-6+deb12u8", "1:3.11.2~rc1-1", "3.11.2+dfsg-1"])
def test_the_version_of_python_is_read_from_the_package(version: str) -> None:
    assert (
        python_version({"libc6": "2.36", "python3-minimal": "3", "python3.11-minimal": version}) == "3.11.2"
    )
    with pytest.raises(UsageError, match="no Python"):
        python_version({"python3-minimal": version})


# The maker: where packages come from

DEB822 = """
# a mirror
Types: deb deb-src
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

Types: deb
# in between
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 key
Trusted: yes
"""


def test_the_archive_is_read_from_apt(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    with pytest.raises(UsageError, match="no archive that has Debian bookworm"):
        find_source("bookworm", tmp_path)
    (parts / "debian.sources").write_text(DEB822)
    (parts / "other.list.disabled").write_text("deb http://wrong.example/debian bookworm main\n")
    found = find_source("bookworm", tmp_path)
    assert found == Source(
        "http://mirror.example/debian", "bookworm", "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n key"
    )
    assert "trusted" not in found.stanza().lower()
    (tmp_path / "sources.list").write_text(
        "# deb http://old.example/debian bookworm main\n"
        "deb-src http://source.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/keys.gpg] http://one.example/debian bookworm contrib main # mine\n"
    )
    assert find_source("bookworm", tmp_path) == Source("http://one.example/debian", "bookworm", " /keys.gpg")
    (tmp_path / "sources.list").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="cannot read"):
        find_source("bookworm", tmp_path)


def test_an_archive_without_a_signature_is_refused(tmp_path: Path) -> None:
    release = tmp_path / "archive/dists/bookworm"
    (release / "main/binary-armhf").mkdir(parents=True)
    (release / "main/binary-armhf/Packages").touch()
    (release / "Release").write_text("Suite: bookworm\nComponents: main\nArchitectures: armhf\n")
    source = Source(f"file:{tmp_path}/archive", "bookworm", " /dev/null")
    apt = Apt(tmp_path / "apt", "armhf", source, os.environ)
    with pytest.raises(ToolError, match="the index of bookworm cannot be had") as caught:
        apt.update()
    assert "signed" in caught.value.detail


FAKE_APT = """#!/bin/sh
case "$*" in
  dump) ;;
  *-s*) echo "Inst a (1:2-3 Debian:12 [armhf])"; echo "Conf a (1:2-3 Debian:12 [armhf])" ;;
  *--print-uris*) echo "'http://x/a' a_1%3a2-3_armhf.deb 4 SHA256:$DIGEST" ;;
  *download*) printf good > a_1%3a2-3_armhf.deb ;;
esac
"""
GOOD = "770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c"


@pytest.mark.parametrize("digest", [GOOD, "0" * 64, "none"])
def test_each_package_is_verified(digest: str, tmp_path: Path) -> None:
    for name in ("apt-get", "apt-config"):
        (tmp_path / name).write_text(FAKE_APT)
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DIGEST": digest}
    apt = Apt(tmp_path / "apt", "armhf", Source("http://x", "bookworm"), environment)
    wanted = apt.closure(["a"])
    assert wanted == ("a=1:2-3",)
    if digest == GOOD:
        (package,) = apt.fetch(wanted)
        assert (package.name, package.version, package.path.read_bytes()) == ("a", "1:2-3", b"good")
    else:
        with pytest.raises(ProtocolError):
            apt.fetch(wanted)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--suite", "no-such-suite"], "apt knows no archive that has Debian no-such-suite"),
        (["--platform", "linux/s390x"], "no base is made for linux/s390x"),
        (["--platform", "amiga"], "amiga"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(tmp_path / "out"), *arguments], "") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_but_a_layout_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").touch()
    assert command.main([str(tmp_path), "--mirror", "http://127.0.0.1:1/"], "") == 1
    assert "would replace" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]

"""What others put in hostbuild's way: other users of the machine, and whoever wrote the checkout."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.e2e.test_concurrent_builds import finish, paused
from tests.rig.builder import Hostbuild, make_source
from tests.rig.go_wrapper import GoWrapper
from tests.rig.layout import read_layout
from tests.rig.sources import HELLO

ONE = ("--platform", "linux/amd64", "-t", "registry.example/app:v1")
OTHER = 4242


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_source(tmp_path / "src", HELLO)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of the user's that nobody may change."""
    path = tmp_path / "home/precious"
    path.parent.mkdir()
    path.write_text("mine\n")
    path.chmod(0o640)
    return path


def untouched(victim: Path) -> bool:
    names = [each.name for each in victim.parent.iterdir()]
    return (victim.read_text(), stat.S_IMODE(victim.stat().st_mode), names) == ("mine\n", 0o640, ["precious"])


@pytest.mark.parametrize("how", ["owner", "open", "parent", "blobs", "locks", "version", "secret"])
def test_a_cache_that_others_could_change_is_refused(
    hostbuild: Hostbuild, root: Path, victim: Path, how: str
) -> None:
    cache = hostbuild.home / "shared/cache"
    assert hostbuild("build", root, *ONE, "--cache-dir", cache).code == 0
    if how == "owner":
        os.chown(cache, OTHER, OTHER)
    elif how == "open":
        cache.chmod(0o777)
    elif how == "parent":
        os.chown(cache.parent, OTHER, OTHER)
        cache.parent.chmod(0o777)
    else:
        path = cache / how
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.symlink_to(victim.parent if how in {"blobs", "locks"} else victim)
    hostbuild("build", root, *ONE, "--cache-dir", cache).fails(1, str(cache), "  why: ", "  fix: ")
    assert untouched(victim)


HARMLESS = ["hostbuild.log", ".__hostbuild.lock", "by-pid/1", "staging/x", "trash/x", "last", "by-hash/x"]
REFUSED = ["last.json", "sequence", "locks/builds.lock", "staging", "by-hash", "../builds"]


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_planted_beside_builds_is_neither_followed_nor_waited_for(
    hostbuild: Hostbuild, root: Path, victim: Path, kind: str
) -> None:
    builds = root / ".func/builds"
    for name in HARMLESS:
        path = builds / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link" or name == "last":
            path.symlink_to(victim if "log" in name or "lock" in name else victim.parent)
        else:
            os.mkfifo(path)
    result = hostbuild("build", root, *ONE, timeout=60)
    assert result.code == 0, result.stderr
    assert f"warning: the log {builds}/hostbuild.log cannot be written" in result.stderr
    assert read_layout(builds / "last/oci").digest == result.digest
    assert hostbuild("clean", root, timeout=60).code == 0
    assert untouched(victim)


@pytest.mark.parametrize("name", REFUSED)
def test_a_link_where_something_of_ours_belongs_is_refused(
    hostbuild: Hostbuild, root: Path, victim: Path, name: str
) -> None:
    path = Path(os.path.normpath(root / ".func/builds" / name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(victim.parent if "." not in path.name and name != "sequence" else victim)
    hostbuild("build", root, *ONE, timeout=60).fails(1, ".func", "  why: ", "  fix: ")
    assert untouched(victim)


def test_a_build_directory_that_leads_elsewhere_or_is_another_users(
    hostbuild: Hostbuild, root: Path, victim: Path
) -> None:
    (root / ".func").symlink_to(victim.parent)
    hostbuild("build", root, *ONE).fails(1, ".func", "symbolic link")
    (root / ".func").unlink()
    (root / ".func").mkdir()
    os.chown(root / ".func", OTHER, OTHER)
    hostbuild("build", root, *ONE).fails(1, ".func", "another user", "--build-dir")
    os.chown(root / ".func", os.geteuid(), os.getegid())
    (root / ".func").chmod(0o777)  # as a tool with an open umask leaves it
    assert hostbuild("build", root, *ONE).code == 0
    assert not (root / ".func").stat().st_mode & 0o022
    assert untouched(victim)


def test_a_directory_that_becomes_a_link_while_a_build_runs(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, root: Path, victim: Path
) -> None:
    by_hash = root / ".func/builds/by-hash"
    with paused(hostbuild, go_wrapper, root, *ONE) as process:
        by_hash.rmdir()
        by_hash.symlink_to(victim.parent)
        go_wrapper.release()
        finish(process).fails(1, "by-hash", "symbolic link")
    assert untouched(victim)
    by_hash.unlink()
    assert hostbuild("build", root, *ONE).code == 0


def only_build(root: Path) -> Path:
    (found,) = (root / ".func/builds/by-hash").iterdir()
    return found


def largest_blob(build: Path) -> Path:
    return max((build / "oci/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)


def test_a_build_that_came_with_the_checkout_is_not_ours(
    hostbuild: Hostbuild, root: Path, tmp_path: Path
) -> None:
    """Forged on another machine: everything fits, but one layer has other bytes."""
    digest = hostbuild("build", root, *ONE).digest
    (tmp_path / "attacker").mkdir()
    attacker = Hostbuild(tmp_path / "attacker")
    checkout = make_source(tmp_path / "checkout", HELLO)
    assert attacker("build", checkout, *ONE).code == 0
    blob = largest_blob(only_build(checkout))
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.unlink()
    blob.write_bytes(data)
    blob.chmod(0o444)
    result = hostbuild("build", checkout, *ONE)
    assert "up to date" not in result.stderr
    assert result.digest == digest == read_layout(checkout / ".func/builds/last/oci").digest
    assert "up to date" in hostbuild("build", checkout, *ONE).stderr


@pytest.mark.parametrize("what", ["blob", "index", "record"])
def test_what_git_put_over_our_own_build_is_made_anew(hostbuild: Hostbuild, root: Path, what: str) -> None:
    """git replaces ignored files that a branch tracks; what it writes has its owner's write permission."""
    digest = hostbuild("build", root, *ONE).digest
    build = only_build(root)
    path = {"blob": largest_blob(build), "index": build / "oci/index.json", "record": build / "build.json"}[
        what
    ]
    data = path.read_bytes()
    path.unlink()
    if what == "blob":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif what == "index":
        path.write_bytes(data.replace(b"registry.example/app", b"registry.example/bad"))
    else:
        path.write_text(json.dumps({**json.loads(data), "warnings": ["look at me"]}))
    result = hostbuild("build", root, *ONE)
    assert "up to date" not in result.stderr
    assert result.digest == digest == read_layout(root / ".func/builds/last/oci").digest


def test_builds_and_cache_that_were_copied_together_are_up_to_date(
    hostbuild: Hostbuild, root: Path, tmp_path: Path
) -> None:
    digest = hostbuild("build", root, *ONE).digest
    (tmp_path / "next").mkdir()
    shutil.copytree(hostbuild.cache, tmp_path / "next/cache", symlinks=True)
    shutil.copytree(root, tmp_path / "next/src", symlinks=True)
    result = Hostbuild(tmp_path / "next")("build", tmp_path / "next/src", *ONE)
    assert "up to date" in result.stderr
    assert result.digest == digest


def test_umask_changes_no_digest_and_opens_nothing(hostbuild: Hostbuild, root: Path, tmp_path: Path) -> None:
    digests = set()
    for umask in (0o000, 0o077):
        home = tmp_path / f"home{umask:o}"
        home.mkdir(mode=0o700)
        command = Hostbuild(home)
        arguments = (*ONE, "--no-cache", "-e", "TOKEN=secret", "--ship-source")
        result = command("build", root, *arguments, umask=umask)
        digests.add(result.digest)
        for path in (home / "cache").rglob("*"):
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert not mode & (0o077 if path.is_dir() else 0o022), f"{path} {mode:o}"
        for path in (root / ".func").rglob("*"):
            mode = stat.S_IMODE(path.lstat().st_mode)
            private = path.name.startswith(("hostbuild.log", ".__"))
            assert path.is_symlink() or not mode & (0o077 if private else 0o022), f"{path} {mode:o}"
        assert "secret" not in "".join(each.read_text() for each in (root / ".func/builds").glob("*.log"))
    assert len(digests) == 1


NAMES = [
    (("-t", "../../escape:v1"), {}),
    (("--copy", "main.go:../../etc/cron.d/x"), {}),
    (("--copy", "../home/precious:x"), {}),
    ((), {"hostbuild.toml": 'build-dir = "../home"\n'}),
    ((), {"hostbuild.toml": 'output = ["type=oci,dest=../home/precious"]\n'}),
    ((), {"func.yaml": "specVersion: 0.36.0\nname: x\nruntime: go\nimage: ../../escape\n"}),
    ((), {"func.yaml": "specVersion: 0.36.0\nname: ../../escape\nruntime: go\nregistry: registry.example\n"}),
]


@pytest.mark.parametrize(("arguments", "files"), NAMES)
def test_names_that_would_leave_their_directory(
    hostbuild: Hostbuild, root: Path, victim: Path, arguments: tuple[str, ...], files: dict[str, str]
) -> None:
    make_source(root, files)
    result = hostbuild("build", root, "--platform", "linux/amd64", *arguments)
    result.fails(result.code, "  ")
    assert result.code in (1, 2)
    assert untouched(victim)

"""The same source gives the same bytes: whoever builds it, wherever and whenever."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, make_source
from tests.rig.oci_tools import tool
from tests.rig.sources import HELLO, STATIC_HTTP

FILES = {
    **HELLO,
    "data/b.txt": "b",
    "data/a.txt": "a",
    "data/link": "-> a.txt",
    "script.sh": "#!/bin/sh\n",
    "ünicode/ß.txt": "x",
    "empty/": "",
}
SHIP = ("--ship-source", "-t", "registry.example/app:v1")
QUICK = ("--platform", "linux/arm64,linux/amd64")


@pytest.fixture
def umask() -> Iterator[None]:
    """Sources are made with a umask that a test chooses; it is put back."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def source(path: Path, mask: int = 0o022) -> Path:
    os.umask(mask)
    root = make_source(path, FILES)
    (root / "script.sh").chmod(0o777 & ~mask)
    return root


def fresh(hostbuild: Hostbuild, tmp_path: Path, name: str) -> Hostbuild:
    """The same command with an empty cache, so that nothing is taken from an earlier build."""
    home = tmp_path / f"home-{name}"
    home.mkdir()
    return replace(hostbuild, home=home)


def git(root: Path, *arguments: str, at: int = 1_700_000_000) -> None:
    who = {"GIT_AUTHOR_DATE": f"{at} +0200", "GIT_COMMITTER_DATE": f"{at} +0200", "HOME": str(root)}
    who |= {
        f"GIT_{role}_{key}": "x@example.com" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")
    }
    subprocess.run(
        [tool("git"), "-c", "init.defaultBranch=main", *arguments],
        cwd=root,
        env={"PATH": os.environ["PATH"], **who},
        check=True,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.usefixtures("umask")
def test_paths_umasks_times_users_locales(hostbuild: Hostbuild, tmp_path: Path) -> None:
    one = source(tmp_path / "a" / "src")
    two = source(tmp_path / "b with spaces" / "ünd" / "a-much-longer-path" / "src", 0o077)
    for number, path in enumerate(sorted(two.rglob("*"))):
        os.utime(path, (1_500_000_000 + number, 1_500_000_000 + number), follow_symlinks=False)
    os.umask(0o022)
    first = hostbuild("build", one, *SHIP, *QUICK, env={"LANG": "C", "TZ": "UTC"})
    prefix = (tool("unshare"), "--user", "--map-user=4242", "--map-group=4243", "--mount", "--")
    other = replace(fresh(hostbuild, tmp_path, "other"), prefix=prefix)
    env = {
        "LANG": "tr_TR.UTF-8",
        "LC_ALL": "tr_TR.UTF-8",
        "TZ": "Asia/Kathmandu",
        "USER": "somebody",
        "LOGNAME": "somebody",
        "HOME": str(other.home),
        "HOSTNAME": "elsewhere",
        "HOSTBUILD_JOBS": "1",
    }
    second = other("build", two, *SHIP, *QUICK, env=env, umask=0o077)
    assert first.digest == second.digest


@pytest.mark.usefixtures("umask")
def test_another_owner(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = source(tmp_path / "src")
    first = hostbuild("build", root, *SHIP, *QUICK)
    shutil.rmtree(root / ".func")
    if os.geteuid() == 0:  # only root can give files away; as anybody else the owner is what it was
        for path in [root, *root.rglob("*")]:
            os.chown(path, 1234, 1234, follow_symlinks=False)
    second = fresh(hostbuild, tmp_path, "other")("build", root, *SHIP, *QUICK)
    assert first.digest == second.digest


def test_two_commits_that_do_not_touch_it(hostbuild: Hostbuild, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    root = make_source(repository / "fn", STATIC_HTTP)
    make_source(repository, {"README": "one"})
    git(repository, "init", "-q")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "one")
    # The go command would stamp the commit into the binary if it were let.
    env = {"GOFLAGS": "-buildvcs=true"}
    first = hostbuild("build", root, *QUICK, env=env)

    clone = tmp_path / "a" / "clone of it"
    clone.parent.mkdir()
    git(repository, "clone", "-q", str(repository), str(clone))
    make_source(clone, {"README": "two"})
    git(clone, "commit", "-q", "-a", "-m", "two", at=1_700_009_999)
    second = fresh(hostbuild, tmp_path, "clone")("build", clone / "fn", *QUICK, env=env)
    assert first.digest == second.digest

    image = hostbuild.build(root, *QUICK, env=env).images["linux/arm64"]
    assert image.config["created"] == "2023-11-14T22:13:20Z"
    assert image.env["FUNC_CREATED"] == "2023-11-14T22:13:20Z"
    revision = image.config["config"]["Labels"]["org.opencontainers.image.revision"]
    assert len(revision) >= 7
    assert not revision.endswith("-dirty")

    make_source(clone, {"fn/handle.go": STATIC_HTTP["handle.go"] + "\n// edited\n"})
    dirty = hostbuild.build(clone / "fn", *QUICK, env=env).images["linux/arm64"]
    assert dirty.config["config"]["Labels"]["org.opencontainers.image.revision"].endswith("-dirty")


def test_no_name_of_this_machine_is_in_the_image(hostbuild: Hostbuild, tmp_path: Path) -> None:
    layout = hostbuild.build(make_source(tmp_path / "source-path-mark", STATIC_HTTP))
    for image in layout.images.values():
        for path, member in image.files.items():
            for secret in ("source-path-mark", str(tmp_path), str(hostbuild.home)):
                assert secret.encode() not in member.data, f"{secret} is in {path}"


def test_the_number_of_workers_does_not_matter(hostbuild: Hostbuild, tmp_path: Path) -> None:
    big = bytes(range(256)) * 20_000
    root = make_source(tmp_path / "src", {**HELLO, "big.bin": big})
    first = hostbuild("build", root, *SHIP, "-j", "1")
    second = fresh(hostbuild, tmp_path, "other")("build", root, *SHIP, "-j", "3", "--no-cache")
    assert first.digest == second.digest


def test_source_date_epoch_is_the_time(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", HELLO)
    layout = hostbuild.build(root, *QUICK, env={"SOURCE_DATE_EPOCH": "1234567890"})
    assert {image.config["created"] for image in layout.images.values()} == {"2009-02-13T23:31:30Z"}
    assert hostbuild("build", root, *QUICK).digest != layout.digest

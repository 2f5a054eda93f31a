"""Published wheels, installed by us and by pip: the same files, the same modes, and no others."""

from __future__ import annotations

import os
import re
import stat
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from hostbuild.model import Entry
from hostbuild.oci.platform import Platform
from hostbuild.wheels.install import (
    Installed,
    conflicts,
    install_entries,
    with_directories,
)
from hostbuild.wheels.machinecode import find_machine_code, why_unfit
from hostbuild.wheels.prefix import DEFAULT_PREFIX
from hostbuild.wheels.target import Target
from hostbuild.wheels.wheel import read_wheel
from tests.wheels.published import AARCH64, ARMV7L, PUBLISHED, Published, pip, wheel_file

PYTHON = "/usr/local/bin/python3.13"
#: What tells of an installation, and differs between installers on purpose.
OWN = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def install(published: Published) -> Installed:
    path = wheel_file(published)
    return install_entries(read_wheel(str(path), path.name), python=PYTHON)


def content(entry: Entry) -> bytes:
    assert entry.open is not None
    with entry.open() as stream:
        return stream.read()


def flat(path: str) -> str:
    """Where `pip install --target` puts a file: `site` and the root of `data` are one directory there."""
    for above in (DEFAULT_PREFIX.site, DEFAULT_PREFIX.data):
        if path.startswith(f"{above}/"):
            return path.removeprefix(f"{above}/")
    raise AssertionError(path)


def where_it_belongs(path: str) -> str:
    """Headers have a directory that names the Python which runs pip, and whether it is a virtual one."""
    return re.sub(r"^include/(site/)?python[0-9.]*/", "include/python/", path)


def mode_of(path: Path) -> int:
    return 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644


def is_own(path: str) -> bool:
    return path.rpartition("/")[0].endswith(".dist-info") and path.rpartition("/")[2] in OWN


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda each: "-".join([each[0], *each[1][:1]]))
def test_the_files_are_those_that_pip_installs(published: Published, tmp_path: Path) -> None:
    installed = install(published)
    ours = {
        flat(entry.path): (content(entry), entry.mode)
        for entry in (*installed.files, *installed.scripts)
        if not is_own(entry.path)
    }
    # pip asks the Python that runs it, and not the one that it is told, for what the wheel requires.
    options = ["-q", "--no-compile", "--ignore-requires-python", *published.selection]
    pip("install", *options, "--target", tmp_path, wheel_file(published))
    theirs = {
        where_it_belongs(str(path.relative_to(tmp_path))): (path.read_bytes(), mode_of(path))
        for path in tmp_path.rglob("*")
        if path.is_file() and not is_own(str(path.relative_to(tmp_path)))
    }
    assert set(ours) == set(theirs)
    commands = {flat(entry.path) for entry in installed.scripts}
    assert {path: ours[path] for path in ours if path not in commands} == {
        path: theirs[path] for path in theirs if path not in commands
    }
    for path in commands & set(ours):
        (data, mode), (their_data, their_mode) = ours[path], theirs[path]
        assert mode == their_mode == 0o755
        assert data.startswith(f"#!{PYTHON}\n".encode())
        imported = {line for line in data.split(b"\n") if line.startswith(b"from ")}
        assert imported <= set(their_data.split(b"\n"))


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda each: "-".join([each[0], *each[1][:1]]))
def test_the_standard_library_finds_what_was_installed(published: Published, tmp_path: Path) -> None:
    wheel = read_wheel(str(wheel_file(published)), wheel_file(published).name)
    installed = install_entries(wheel, python=PYTHON)
    for entry in with_directories([*installed.files, *installed.scripts]):
        target = tmp_path / entry.path
        if entry.kind == "dir":
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(content(entry))
    found = PathDistribution(tmp_path / DEFAULT_PREFIX.site / wheel.info_dir)
    assert found.metadata["Name"].lower().replace("_", "-").replace(".", "-") == wheel.name
    assert found.version == wheel.version
    assert found.read_text("INSTALLER") == "hostbuild\n"
    assert found.files is not None
    listed = {os.path.normpath(str(path.locate())) for path in found.files}
    assert listed == {str(path) for path in tmp_path.rglob("*") if path.is_file()}
    for path in found.files:
        if path.hash is not None:
            assert path.size == os.stat(str(path.locate())).st_size


def machine(published: Published, platform: str, libc: str = "glibc", version: str = "2.36") -> list[str]:
    path = wheel_file(published)
    target = Target(Platform.parse(platform), "3.13.5", libc, version, PYTHON)
    codes = find_machine_code(read_wheel(str(path), path.name))
    assert not any(code.fault for code in codes)
    elves = [code.elf for code in codes if code.elf is not None]
    assert elves
    return [reason for elf in elves for reason in why_unfit(elf, target)]


def test_machine_code_of_published_wheels() -> None:
    numpy, ruff = Published("numpy==2.5.5", AARCH64), Published("ruff==0.17.6", ARMV7L)
    pydantic = Published("pydantic-core==2.50.4", ARMV7L)
    assert machine(numpy, "linux/arm64") == []
    assert any("glibc" in reason for reason in machine(numpy, "linux/arm64", version="2.17"))
    assert all("aarch64" in reason for reason in machine(numpy, "linux/amd64"))
    assert machine(ruff, "linux/arm/v7") == machine(pydantic, "linux/arm/v7") == []
    assert machine(pydantic, "linux/arm64")
    assert (
        machine(Published("markupsafe==3.0.4", ("musllinux_1_2_x86_64",)), "linux/amd64", "musl", "1.2.5")
        == []
    )


def test_a_bundled_library_is_found_beside_what_needs_it() -> None:
    path = wheel_file(Published("numpy==2.5.5", AARCH64))
    codes = {code.path: code.elf for code in find_machine_code(read_wheel(str(path), path.name))}
    bundled = {name.rpartition("/")[2] for name in codes if name.startswith("numpy.libs/")}
    assert any("openblas" in name for name in bundled)
    users = [elf for elf in codes.values() if elf is not None and bundled & set(elf.needed)]
    assert users
    assert all(any("$ORIGIN" in directory for directory in elf.search) for elf in users)


def test_tags_choose_the_wheel_for_its_target_only() -> None:
    for published, platform in (
        (Published("numpy==2.5.5", AARCH64), "linux/arm64"),
        (Published("ruff==0.17.6", ARMV7L), "linux/arm/v7"),
    ):
        path = wheel_file(published)
        tags = read_wheel(str(path), path.name).tags
        for each in ("linux/amd64", "linux/arm64", "linux/arm/v7"):
            target = Target(Platform.parse(each), "3.13.5", "glibc", "2.36", PYTHON)
            assert bool(tags & set(target.tags())) is (each == platform)


def test_wheels_of_one_application_do_not_meet() -> None:
    installed = [install(each) for each in PUBLISHED if not each.platforms]
    assert conflicts(installed) == ()

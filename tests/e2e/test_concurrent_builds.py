"""Several builds at once, one after another, and what a failing one leaves."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.builder import Hostbuild, Result, make_source
from tests.rig.go_wrapper import GoWrapper
from tests.rig.layout import read_layout
from tests.rig.sources import HELLO

NAME = ("-t", "registry.example/app:v1")
ONE = (*NAME, "--platform", "linux/amd64")


def finish(process: subprocess.Popen[str]) -> Result:
    stdout, stderr = process.communicate(timeout=300)
    return Result(process.returncode, stdout, stderr)


def edited(root: Path, word: str) -> Path:
    return make_source(root, {"main.go": f'package main\n\nfunc main() {{ println("{word}") }}\n'})


@contextmanager
def paused(
    hostbuild: Hostbuild, go: GoWrapper, root: Path, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    """A build that stands still in its first platform until `go.release()`."""
    go.pause()
    process = hostbuild.start("build", root, *arguments, env=go.env)
    try:
        go.wait_until_paused()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def leftovers(root: Path) -> list[str]:
    """What no finished build may leave: staged directories and links of builders."""
    builds = root / ".func/builds"
    return [str(path) for place in ("staging", "by-pid", "trash") for path in (builds / place).glob("*")]


def test_a_second_build_of_the_same_is_told_so(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path
) -> None:
    root = make_source(tmp_path / "src", HELLO)
    with paused(hostbuild, go_wrapper, root, *NAME, "-j", "1") as first:
        calls = go_wrapper.builds()
        second = hostbuild("build", root, *NAME, env=go_wrapper.env)
        second.fails(75, str(first.pid))
        assert go_wrapper.builds() == calls  # it never reached the work of a platform
        assert not (root / ".func/builds/last").exists()
        hurried = hostbuild("build", root, *NAME, "--wait-timeout", "0.3", env=go_wrapper.env)
        hurried.fails(75)
        status = hostbuild("status", root)
        assert status.code == 0
        assert str(first.pid) in status.stdout + status.stderr
        go_wrapper.release()
        result = finish(first)
    assert result.digest == read_layout(root / ".func/builds/last/oci").digest
    assert len(go_wrapper.builds()) == 3
    assert leftovers(root) == []


def test_one_that_waits_gets_what_the_other_made(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path
) -> None:
    root = make_source(tmp_path / "src", HELLO)
    with paused(hostbuild, go_wrapper, root, *NAME) as first:
        waiting = hostbuild.start("build", "--wait", root, *NAME, env=go_wrapper.env)
        assert waiting.stderr is not None
        told = waiting.stderr.readline()  # it says that it waits before the other one is let go
        go_wrapper.release()
        result, second = finish(first), finish(waiting)
    assert str(first.pid) in told
    assert result.reference == second.reference
    assert len(go_wrapper.builds()) == 3
    assert leftovers(root) == []


def test_other_platforms_and_flags_are_another_build(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path
) -> None:
    root = make_source(tmp_path / "src", HELLO)
    with paused(hostbuild, go_wrapper, root, *ONE) as first:
        other = hostbuild("build", root, *NAME, "--platform", "linux/arm64", "-e", "A=b")
        assert set(read_layout(root / ".func/builds/last/oci").images) == {"linux/arm64"}
        go_wrapper.release()
        result = finish(first)
    assert result.digest != other.digest
    # The one that was started first does not take `last` back.
    assert read_layout(root / ".func/builds/last/oci").digest == other.digest
    assert leftovers(root) == []


def test_cleaning_never_takes_a_running_build(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path
) -> None:
    root = make_source(tmp_path / "src", HELLO)
    with paused(hostbuild, go_wrapper, root, *ONE) as first:
        beside = hostbuild.beside(first.pid)
        assert beside("clean", root, "--keep", "1").code == 0
        assert beside("build", root, *NAME, "--platform", "linux/arm64").code == 0
        go_wrapper.release()
        assert finish(first).code == 0


def test_many_at_once_make_it_once_each(hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", HELLO)
    processes = [hostbuild.start("build", "--wait", root, *ONE, env=go_wrapper.env) for _ in range(4)]
    results = [finish(process) for process in processes]
    assert len({result.reference for result in results}) == 1
    assert len(go_wrapper.builds()) == 1
    assert leftovers(root) == []


def test_a_failed_build_leaves_last_as_it_was(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", HELLO)
    before = hostbuild("build", root, *NAME).digest
    make_source(root, {"main.go": "package main\n\nfunc main() { undefined() }\n"})
    failed = hostbuild("build", root, *NAME)
    failed.fails(1, "undefined: undefined", "main.go:3", "linux/")
    assert read_layout(root / ".func/builds/last/oci").digest == before
    assert leftovers(root) == []


def test_last_is_there_at_every_moment(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", HELLO)
    hostbuild.build(root, *ONE)
    index, done, misses = root / ".func/builds/last/oci/index.json", threading.Event(), []

    def watch() -> None:
        while not done.is_set():
            try:
                index.read_bytes()
            except OSError as error:
                misses.append(str(error))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(4):
            hostbuild.build(edited(root, f"edit {number}"), *ONE)
    finally:
        done.set()
        watcher.join()
    assert misses == []


def test_old_builds_are_removed_and_the_newest_stay(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", HELLO)
    by_hash, digests = root / ".func/builds/by-hash", []
    for number in range(7):
        digests.append(hostbuild.build(edited(root, f"edit {number}"), *ONE).digest)
        for path in [path for build in by_hash.iterdir() for path in (build, build / "build.json")]:
            used = (
                path.stat().st_mtime - 3600
            )  # each build is an hour older: what was just used is never removed
            os.utime(path, (used, used))
    kept = {read_layout(path / "oci").digest for path in by_hash.iterdir()}
    assert set(digests[-5:]) <= kept <= set(digests[-6:])  # five and the one being published
    assert hostbuild("clean", root, "--keep", "1").code == 0
    (only,) = (root / ".func/builds/by-hash").iterdir()
    assert read_layout(only / "oci").digest == digests[-1]
    assert (root / ".func/builds/last").resolve() == only.resolve()


def test_links_below_builds_are_relative(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", HELLO)
    digest = hostbuild.build(root, *ONE).digest
    assert not os.path.isabs(os.readlink(root / ".func/builds/last"))
    moved = tmp_path / "moved"
    root.rename(moved)
    assert read_layout(moved / ".func/builds/last/oci").digest == digest


def test_variants_of_one_architecture_do_not_collide(hostbuild: Hostbuild, tmp_path: Path) -> None:
    platforms = ("linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm64", "linux/amd64")
    root = make_source(tmp_path / "src", HELLO)
    layout = hostbuild.build(root, *NAME, "--platform", ",".join(platforms))
    assert tuple(layout.images) == platforms
    binaries = {image.files["app/hello"].data for image in layout.images.values()}
    assert len(binaries) == 5


def test_a_damaged_cache_is_noticed(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", HELLO)
    before = hostbuild.build(root, *ONE).digest
    shutil.rmtree(root / ".func")
    blobs = [path for path in hostbuild.cache.rglob("*") if path.is_file() and len(path.name) == 64]
    blobs = [path for path in blobs if "blobs" in path.parts]
    assert blobs
    for path in blobs:
        path.chmod(0o600)
        os.truncate(path, path.stat().st_size // 2)
    assert hostbuild.build(root, *ONE).digest == before


def test_the_cache_may_be_on_another_file_system(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", HELLO)
    cache = Path("/dev/shm") / f"hostbuild-test-{os.getpid()}"
    cache.mkdir()
    try:
        assert cache.stat().st_dev != root.stat().st_dev
        hostbuild.build(root, *ONE, "--cache-dir", str(cache))
    finally:
        shutil.rmtree(cache)
    assert not hostbuild.cache.exists()
    read_layout(root / ".func/builds/last/oci")  # whole without the cache

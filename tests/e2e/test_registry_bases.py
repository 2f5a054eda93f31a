"""Bases in a registry: what is asked, what crosses the wire, and what is kept."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.bases.base_images import write_base
from tests.rig import faults
from tests.rig.builder import Hostbuild, make_source
from tests.rig.fault_proxy import FaultProxy
from tests.rig.layout import read_layout
from tests.rig.pulling import Puller
from tests.rig.registries import Registry
from tests.rig.sources import HELLO

PLATFORMS = ("--platform", "linux/amd64,linux/arm64")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_source(tmp_path / "src", HELLO)


@pytest.fixture
def proxy(tmp_path: Path, hostbuild: Hostbuild) -> Iterator[FaultProxy]:
    """A registry that has the base `base:1`, behind a proxy that counts."""
    layout = write_base(tmp_path / "base", ["linux/amd64", "linux/arm64"], docker=True)
    directory = tmp_path / "registry"
    directory.mkdir()
    with Registry("docker-registry", directory) as registry, FaultProxy(registry.address) as found:
        assert hostbuild("push", layout, f"{registry.address}/base:1").code == 0
        yield found


def blobs_verify(cache: Path) -> None:
    for path in (cache / "blobs").rglob("*"):
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_a_tag_costs_one_question_and_a_digest_none(
    hostbuild: Hostbuild, source: Path, proxy: FaultProxy
) -> None:
    build = ("build", source, *PLATFORMS, "--base", f"{proxy.address}/base:1")
    first = hostbuild(*build)
    assert first.code == 0, first.stderr
    before = len(proxy.exchanges)
    assert "up to date" in hostbuild(*build).stderr
    asked = [each.method for each in proxy.exchanges[before:]]
    assert asked == ["GET", "HEAD"]
    images = read_layout(source / ".func/builds/last/oci").images
    named = images["linux/amd64"].manifest["annotations"]["org.opencontainers.image.base.digest"]
    before = len(proxy.exchanges)
    by_digest = ("build", source, *PLATFORMS, "--base", f"{proxy.address}/base@{named}")
    assert hostbuild(*by_digest).code == 0
    assert proxy.exchanges[before:] == [], "all of it is in the cache"


def test_pull_policies_and_offline(hostbuild: Hostbuild, source: Path, proxy: FaultProxy) -> None:
    build = ("build", source, *PLATFORMS, "--base", f"{proxy.address}/base:1")
    hostbuild(*build, "--pull=never").fails(1, "not in the cache", "--pull=missing")
    hostbuild(*build, "--offline").fails(1, "not in the cache", "--offline")
    assert proxy.exchanges == []
    online = hostbuild(*build, "--pull=missing")
    before = len(proxy.exchanges)
    again = [hostbuild(*build, flag) for flag in ("--pull=missing", "--pull=never", "--offline")]
    assert {result.reference for result in again} == {online.reference}
    assert proxy.exchanges[before:] == []


def test_a_dry_run_locks_nothing(hostbuild: Hostbuild, source: Path, proxy: FaultProxy) -> None:
    build = ("build", source, *PLATFORMS, "--base", f"{proxy.address}/base:1", "--lock", "--dry-run")
    result = hostbuild(*build)
    assert result.code == 0, result.stderr
    assert "would be built" in result.stdout
    assert not (source / "hostbuild.lock").exists()


def test_a_lock_and_an_explicit_pull_contradict_each_other(
    hostbuild: Hostbuild, source: Path, proxy: FaultProxy
) -> None:
    build = ("build", source, *PLATFORMS, "--base", f"{proxy.address}/base:1")
    assert hostbuild(*build, "--lock").code == 0
    before = len(proxy.exchanges)
    assert hostbuild(*build).code == 0
    assert proxy.exchanges[before:] == [], "the lock says what the tag is"
    hostbuild(*build, "--pull=always").fails(2, "hostbuild.lock", "--lock")


def test_a_lock_pins_the_tag(hostbuild: Hostbuild, source: Path, proxy: FaultProxy, tmp_path: Path) -> None:
    build = ("build", source, *PLATFORMS, "--base", f"{proxy.address}/base:1")
    hostbuild(*build, "--locked").fails(1, "not locked", "--lock")
    locked = hostbuild(*build, "--lock")
    assert locked.code == 0, locked.stderr
    other = write_base(tmp_path / "other", ["linux/amd64", "linux/arm64", "linux/s390x"])
    hostbuild("push", other, f"{proxy.address}/base:1")
    before = len(proxy.exchanges)
    assert hostbuild(*build, "--locked").reference == locked.reference
    assert proxy.exchanges[before:] == []
    assert hostbuild(*build, "--lock").reference != locked.reference


def test_a_push_to_the_base_s_registry_downloads_and_uploads_none_of_it(
    hostbuild: Hostbuild, source: Path, proxy: FaultProxy, tmp_path: Path
) -> None:
    build = ("build", source, *PLATFORMS, "--base", f"{proxy.address}/base:1", "-t", f"{proxy.address}/app:1")
    before = proxy.downloaded()
    result = hostbuild(*build, "--push")
    assert result.code == 0, result.stderr
    blobs = (tmp_path / "base/blobs/sha256").iterdir()
    layers = {f"sha256:{path.name}" for path in blobs if path.read_bytes()[:2] == b"\x1f\x8b"}
    assert len(layers) == 2
    assert not layers & {digest for digest in proxy.downloaded() if digest not in before}
    assert not layers & set(proxy.uploaded())
    assert not (source / ".func/builds/last").exists(), "last names complete builds only"
    assert "up to date" in hostbuild(*build, "--push").stderr
    elsewhere = hostbuild("push", source, f"{proxy.address}/elsewhere:1")
    assert elsewhere.digest == result.digest, "the newest build is pushed, though it is sparse"
    complete = hostbuild(*build)
    assert complete.reference == result.reference
    assert read_layout(source / ".func/builds/last/oci").digest == result.digest


def test_two_builds_with_one_cold_cache_fetch_each_blob_once(
    hostbuild: Hostbuild, source: Path, proxy: FaultProxy, tmp_path: Path
) -> None:
    second = make_source(tmp_path / "second", HELLO)
    base = ("--base", f"{proxy.address}/base:1", *PLATFORMS)
    running = [hostbuild.start("build", each, *base) for each in (source, second)]
    for process in running:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
    for image in read_layout(source / ".func/builds/last/oci").images.values():
        layer = image.manifest["layers"][0]
        assert proxy.downloaded()[layer["digest"]] == layer["size"]


def test_killed_pulls_and_pushes_leave_nothing_wrong(
    hostbuild: Hostbuild, source: Path, proxy: FaultProxy, tmp_path: Path
) -> None:
    """HOSTBUILD_TEST_KILLS=100 makes it a long test."""
    random = Random(4)
    assert hostbuild("build", source, *PLATFORMS).code == 0  # the compiler's part is cached
    build = ("build", source, *PLATFORMS, "--base", f"{proxy.address}/base:1", "-t", f"{proxy.address}/app:1")
    for _ in range(int(os.environ.get("HOSTBUILD_TEST_KILLS", "6"))):
        process = hostbuild.start(*build, "--push")
        time.sleep(random.uniform(0.05, 0.9))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        blobs_verify(hostbuild.cache)
    result = hostbuild(*build, "--push")
    assert result.code == 0, result.stderr
    blobs_verify(hostbuild.cache)
    Puller(tmp_path / "puller").validate(f"{proxy.address}/app:1")


def test_a_tag_that_is_not_there_and_a_page_that_is_no_registry(
    hostbuild: Hostbuild, source: Path, proxy: FaultProxy
) -> None:
    hostbuild("build", source, "--base", f"{proxy.address}/base:none").fails(1, "base:none")
    hostbuild("build", source, "--base", f"{proxy.address}/nothing:1").fails(1, "nothing:1")


def test_a_mirror_serves_and_one_that_lies_is_passed_over(
    hostbuild: Hostbuild, source: Path, proxy: FaultProxy
) -> None:
    origin = proxy.upstream
    build = ("build", source, *PLATFORMS, "--base", f"{origin}/base:1")
    with FaultProxy(origin) as mirror:
        through = ("--registry-mirror", f"{origin}={mirror.address}")
        direct = hostbuild(*build)
        mirrored = hostbuild(*build, *through, "--cache-dir", hostbuild.home / "second", "--no-cache")
        assert mirrored.reference == direct.reference
        assert mirror.downloaded()
        mirror.on("GET", "/blobs/", faults.wrong_byte(), times=None)
        lied_to = hostbuild(*build, *through, "--cache-dir", hostbuild.home / "third", "--no-cache")
        assert lied_to.reference == direct.reference, lied_to.stderr
        blobs_verify(hostbuild.home / "third")

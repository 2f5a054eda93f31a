"""Builds that end in a registry, seen with other people's clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import faults
from tests.rig.builder import Hostbuild, make_source
from tests.rig.fault_proxy import FaultProxy
from tests.rig.layout import read_layout
from tests.rig.pulling import Puller
from tests.rig.registries import CONFIGURED_KINDS, KINDS, PASSWORD, USER, Kind, Registry
from tests.rig.sources import HELLO
from tests.rig.tls import Authority
from tests.rig.tokens import ALL_ACTIONS, Account, TokenServer

PLATFORMS = ("--platform", "linux/amd64,linux/arm64")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_source(tmp_path / "src", HELLO)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with closing_registry("docker-registry", tmp_path) as found:
        yield found


def closing_registry(kind: Kind, tmp_path: Path) -> Registry:
    directory = tmp_path / f"registry-{kind}"
    directory.mkdir()
    return Registry(kind, directory)


def compare(puller: Puller, name: str, source: Path) -> str:
    """What the registry has under `name` is the layout, digest by digest, and valid to others; its digest."""
    layout = read_layout(source / ".func/builds/last/oci")
    assert puller.digest(name) == layout.digest
    puller.validate(name)
    return layout.digest


@pytest.mark.parametrize("kind", KINDS)
def test_several_tags_are_one_upload(kind: Kind, hostbuild: Hostbuild, source: Path, tmp_path: Path) -> None:
    puller = Puller(tmp_path / "puller")
    with closing_registry(kind, tmp_path) as registry, FaultProxy(registry.address) as proxy:
        name = f"{proxy.address}/team/app"
        result = hostbuild("build", source, *PLATFORMS, "-t", f"{name}:v1", "-t", f"{name}:latest", "--push")
        assert result.reference.startswith(f"{name}@sha256:")
        seen = list(proxy.exchanges)
        digest = compare(puller, f"{name}:v1", source)
        assert digest == result.digest == puller.digest(f"{name}:latest")
        assert max(proxy.uploaded().values()) > 0
        layout = read_layout(source / ".func/builds/last/oci").path
        for digest, size in proxy.uploaded().items():
            if digest.startswith("sha256:"):
                assert size == (layout / "blobs" / digest.replace(":", "/")).stat().st_size, "once each"
        tags = [index for index, each in enumerate(seen) if "/manifests/v1" in each.target]
        blobs = [index for index, each in enumerate(seen) if "/blobs/" in each.target]
        assert max(blobs) < tags[-1], "a tag comes last"


def test_a_push_with_nothing_to_do_is_three_round_trips_a_tag(
    hostbuild: Hostbuild, source: Path, registry: Registry
) -> None:
    with FaultProxy(registry.address) as proxy:
        arguments = ("build", source, *PLATFORMS, "-t", f"{proxy.address}/app:v1", "--push")
        first = hostbuild(*arguments)
        before = len(proxy.exchanges)
        second = hostbuild(*arguments)
        assert second.reference == first.reference
        assert len(proxy.exchanges) - before <= 3


@pytest.mark.parametrize("kind", CONFIGURED_KINDS)
def test_a_login_and_a_certificate_of_ones_own(
    kind: Kind, hostbuild: Hostbuild, source: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    directory = tmp_path / "registry"
    directory.mkdir()
    with Registry(kind, directory, passwords=True, tls=authority) as registry:
        name = f"{registry.address}/team/app:v1"
        build = ("build", source, *PLATFORMS, "-t", name, "--push")
        trust = ("--ca-file", authority.ca_file)
        home = {"HOME": str(tmp_path / "home"), "DOCKER_CONFIG": str(tmp_path / "docker")}
        hostbuild(*build, env=home).fails(1, "certificate", "--ca-file")
        hostbuild(*build, *trust, env=home).fails(1, registry.address, "hostbuild login")
        wrong = hostbuild(
            "login", registry.address, "-u", USER, "--password-stdin", *trust, env=home, stdin="secret-no"
        )
        wrong.fails(1, registry.address)
        assert "secret-no" not in wrong.stderr
        login = hostbuild(
            "login", registry.address, "-u", USER, "--password-stdin", *trust, env=home, stdin=PASSWORD
        )
        assert login.code == 0, login.stderr
        stored = json.loads((tmp_path / "docker/config.json").read_text())
        assert registry.address in stored["auths"]
        result = hostbuild(*build, *trust, env=home)
        assert result.code == 0, result.stderr
        puller = Puller(tmp_path / "puller", login=(USER, PASSWORD), ca_file=authority.ca_file)
        compare(puller, name, source)
        assert hostbuild("logout", registry.address, env=home).code == 0
        assert PASSWORD not in result.stderr
        hostbuild(*build, *trust, env=home).fails(1, "hostbuild login")
        with_variable = hostbuild(*build, *trust, env={**home, "HOSTBUILD_CREDS": f"{USER}:{PASSWORD}"})
        assert with_variable.code == 0, with_variable.stderr


@pytest.mark.parametrize("kind", CONFIGURED_KINDS)
def test_tokens_that_live_for_seconds(kind: Kind, hostbuild: Hostbuild, source: Path, tmp_path: Path) -> None:
    directory = tmp_path / "registry"
    directory.mkdir()
    with (
        TokenServer(accounts={USER: Account(PASSWORD, {"*": ALL_ACTIONS})}, lifetime=2) as tokens,
        Registry(kind, directory, tokens=tokens) as registry,
    ):
        name = f"{registry.address}/team/app:v1"
        creds = {"HOSTBUILD_CREDS": f"{USER}:{PASSWORD}"}
        result = hostbuild("build", source, *PLATFORMS, "-t", name, "--push", env=creds)
        assert result.code == 0, result.stderr
        hostbuild("build", source, *PLATFORMS, "-t", name, "--push").fails(1, "hostbuild login")


def test_what_was_built_is_pushed_later_from_each_place(
    hostbuild: Hostbuild, source: Path, registry: Registry, tmp_path: Path
) -> None:
    archive, layout = tmp_path / "app.tar", tmp_path / "layout"
    built = hostbuild(
        "build",
        source,
        *PLATFORMS,
        "-o",
        f"type=docker,dest={archive}",
        "-o",
        f"type=oci,tar=false,dest={layout}",
    )
    puller = Puller(tmp_path / "puller")
    for number, place in enumerate((source, archive, layout)):
        name = f"{registry.address}/team/app{number}:v1"
        pushed = hostbuild("push", place, name)
        assert pushed.digest == built.digest
        compare(puller, name, source)
    hostbuild("push", tmp_path, f"{registry.address}/x:1").fails(1, "hostbuild build")


def test_native_runners_push_by_digest_and_are_joined(
    hostbuild: Hostbuild, source: Path, registry: Registry, tmp_path: Path
) -> None:
    name = f"{registry.address}/team/app"
    parts = []
    for platform in ("linux/amd64", "linux/arm64"):
        output = f"type=image,name={name},push=true,push-by-digest=true"
        parts.append(hostbuild("build", source, "--platform", platform, "-t", f"{name}:v1", "-o", output))
    puller = Puller(tmp_path / "puller")
    assert puller.digest(f"{name}@{parts[0].digest}") == parts[0].digest
    joined = hostbuild("index", "create", f"{name}:v1", *(part.reference for part in parts))
    assert puller.digest(f"{name}:v1") == joined.digest
    puller.validate(f"{name}:v1")
    index = puller.manifest(f"{name}:v1")
    assert [each["platform"]["architecture"] for each in index["manifests"]] == ["amd64", "arm64"]


def test_what_is_joined_from_another_registry_is_verified(
    hostbuild: Hostbuild, source: Path, registry: Registry, tmp_path: Path
) -> None:
    there = hostbuild("build", source, *PLATFORMS, "-t", f"{registry.address}/app:v1", "--push")
    directory = tmp_path / "other"
    directory.mkdir()
    with Registry("distribution", directory) as other, FaultProxy(registry.address) as proxy:
        source_name = f"{proxy.address}/app@{there.digest}"
        joined = hostbuild("index", "create", f"{other.address}/app:v1", source_name)
        assert joined.code == 0, joined.stderr
        Puller(tmp_path / "puller").validate(f"{other.address}/app:v1")
        proxy.on("GET", "/blobs/", faults.wrong_byte(), times=None)
        spoilt = hostbuild("index", "create", f"{other.address}/spoilt:v1", source_name)
        spoilt.fails(1, "is not what was expected")


def test_one_build_greets_its_registry_once(
    hostbuild: Hostbuild, source: Path, registry: Registry, tmp_path: Path
) -> None:
    """The base's tag, its documents, whether the push may, and the push: one client, one greeting."""
    base = hostbuild("build", source, *PLATFORMS, "-t", f"{registry.address}/base:1", "--push")
    assert base.code == 0, base.stderr
    with FaultProxy(registry.address) as proxy:
        name = f"{proxy.address}/app:1"
        fresh = ("--cache-dir", tmp_path / "cold", "--build-dir", tmp_path / "builds")
        result = hostbuild(
            "build", source, *PLATFORMS, "--base", f"{proxy.address}/base:1", "-t", name, "--push", *fresh
        )
        assert result.code == 0, result.stderr
        assert [each.path for each in proxy.exchanges].count("/v2/") == 1


def test_the_files_that_tell_of_the_result(
    hostbuild: Hostbuild, source: Path, registry: Registry, tmp_path: Path
) -> None:
    files = {name: tmp_path / name for name in ("metadata-file", "iidfile", "digestfile")}
    flags = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    name = f"{registry.address}/app:v1"
    result = hostbuild("build", source, *PLATFORMS, "-t", name, "--push", *flags)
    assert files["digestfile"].read_text() == files["iidfile"].read_text() == result.digest
    metadata = json.loads(files["metadata-file"].read_text())
    assert metadata["containerimage.digest"] == result.digest
    assert metadata["image.name"] == name


def test_a_missing_login_is_found_before_anything_is_compiled(
    hostbuild: Hostbuild, source: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "registry"
    directory.mkdir()
    with Registry("docker-registry", directory, passwords=True) as registry:
        name = f"{registry.address}/app:v1"
        home = {"HOME": str(tmp_path / "home"), "DOCKER_CONFIG": str(tmp_path / "docker")}
        result = hostbuild("build", source, *PLATFORMS, "-t", name, "--push", env=home)
        result.fails(1, registry.address, "hostbuild login")
        assert "building with go" not in result.stderr
        assert not (source / ".func/builds/by-hash").exists()


def test_bad_registries_are_one_clear_error(
    hostbuild: Hostbuild, source: Path, registry: Registry, tmp_path: Path
) -> None:
    def push(name: str, *more: str) -> tuple[int, str]:
        result = hostbuild("build", source, *PLATFORMS, "-t", name, "--push", "--retry-time", "2", *more)
        result.fails(result.code, name.split("/", maxsplit=1)[0])
        return result.code, result.stderr

    assert push("127.0.0.1:9/app:v1")[0] == 75
    code, text = push("no-such-host.invalid/app:v1")
    assert code == 75
    assert "resolve" in text
    directory = tmp_path / "tls"
    directory.mkdir()
    with Registry("docker-registry", directory, tls=Authority(tmp_path / "ca")) as secure:
        assert push(f"{secure.address}/app:v1")[0] == 1


def test_a_build_that_came_from_elsewhere_is_pushed_with_a_warning(
    hostbuild: Hostbuild, source: Path, registry: Registry, tmp_path: Path
) -> None:
    """A checkout can bring one along; so can a pipeline that hands its artifacts on, which has to work."""
    hostbuild("build", source, *PLATFORMS, "-t", "registry.example/app:v1")
    own = hostbuild("push", source, f"{registry.address}/app:v1")
    assert "unverified" not in own.stderr
    elsewhere = {"HOSTBUILD_CACHE_DIR": str(tmp_path / "other-cache")}
    foreign = hostbuild("push", source, f"{registry.address}/app:v2", env=elsewhere)
    assert foreign.digest == own.digest
    assert "warning: the build in" in foreign.stderr
    assert "it was not made here by this user" in foreign.stderr
    assert not (tmp_path / "other-cache").exists()

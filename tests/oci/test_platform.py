from __future__ import annotations

import os
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import InvalidDocumentError, InvalidPlatformError
from hostbuild.oci.platform import (
    DEFAULT_PLATFORMS,
    Platform,
    local_platform,
    parse_platforms,
    require_linux,
)
from hostbuild.oci.platform_names import ALIASES, KNOWN_ARCHITECTURES, KNOWN_OS, VARIANTS
from tests.oci.samples import assert_explains
from tests.oci.strategies import JSON


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("Linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("linux/arm64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
        ("linux/arm64/v8.2", "linux/arm64/v8.2"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("linux/arm/v8", "linux/arm/v8"),
        ("linux/i386", "linux/386"),
        ("linux/ppc64le", "linux/ppc64le"),
        ("linux/riscv64/rva22u64", "linux/riscv64/rva22u64"),
        ("linux/s390x", "linux/s390x"),
        ("windows/amd64", "windows/amd64"),
        ("macOS/arm64", "darwin/arm64"),
        ("wasip1/wasm", "wasip1/wasm"),
        ("arm64", "linux/arm64"),
        ("armhf", "linux/arm/v7"),
    ],
)
def test_spellings(text: str, printed: str) -> None:
    platform = Platform.parse(text)
    assert str(platform) == printed
    assert Platform.parse(printed) == platform


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "linux/amd64"),
        ("linux", "linux/amd64"),
        ("linux/", "linux/amd64"),
        ("/linux/arm", "linux/amd64"),
        ("linux/arm/", "linux/amd64"),
        ("linux/arm/v7/x", "linux/arm/v7"),
        ("linux/amd64\n", "linux/amd64"),
        ("linux /arm", "linux/amd64"),
        ("linux/&arm", "linux/amd64"),
        ("*", "linux/amd64"),
        ("linux/*", "linux/amd64"),
        ("linux/amd46", "linux/amd64"),
        ("linux/x86", "linux/386 or linux/amd64"),
        ("linux/x64", "linux/amd64"),
        ("linux/armv7l", "linux/arm/v7"),
        ("linux/arm64v8", "linux/arm64"),
        ("arm64v8", "linux/arm64"),
        ("arm32v7", "linux/arm/v7"),
        ("amd46", "linux/amd64"),
        ("arm64/v8", "linux/arm64/v8"),
        ("linus/amd64", "linux/amd64"),
        ("linux/arm/v9", "linux/arm/v5"),
        ("linux/arm64/v7", "linux/arm64/v"),
        ("linux/amd64/v5", "linux/amd64/v"),
        ("linux/s390x/z13", "linux/s390x"),
        ("linux/i386/v1", "linux/386"),
        ("linux/armhf/v6", "linux/arm/v7"),
        ("linux/ar\u212a", "linux/amd64"),
    ],
)
def test_bad_ones_say_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(InvalidPlatformError) as caught:
        Platform.parse(text)
    assert repr(text) in caught.value.what
    assert caught.value.why
    assert advice in caught.value.fix
    assert caught.value.exit_code == 2


KNOWN = st.tuples(
    st.sampled_from(sorted(KNOWN_OS)),
    st.sampled_from(sorted(KNOWN_ARCHITECTURES | set(ALIASES))),
).flatmap(
    lambda pair: st.sampled_from(VARIANTS.get(pair[1], ("",))).map(
        lambda variant: "/".join(part for part in (*pair, variant) if part)
    )
)


@given(KNOWN)
def test_all_known_ones_parse_and_print_stably(text: str) -> None:
    platform = Platform.parse(text)
    assert Platform.parse(str(platform)) == platform
    assert str(Platform.parse(str(platform))) == str(platform)
    assert Platform.parse(text.upper()) == platform
    assert Platform.from_json(platform.to_json()) == platform
    assert platform.matches(platform)
    assert platform.runs(platform)


@given(st.text() | st.text(alphabet="linuxarmd64v78/_.-", max_size=20))
def test_any_text_is_a_known_platform_or_the_typed_error(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except InvalidPlatformError as error:
        assert_explains(error)
        return
    assert platform.os in KNOWN_OS
    assert platform.architecture in KNOWN_ARCHITECTURES


def test_several() -> None:
    assert list(map(str, parse_platforms(["linux/amd64,linux/arm64", "linux/arm/v7"]))) == [
        "linux/amd64",
        "linux/arm64",
        "linux/arm/v7",
    ]
    assert parse_platforms(["linux/arm64/v8, linux/amd64", "linux/aarch64"]) == parse_platforms(
        ["linux/arm64,linux/amd64"]
    )
    assert parse_platforms(["linux/amd64,linux/arm64,linux/arm/v7"]) == DEFAULT_PLATFORMS


@pytest.mark.parametrize("texts", [[], [""], ["linux/amd64,"], [",linux/amd64"], ["linux/amd64,,linux/arm"]])
def test_an_empty_one_is_refused(texts: list[str]) -> None:
    with pytest.raises(InvalidPlatformError) as caught:
        parse_platforms(texts)
    assert_explains(caught.value)


def test_only_linux_is_built() -> None:
    require_linux(Platform.parse("linux/s390x"))
    with pytest.raises(InvalidPlatformError, match="linux only") as caught:
        require_linux(Platform.parse("windows/arm64"))
    assert "linux/arm64" in caught.value.fix


def test_equality_order_and_hash() -> None:
    v8 = Platform("linux", "arm64", "v8")
    assert v8 == Platform.parse("linux/arm64") == Platform("linux", "aarch64", extra={"features": ["x"]})
    assert len({v8, Platform.parse("linux/arm64")}) == 1
    assert min(Platform("linux", "arm"), v8, Platform("linux", "amd64")).architecture == "amd64"
    assert pickle.loads(pickle.dumps(v8)) == v8


@pytest.mark.parametrize(
    ("machine", "other", "runs"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64/v3", "linux/amd64", True),
        ("linux/amd64", "linux/amd64/v2", False),
        ("linux/amd64", "linux/386", False),
        ("linux/arm/v7", "linux/arm/v6", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm64", "linux/arm/v7", False),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64/v9", "linux/arm64", True),
        ("linux/arm64/v9", "linux/arm64/v8.9", False),
        ("linux/amd64", "windows/amd64", False),
    ],
)
def test_what_runs_where(machine: str, other: str, runs: bool) -> None:
    assert Platform.parse(machine).runs(Platform.parse(other)) is runs


def test_matching_looks_at_a_version_only_where_both_have_one() -> None:
    plain = Platform("windows", "amd64")
    old, new = (Platform("windows", "amd64", os_version=version) for version in ("10.0.1", "10.0.2"))
    assert plain.matches(old)
    assert old.matches(plain)
    assert not old.matches(new)


@pytest.mark.parametrize(
    ("system", "machine", "printed"),
    [
        ("Linux", "x86_64", "linux/amd64"),
        ("Linux", "aarch64", "linux/arm64"),
        ("Linux", "armv7l", "linux/arm/v7"),
        ("Linux", "armv6l", "linux/arm/v6"),
        ("Linux", "armv8l", "linux/arm/v7"),
        ("Linux", "i686", "linux/386"),
        ("Linux", "riscv64", "linux/riscv64"),
        ("Darwin", "arm64", "darwin/arm64"),
    ],
)
def test_this_machine(system: str, machine: str, printed: str) -> None:
    assert str(local_platform(system, machine)) == printed


def test_an_unknown_machine() -> None:
    with pytest.raises(InvalidPlatformError, match="abacus"):
        local_platform("Linux", "abacus")


def test_slugs() -> None:
    assert [platform.slug for platform in DEFAULT_PLATFORMS] == ["linux-amd64", "linux-arm64", "linux-arm-v7"]
    assert Platform("a-b", "c").slug != Platform("a", "b-c").slug != Platform("a", "b", "c").slug


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_a_slug_is_one_file_name(system: str, architecture: str) -> None:
    slug = Platform(system, architecture).slug
    assert os.path.basename(slug) == slug
    assert slug not in {"", ".", ".."}
    assert slug.isascii()
    assert "\0" not in slug


def test_json_keeps_what_it_does_not_know() -> None:
    document = {
        "os": "windows",
        "architecture": "amd64",
        "os.version": "10.0",
        "os.features": ["win32k"],
        "features": ["sse4"],
    }
    assert Platform.from_json(document).to_json() == document
    unknown = {"os": "unknown", "architecture": "unknown"}
    assert Platform.from_json(unknown).to_json() == unknown


@given(JSON | st.fixed_dictionaries({"os": JSON, "architecture": JSON, "variant": JSON, "os.features": JSON}))
def test_hostile_json(document: Any) -> None:
    try:
        Platform.from_json(document)
    except InvalidDocumentError as error:
        assert_explains(error)

"""Which go command is taken, how its version is known, and what it is started with."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hostbuild.errors import ToolError, ToolMissingError, UsageError
from hostbuild.languages.go import toolchain
from hostbuild.oci.platform import Platform


def executable(path: Path, text: str = "#!/bin/sh\nexit 3\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def tree(root: Path, version: str, settings: str = "") -> Path:
    """A Go tree with a go command that must not be started."""
    executable(root / "bin" / "go")
    (root / "VERSION").write_text(f"{version}\ntime 2026-01-01T00:00:00Z\n")
    (root / "go.env").write_text(settings)
    return root


class Probe:
    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.calls = 0

    def __call__(self, argv: Sequence[str], cwd: str, environment: Mapping[str, str]) -> str:
        assert argv[1:] == ("version",)
        assert environment["GOTOOLCHAIN"] == "local"
        self.calls += 1
        return self.answer


@pytest.fixture(autouse=True)
def no_packaged_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])


def test_func_go_comes_before_path(tmp_path: Path) -> None:
    first = tree(tmp_path / "first", "go1.25.1")
    second = tree(tmp_path / "second", "go1.26.2")
    environment = {"PATH": str(second / "bin")}
    assert toolchain.find(environment, cwd="/").version == "go1.26.2"
    environment["FUNC_GO"] = str(first / "bin" / "go")
    found = toolchain.find(environment, cwd="/")
    assert (found.go, found.version) == (str(first / "bin" / "go"), "go1.25.1")


def test_func_go_may_be_a_name_in_path(tmp_path: Path) -> None:
    executable(tmp_path / "bin" / "go1.25")
    assert toolchain.locate({"PATH": str(tmp_path / "bin"), "FUNC_GO": "go1.25"}).endswith("go1.25")


def test_a_func_go_that_is_not_there_is_named(tmp_path: Path) -> None:
    tree(tmp_path, "go1.26.2")
    with pytest.raises(ToolMissingError, match="no-such-go") as caught:
        toolchain.locate({"PATH": str(tmp_path / "bin"), "FUNC_GO": "no-such-go"})
    assert "FUNC_GO" in caught.value.why


def test_links_lead_to_the_tree_and_no_process_is_started(tmp_path: Path) -> None:
    real = tree(tmp_path / "lib" / "go-1.26", "go1.26.8")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "go").symlink_to(real / "bin" / "go")
    probe = Probe("")
    found = toolchain.find({"PATH": str(tmp_path / "bin")}, cwd="/", probe=probe)
    assert (found.version, probe.calls, found.memo) == ("go1.26.8", 0, {})


def test_the_package_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    with pytest.raises(ToolMissingError) as caught:
        toolchain.locate({"PATH": str(tmp_path / "empty")})
    assert "hostbuild[go]" in caught.value.fix
    packaged = tree(tmp_path / "site" / "go", "go1.27.1")
    assert toolchain.find({"PATH": ""}, cwd="/").version == "go1.27.1"
    other = tree(tmp_path / "other", "go1.26.1")
    assert toolchain.find({"PATH": str(other / "bin")}, cwd="/").version == "go1.26.1"
    script = executable(tmp_path / "venv" / "bin" / "go", f"#!{sys.executable}\n")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    assert toolchain.locate({"PATH": str(script.parent)}) == str(packaged / "bin" / "go")


def test_a_wrapper_is_asked_once_for_as_long_as_it_stays_the_same(tmp_path: Path) -> None:
    wrapper = executable(tmp_path / "go")
    environment = {"PATH": str(tmp_path)}
    probe = Probe("go version go1.26.8 linux/amd64\n")
    first = toolchain.find(environment, cwd="/", probe=probe)
    again = toolchain.find(environment, cwd="/", probe=probe, memo=first.memo)
    assert (first.version, again.version, probe.calls) == ("go1.26.8", "go1.26.8", 1)
    assert again.memo == first.memo
    executable(wrapper, "#!/bin/sh\nexit 4 # another\n")
    toolchain.find(environment, cwd="/", probe=probe, memo=first.memo)
    assert probe.calls == 2


def test_a_version_managers_shim_is_asked_every_time(tmp_path: Path) -> None:
    executable(tmp_path / "shims" / "go")
    probe = Probe("go version go1.26.8 linux/amd64\n")
    found = toolchain.find({"PATH": str(tmp_path / "shims")}, cwd="/", probe=probe)
    toolchain.find({"PATH": str(tmp_path / "shims")}, cwd="/", probe=probe, memo=found.memo)
    assert probe.calls == 2


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("go version go1.27rc1 linux/arm64", "go1.27rc1"),
        ("go version go1.26.8-X:nodwarf5 linux/amd64", "go1.26.8-X:nodwarf5"),
        ("go version devel go1.28-4d5bb9c609 Thu Oct 1 2026 linux/amd64", "go1.28-4d5bb9c609"),
    ],
)
def test_versions_are_read_as_go_prints_them(tmp_path: Path, printed: str, version: str) -> None:
    executable(tmp_path / "go")
    assert toolchain.find({"PATH": str(tmp_path)}, cwd="/", probe=Probe(printed)).version == version


def test_a_go_that_tells_no_version_is_an_error_with_its_output(tmp_path: Path) -> None:
    executable(tmp_path / "go")
    with pytest.raises(ToolError) as caught:
        toolchain.find({"PATH": str(tmp_path)}, cwd="/", probe=Probe("Segmentation fault"))
    assert "Segmentation fault" in caught.value.detail


def test_settings_come_from_the_environment_then_go_env_then_the_tree(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "go", "go1.26.8", "# defaults\nGOTOOLCHAIN=local\nGOFLAGS=-tags=tree\nGODEBUG=a=1\n"
    )
    config = tmp_path / "config" / "go" / "env"
    config.parent.mkdir(parents=True)
    config.write_text("GOFLAGS=-tags=user\nGOEXPERIMENT=jsonv2\n")
    environment = {
        "PATH": str(root / "bin"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "GOEXPERIMENT": "x",
    }
    found = toolchain.find(environment, cwd="/")
    variables = toolchain.byte_variables(found, (("GODEBUG", "b=2"),))
    assert variables == {
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-tags=user",
        "GOEXPERIMENT": "x",
        "GODEBUG": "b=2",
    }
    off = toolchain.find({**environment, "GOENV": "off"}, cwd="/")
    assert off.setting("GOFLAGS") == "-tags=tree"


def test_where_modules_are_fetched_from_decides_no_bytes(tmp_path: Path) -> None:
    root = tree(tmp_path, "go1.26.8")
    environment = {"PATH": str(root / "bin"), "GOPROXY": "off", "GOPRIVATE": "example.com", "GONOSUMDB": "x"}
    assert toolchain.byte_variables(toolchain.find(environment, cwd="/"), ()) == {}


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux/amd64", {"GOARCH": "amd64", "GOAMD64": "v1"}),
        ("linux/amd64/v3", {"GOARCH": "amd64", "GOAMD64": "v3"}),
        ("linux/arm64", {"GOARCH": "arm64", "GOARM64": "v8.0"}),
        ("linux/arm64/v9", {"GOARCH": "arm64", "GOARM64": "v9.0"}),
        ("linux/arm", {"GOARCH": "arm", "GOARM": "7"}),
        ("linux/arm/v6", {"GOARCH": "arm", "GOARM": "6"}),
        ("linux/riscv64", {"GOARCH": "riscv64", "GORISCV64": "rva20u64"}),
    ],
)
def test_a_platform_pins_what_the_user_has_set(platform: str, expected: dict[str, str]) -> None:
    user = {"GOOS": "plan9", "GOARCH": "386", "GOAMD64": "v4", "GOARM": "5", "CGO_ENABLED": "1", "HOME": "/h"}
    complete = toolchain.tool_environment(user, (("CGO_ENABLED", "1"), ("GREETING", "hi")))
    found = toolchain.platform_environment(complete, Platform.parse(platform), cwd="/src")
    assert expected.items() <= found.items()
    assert (found["GOOS"], found["CGO_ENABLED"], found["GO111MODULE"]) == ("linux", "0", "on")
    assert (found["HOME"], found["GREETING"], found["PWD"]) == ("/h", "hi", "/src")
    assert ("GOARM" in found) == platform.startswith("linux/arm/") or platform == "linux/arm"


def test_a_variant_that_go_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="linux/arm/v8"):
        toolchain.platform_environment({}, Platform("linux", "arm", "v8"), cwd="/")


def test_goflags_are_split_as_go_does() -> None:
    found = toolchain.flag_values("-v  '-ldflags=-s -w' \"-tags=a,b\" --mod=mod -pgo=off")
    assert found == {"v": "true", "ldflags": "-s -w", "tags": "a,b", "mod": "mod", "pgo": "off"}
    with pytest.raises(UsageError, match="quote"):
        toolchain.flag_values("'-ldflags=-s")


@pytest.mark.parametrize("wanted", ["1.27", "1.26.9", "1.27rc1"])
def test_a_newer_go_that_may_not_be_fetched_is_an_error(tmp_path: Path, wanted: str) -> None:
    root = tree(tmp_path, "go1.26.8", "GOTOOLCHAIN=local\n")
    found = toolchain.find({"PATH": str(root / "bin")}, cwd="/")
    with pytest.raises(ToolError, match=f"go.mod asks for Go {wanted}, here is go1.26.8"):
        toolchain.check_version(found, wanted, "go.mod")
    free = toolchain.find({"PATH": str(root / "bin"), "GOTOOLCHAIN": "auto"}, cwd="/")
    toolchain.check_version(free, wanted, "go.mod")


@pytest.mark.parametrize("wanted", ["", "1.9", "1.21", "1.26", "1.26.8", "1.26rc1"])
def test_a_go_that_is_new_enough_is_none(tmp_path: Path, wanted: str) -> None:
    root = tree(tmp_path, "go1.26.8", "GOTOOLCHAIN=local\n")
    toolchain.check_version(toolchain.find({"PATH": str(root / "bin")}, cwd="/"), wanted, "go.mod")


def test_an_unreadable_settings_file_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path, "go1.26.8")
    config = tmp_path / "settings"
    config.mkdir()  # reading a directory fails for root, too
    with pytest.raises(ToolError, match="settings"):
        toolchain.find({"PATH": str(root / "bin"), "GOENV": os.fspath(config)}, cwd="/")

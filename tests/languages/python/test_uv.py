"""Where uv is, and what its failures mean."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hostbuild.errors import (
    DependenciesError,
    HostbuildError,
    OfflineError,
    ToolError,
    ToolMissingError,
    UnreachableError,
)
from hostbuild.languages.python.inputs import find_inputs
from hostbuild.languages.python.locking import lock
from hostbuild.languages.python.uv import explain, find_uv
from hostbuild.process.command import Completed
from tests.languages.python.made import THREE, write


def tool(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """This Python has no uv package."""
    monkeypatch.setitem(sys.modules, "uv", None)


def test_the_order_of_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, in_path = tool(tmp_path / "my-uv"), tool(tmp_path / "bin" / "uv")
    package = types.ModuleType("uv")
    monkeypatch.setattr(package, "find_uv_bin", lambda: "/packaged/uv", raising=False)
    monkeypatch.setitem(sys.modules, "uv", package)
    path = str(in_path.parent)
    assert find_uv({"HOSTBUILD_UV": str(named), "PATH": path}) == str(named)
    assert find_uv({"HOSTBUILD_UV": "uv", "PATH": path}) == str(in_path)
    assert find_uv({"HOSTBUILD_UV": "", "PATH": path}) == str(in_path)
    assert find_uv({"PATH": str(tmp_path)}) == "/packaged/uv"
    with pytest.raises(ToolMissingError, match="HOSTBUILD_UV names it"):
        find_uv({"HOSTBUILD_UV": str(tmp_path / "none"), "PATH": path})


def test_none_says_how_to_get_it(no_package: None) -> None:
    with pytest.raises(ToolMissingError) as caught:
        find_uv({"PATH": "/nowhere"})
    assert caught.value.fix.startswith("pip install 'hostbuild[python]'")


def test_a_package_without_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise FileNotFoundError("uv")

    package = types.ModuleType("uv")
    package.find_uv_bin = missing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uv", package)
    with pytest.raises(ToolMissingError, match="no uv command was found"):
        find_uv({"PATH": "/nowhere"})


def test_the_package_of_this_python_has_it() -> None:
    assert os.access(find_uv({"PATH": "/nowhere"}), os.X_OK)


NO_SOLUTION = (
    "error: No solution found when resolving dependencies\n"
    "  cause: Because a was not found in the package registry and you require a, we can conclude.\n"
)
DNS = "error: Failed to fetch: `https://h.example`\n  cause: dns error"
DISABLED = NO_SOLUTION + "\nhint: the network was disabled"
NOT_BUILT = "error: Failed to build `a==1`\n  cause: no compiler"


@pytest.mark.parametrize(
    ("detail", "offline", "kind", "why", "fix"),
    [
        (NO_SOLUTION, False, DependenciesError, "Because a was not found", "name the index that has it"),
        (
            NO_SOLUTION + "\nhint: the network was disabled",
            True,
            OfflineError,
            "not in uv's cache",
            "--offline",
        ),
        (
            "error: Failed to fetch: `https://h.example`\n  cause: dns error",
            False,
            UnreachableError,
            "",
            "network",
        ),
        ("error: x\n  cause: error sending request for url", False, UnreachableError, "x", "network"),
        ("error: status: 503 Service Unavailable", False, UnreachableError, "503", "network"),
        ("error: status: 401 Unauthorized", False, DependenciesError, "401", "~/.netrc"),
        (
            NO_SOLUTION + "\nhint: The index https://h.example could not be queried (401 Unauthorized).",
            False,
            DependenciesError,
            "The index https://h.example could not be queried (401 Unauthorized).",
            "~/.netrc",
        ),
        (
            "error: unexpected argument '--format' found",
            False,
            ToolMissingError,
            "unexpected",
            "hostbuild[python]",
        ),
        (
            "error: Failed to build `a==1`\n  cause: no compiler",
            False,
            DependenciesError,
            "Failed",
            "with a wheel",
        ),
        ("something else", False, DependenciesError, "uv pip failed", "change what is asked for"),
    ],
)
def test_what_a_failure_means(
    detail: str, offline: bool, kind: type[HostbuildError], why: str, fix: str
) -> None:
    found = explain(ToolError("uv pip failed", detail=detail), "it cannot be done", offline=offline)
    assert type(found) is kind
    assert why in found.why
    assert fix in found.fix
    said = f"{found.why}\n{found.detail}"
    assert all(line.partition(": ")[2] in said for line in detail.splitlines() if line.startswith("  cause"))
    assert not any(line in found.detail for line in found.why.splitlines())
    assert "\nerror:" not in f"\n{found.detail}"


SECRET = "s3cr3t-w0rd"


def test_no_secret_is_in_an_error_in_the_arguments_or_left_on_disk(tmp_path: Path) -> None:
    lines = ["-i https://me:${PW}@i.example/simple", "a @ https://me:${PW}@h.example/a.zip"]
    write(tmp_path, {"project/requirements.txt": "\n".join(lines)})
    tool(tmp_path / "bin" / "uv")
    work = tmp_path / "work"
    work.mkdir()
    seen: list[Sequence[str]] = []

    def run(argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Completed:
        seen.append(argv)
        assert env["UV_DEFAULT_INDEX"] == f"https://me:{SECRET}@i.example/simple"
        assert os.stat(cwd).st_mode & 0o077 == 0
        raise ToolError(
            "uv failed", detail=f"error: cannot get https://me:{SECRET}@h.example/a.zip; {SECRET}, {SECRET}2"
        )

    environment = {"PATH": str(tmp_path / "bin"), "PW": SECRET, "UV_INDEX_X_PASSWORD": SECRET + "2"}
    inputs = find_inputs(str(tmp_path / "project"), environment=environment)
    with pytest.raises(DependenciesError) as caught:
        lock(inputs, THREE, environment=environment, work=str(work), run=run)
    error = caught.value
    assert SECRET not in f"{error} {error.fix} {error.detail} {error.extra}"
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert "***" in f"{error.why} {error.detail}"
    assert SECRET not in str(seen)
    assert list(work.iterdir()) == []


def test_a_uv_that_leaves_out_hashes_is_too_old(tmp_path: Path) -> None:
    write(tmp_path, {"requirements.txt": "a\n"})
    tool(tmp_path / "bin" / "uv")

    def run(argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Completed:
        wheel = '{url = "https://h.example/a-1-py3-none-any.whl", hashes = {}}'
        package = f'[[packages]]\nname = "a"\nversion = "1"\nwheels = [{wheel}]\n'
        Path(cwd, "pylock.toml").write_text(f'lock-version = "1.0"\ncreated-by = "uv"\n{package}')
        return Completed(0, "")

    environment = {"PATH": str(tmp_path / "bin")}
    inputs = find_inputs(str(tmp_path), environment=environment)
    with pytest.raises(DependenciesError, match="At least one hash") as caught:
        lock(inputs, THREE, environment=environment, work=str(tmp_path), run=run)
    assert caught.value.fix.startswith("use a newer uv: pip install 'hostbuild[python]'")

"""What a Go project is told to be, and what its key is made of. No go command is started."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import DetectionError, ToolError, UsageError
from hostbuild.languages.base import Inspection, Project
from hostbuild.languages.go import LANGUAGE
from hostbuild.languages.go.inspection import executable_name
from hostbuild.oci.platform import Platform
from tests.languages import go_project
from tests.languages.go_project import PLAIN, write

MAIN = "package main\n\nfunc main() {}\n"


def never(argv: Sequence[str], cwd: str, environment: Mapping[str, str]) -> str:
    raise AssertionError(f"{argv} was started")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A Go of a known version, and no settings but these."""
    tree = tmp_path / "go-tree"
    write(tree, {"bin/go": "", "VERSION": "go1.26.8\n", "go.env": "GOTOOLCHAIN=local\n"})
    (tree / "bin" / "go").chmod(0o755)
    return {"PATH": str(tree / "bin"), "HOME": str(tmp_path), "GOWORK": "off"}


def look(root: Path, environment: Mapping[str, str], **settings: Any) -> Inspection:
    return go_project.inspect(
        root,
        settings.pop("platforms", "linux/amd64,linux/arm64"),
        environment=environment,
        probe=never,
        **settings,
    )


def key(found: Inspection) -> str:
    return json.dumps([found.recipe, [[each.label, each.digest] for each in found.inputs]], sort_keys=True)


@pytest.fixture
def function(tmp_path: Path) -> Path:
    return write(tmp_path / "src", {"go.mod": "module example.com/f\n\ngo 1.21\n", "handle.go": PLAIN})


def test_a_function_is_started_by_its_command(function: Path, environment: dict[str, str]) -> None:
    found = look(function, environment)
    assert (found.kind, found.name, found.language, found.ships_source) == ("function", "f", "go", True)
    assert (found.entrypoint, found.cmd) == ((), ("/func/f",))
    assert found.env == (("LISTEN_ADDRESS", "[::]:8080"),)
    assert found.needs_certificates
    assert "static-http" in found.summary
    assert [each.label for each in found.inputs] == ["go.mod", "handle.go"]
    assert found.warnings == ()


def test_two_checkouts_have_one_key_and_no_path_in_it(
    tmp_path: Path, function: Path, environment: dict[str, str]
) -> None:
    other = write(
        tmp_path / "deep" / "er",
        {path.name: path.read_text() for path in function.iterdir() if path.is_file()},
    )
    assert key(look(function, environment)) == key(
        look(other, {**environment, "GOPROXY": "off", "USER": "u"})
    )
    assert str(tmp_path) not in key(look(function, environment))


@pytest.mark.parametrize(
    "change",
    [
        {"environment": {"GOFLAGS": "-tags=x"}},
        {"environment": {"GOEXPERIMENT": "jsonv2"}},
        {"build_env": (("ANY", "thing"),)},
        {"options": {"ldflags": "-s"}},
        {"options": {"tags": "a"}},
    ],
    ids=str,
)
def test_what_changes_the_bytes_changes_the_key(
    function: Path, environment: dict[str, str], change: dict[str, Any]
) -> None:
    before = look(function, environment)
    change = dict(change)
    after = look(function, {**environment, **change.pop("environment", {})}, **change)
    assert key(before) != key(after)


def test_an_edit_of_a_replaced_module_changes_the_key(
    tmp_path: Path, function: Path, environment: dict[str, str]
) -> None:
    lib = write(tmp_path / "lib", {"go.mod": "module l\n", "l.go": "package l\n"})
    write(
        function,
        {
            "go.mod": "module f\n\ngo 1.21\nrequire l v0.0.0\nreplace l => ../lib\n",
            "more.go": 'package function\n\nimport _ "l"\n',
        },
    )
    before = look(function, environment)
    assert "../lib/l.go" in [each.label for each in before.inputs]
    write(lib, {"l.go": "package l\n\nconst X = 1\n"})
    assert key(before) != key(look(function, environment))


def test_values_of_build_variables_are_not_in_the_recipe_but_reach_go(
    function: Path, environment: dict[str, str]
) -> None:
    found = look(function, environment, build_env=(("TOKEN", "very-secret"), ("GOPRIVATE", "example.com")))
    assert "very-secret" not in key(found)
    assert found.environment["TOKEN"] == "very-secret"
    assert "very-secret" not in repr(found)


def test_a_profile_named_in_goflags_is_an_input(function: Path, environment: dict[str, str]) -> None:
    write(function, {"cpu.prof": "samples"})
    found = look(function, {**environment, "GOFLAGS": "-pgo=cpu.prof"})
    assert "cpu.prof" in [each.label for each in found.inputs]


@pytest.mark.parametrize("flag", ["-overlay=o.json", "-modfile=other.mod"])
def test_flags_whose_files_would_not_be_seen_are_refused(
    function: Path, environment: dict[str, str], flag: str
) -> None:
    with pytest.raises(UsageError, match=flag.partition("=")[0]):
        look(function, {**environment, "GOFLAGS": flag})


def test_mod_mod_would_write_into_the_source(function: Path, environment: dict[str, str]) -> None:
    found = look(function, {**environment, "GOFLAGS": "-mod=mod"})
    assert found.recipe["mod"] == "readonly"
    assert any("-mod=readonly" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("example.com/tool", "tool"),
        ("example.com/tool/v2", "tool"),
        ("example.com/tool/v2/cmd/x", "x"),
        ("example.com/v1", "v1"),
        ("gopkg.in/tool.v3", "tool.v3"),
        ("v2", "v2"),
    ],
)
def test_a_program_is_called_what_go_calls_it(path: str, name: str) -> None:
    assert executable_name(path) == name


def test_a_package_below_finds_its_own_go_mod(tmp_path: Path, environment: dict[str, str]) -> None:
    root = write(
        tmp_path / "src",
        {
            "go.mod": "module example.com/all\n\ngo 1.21\n",
            "cmd/server/main.go": MAIN,
            "nested/go.mod": "module example.com/own/v3\n\ngo 1.21\n",
            "nested/main.go": MAIN,
        },
    )
    server = look(root, environment, package="./cmd/server")
    assert (server.name, server.recipe["module"], server.recipe["package"]) == ("server", ".", "cmd/server")
    nested = look(root, environment, package="nested")
    assert (nested.name, nested.recipe["module"]) == ("own", "nested")
    above = look(root / "cmd" / "server", environment)
    assert (above.name, above.recipe["module"]) == ("server", "../..")


def test_programs_below_are_offered_with_the_exact_flag(tmp_path: Path, environment: dict[str, str]) -> None:
    root = write(
        tmp_path / "src",
        {
            "go.mod": "module m\n\ngo 1.21\n",
            "lib.go": "package lib\n",
            "cmd/one/main.go": MAIN,
            "cmd/two/two_test.go": "package main\n",
            "cmd/two/gen.go": "//go:build ignore\n\npackage other\n",
            "cmd/two/main.go": MAIN,
            "tool/main.go": MAIN,
            "inner/inner.go": "package inner\n",
        },
    )
    with pytest.raises(DetectionError) as caught:
        look(root, environment)
    assert "./cmd/one, ./cmd/two, ./tool" in caught.value.what
    assert "--package ./cmd/one" in caught.value.fix
    with pytest.raises(DetectionError, match=r"cmd/three") as caught:
        look(root, environment, package="./cmd/three")
    assert "--package ./cmd/two" in caught.value.fix


@pytest.mark.parametrize("package", ["../other", "/etc", "cmd/../../x"])
def test_a_package_outside_is_refused(function: Path, environment: dict[str, str], package: str) -> None:
    with pytest.raises(UsageError, match="is not below"):
        look(function, environment, package=package)


def test_a_platform_that_go_lacks_is_refused_before_any_build(
    function: Path, environment: dict[str, str]
) -> None:
    with pytest.raises(UsageError, match="arm/v8"):
        LANGUAGE.inspect(
            Project(
                root=str(function),
                platforms=(Platform("linux", "arm", "v8"),),
                environment=environment,
                digest_file=go_project.sha256,
            )
        )


def test_a_newer_go_than_there_is(function: Path, environment: dict[str, str]) -> None:
    write(function, {"go.mod": "module f\n\ngo 1.99\n"})
    with pytest.raises(ToolError, match=r"go\.mod asks for Go 1\.99, here is go1\.26\.8"):
        look(function, environment)
    assert look(function, {**environment, "GOTOOLCHAIN": "auto"}).kind == "function"


def test_cgo_is_warned_of(tmp_path: Path, environment: dict[str, str]) -> None:
    root = write(
        tmp_path / "src",
        {
            "go.mod": "module example.com/c\n\ngo 1.21\n",
            "main.go": 'package main\n\nimport _ "example.com/c/fast"\n\nfunc main() {}\n',
            "fast/fast.go": "package fast\n",
            "fast/fast_c.go": 'package fast\n\nimport "C"\n',
        },
    )
    (warning,) = look(root, environment).warnings
    assert "example.com/c/fast needs cgo" in warning


def test_a_workspace_with_vendor_is_refused_for_a_function(
    tmp_path: Path, function: Path, environment: dict[str, str]
) -> None:
    write(
        tmp_path,
        {
            "go.work": "go 1.22\n\nuse ./src\n",
            "vendor/modules.txt": "## workspace\n",
            "src/go.mod": "module f\n\ngo 1.22\n",
        },
    )
    with pytest.raises(UsageError, match="vendor") as caught:
        look(function, {**environment, "GOWORK": ""})
    assert "GOFLAGS=-mod=readonly" in caught.value.fix
    assert look(function, {**environment, "GOWORK": "", "GOFLAGS": "-mod=readonly"}).recipe["workspace"]
    assert not look(function, environment).recipe["workspace"]


def test_the_readable_name_of_a_file_that_is_not_utf8(function: Path, environment: dict[str, str]) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    write(
        function,
        {name: "x", "embed.go": 'package function\n\nimport _ "embed"\n\n//go:embed *.txt\nvar x string\n'},
    )
    assert json.dumps(key(look(function, environment))).isascii()


def test_a_replaced_middleware_is_an_input(function: Path, environment: dict[str, str]) -> None:
    write(
        function,
        {
            "go.mod": "module example.com/f\n\ngo 1.21\n\nreplace knative.dev/func-go => ./mw\n",
            "mw/go.mod": "module knative.dev/func-go\n\ngo 1.21\n",
            "mw/http/serve.go": "package http\n",
        },
    )
    before = look(function, environment)
    assert "mw/http/serve.go" in [each.label for each in before.inputs]
    write(function, {"mw/http/serve.go": "package http\n\nconst edited = true\n"})
    assert key(look(function, environment)) != key(before)

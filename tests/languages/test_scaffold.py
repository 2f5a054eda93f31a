"""The texts that are staged for a function, without the go command."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostbuild.errors import SourceError
from hostbuild.languages.go import funcgo, modedit, scaffold, vendored, workspace
from hostbuild.languages.go.gomod import parse_gomod, parse_gowork

EVERYTHING = """\
module "example.com/app" // the name

go 1.21.3

toolchain go1.22.0

require github.com/rs/zerolog v1.29.0 // mine
require (
	golang.org/x/sys v0.30.0 // indirect
	"example.com/dep" v1.0.0
)
replace (
	example.com/dep => ../dep
	example.com/old v1.0.0 => example.com/new v1.2.3
)
exclude example.com/dep v0.9.0
retract [v1.0.0, v1.1.0] // why
tool example.com/dep/cmd
ignore ./web
"""


def requires(text: str) -> dict[str, str]:
    parsed = parse_gomod(text, "go.mod")
    assert len({item.path for item in parsed.requires}) == len(parsed.requires), "go refuses one module twice"
    return {item.path: item.version for item in parsed.requires}


def test_of_two_versions_the_higher_is_required() -> None:
    found = requires(scaffold.merge_go_mod(EVERYTHING))
    assert found[funcgo.MODULE] == funcgo.VERSION
    assert found["github.com/rs/zerolog"] == "v1.32.0"
    assert found["golang.org/x/sys"] == "v0.30.0"
    assert found["example.com/dep"] == "v1.0.0"


def test_what_the_merge_does_not_concern_stays() -> None:
    merged = scaffold.merge_go_mod(EVERYTHING)
    before, after = parse_gomod(EVERYTHING, "go.mod"), parse_gomod(merged, "go.mod")
    assert (after.module, after.go, after.toolchain) == ("example.com/app", "1.21.3", "go1.22.0")
    assert after.replaces == before.replaces
    for line in ("exclude example.com/dep v0.9.0", "tool example.com/dep/cmd", "ignore ./web"):
        assert line in merged


@pytest.mark.parametrize(
    ("mine", "merged"),
    [("1.16", "1.19"), ("1.9", "1.19"), ("1.19", "1.19"), ("1.21rc2", "1.21rc2"), ("", "1.19")],
)
def test_the_higher_go_line_wins(mine: str, merged: str) -> None:
    text = "module m\n" + (f"go {mine}\n" if mine else "")
    assert parse_gomod(scaffold.merge_go_mod(text), "go.mod").go == merged


def test_a_function_that_requires_func_go_itself_keeps_a_newer_one() -> None:
    text = "module m\ngo 1.25\nrequire knative.dev/func-go v0.22.0\n"
    assert requires(scaffold.merge_go_mod(text))[funcgo.MODULE] == "v0.22.0"


def test_a_module_does_not_require_itself() -> None:
    assert funcgo.MODULE not in requires(scaffold.merge_go_mod(f"module {funcgo.MODULE}\ngo 1.21\n"))


def test_checksums_are_joined_and_no_line_is_there_twice() -> None:
    known = funcgo.checksums().splitlines()[0]
    merged = scaffold.merge_go_sum(f"example.com/a v1.0.0 h1:AAAA=\n\n{known}\n").splitlines()
    assert merged[0] == "example.com/a v1.0.0 h1:AAAA="
    assert len(merged) == len(set(merged)) == len(funcgo.checksums().splitlines()) + 1


def test_all_that_func_go_requires_and_compiles_has_checksums() -> None:
    sums = {tuple(line.split()[:2]) for line in funcgo.checksums().splitlines()}
    versions = {item.path: item.version for item in funcgo.REQUIREMENTS}
    for path, version in versions.items():
        assert (path, f"{version}/go.mod") in sums
    for path in funcgo.packages("cloudevent"):
        assert (path, versions[path]) in sums


def test_crlf_and_comments_and_blocks_are_read(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_bytes(EVERYTHING.replace("\n", "\r\n").encode())
    text = scaffold.read_text(str(tmp_path / "go.mod"))
    assert text == EVERYTHING
    verbs = [line.verb for line in modedit.directives(text)]
    assert " ".join(verbs) == (
        "module go toolchain require require require replace replace exclude retract tool ignore"
    )
    assert scaffold.read_text(str(tmp_path / "go.sum")) == ""


def test_the_generated_package_takes_a_free_name(tmp_path: Path) -> None:
    assert scaffold.directory_name(str(tmp_path)) == "_hostbuild"
    (tmp_path / "_hostbuild").mkdir()
    assert scaffold.directory_name(str(tmp_path)) == "_hostbuild2"


def modules_txt(root: Path, text: str, *files: str) -> dict[str, vendored.VendorDir]:
    (root / "vendor").mkdir()
    (root / "vendor" / "modules.txt").write_text(text)
    for name in files:
        path = root / "vendor" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("package p\n")
    return vendored.read_vendored(str(root), "http")


VENDORED = """\
# example.com/dep v1.2.0 => ../dep
## explicit; go 1.20
example.com/dep
example.com/dep/inner
# example.com/unused v1.0.0
## explicit
# github.com/mattn/go-isatty v0.0.19
## explicit; go 1.15
github.com/mattn/go-isatty
# github.com/rs/zerolog v1.33.0
## explicit; go 1.15
github.com/rs/zerolog
# golang.org/x/sys v0.30.0
## explicit; go 1.18
golang.org/x/sys/unix
# example.com/old v0.1.0
example.com/old
"""


def test_vendored_modules_are_used_unless_func_go_needs_more_of_them(tmp_path: Path) -> None:
    found = modules_txt(
        tmp_path,
        VENDORED,
        "github.com/mattn/go-isatty/isatty.go",
        "github.com/rs/zerolog/log.go",
        "golang.org/x/sys/unix/unix.go",
    )
    assert {path: module.used for path, module in found.items()} == {
        "example.com/dep": True,
        "github.com/mattn/go-isatty": False,
        "github.com/rs/zerolog": False,
        "golang.org/x/sys": True,
        "example.com/old": True,
    }
    assert found["example.com/dep"].go_mod() == "module example.com/dep\n\ngo 1.20\n"
    assert found["example.com/old"].go_mod() == "module example.com/old\n"
    isatty, zerolog = vendored.unused_warnings(found)
    assert "v0.0.19" in isatty
    assert "v0.0.20" in isatty
    assert "github.com/rs/zerolog/internal/json" in zerolog


def test_a_vendored_modules_directory_replaces_it(tmp_path: Path) -> None:
    found = modules_txt(tmp_path, VENDORED)
    text = (
        "module m\ngo 1.21\nrequire example.com/dep v1.2.0\nrequire example.com/testonly v1.0.0\n"
        "replace example.com/dep => ../dep\nreplace example.com/other => ../other\n"
    )
    merged = scaffold.merge_go_mod(text, found)
    replaces = {item.old: item.new for item in parse_gomod(merged, "go.mod").replaces}
    assert replaces == {
        "example.com/dep": "./vendor/example.com/dep",
        "example.com/old": "./vendor/example.com/old",
        "example.com/other": "../other",
    }
    required = requires(merged)
    assert required["example.com/old"] == "v0.1.0"
    assert required["github.com/rs/zerolog"] == "v1.33.0"
    assert required["github.com/mattn/go-isatty"] == "v0.0.20"
    assert "example.com/testonly" not in required, "what is not vendored is not compiled"


def test_a_vendored_module_without_version_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"example\.com/dep"):
        modules_txt(tmp_path, "# example.com/dep\nexample.com/dep\n")


def test_a_workspace_copy_has_absolute_directories() -> None:
    text = 'go 1.21\n\nuse (\n\t./app\n\t"../lib x"\n)\nreplace example.com/a => ./a\n'
    text += "replace b v1.0.0 => c v1.1.0\n"
    copy = parse_gowork(workspace.absolute(text, "/src/ws"))
    assert copy.uses == ("/src/ws/app", "/src/lib x")
    assert [(item.old, item.new, item.new_version) for item in copy.replaces] == [
        ("example.com/a", "/src/ws/a", ""),
        ("b", "c", "v1.1.0"),
    ]


def test_a_workspaces_go_line_is_raised_only_where_it_must() -> None:
    assert scaffold.higher_go_work("go 1.21\nuse .\n") == ""
    assert scaffold.higher_go_work("go 1.18\nuse .\n") == "1.19"
    assert parse_gowork(workspace.with_go("use .\n", "1.19")).go == "1.19"
    assert parse_gowork(workspace.with_go("go 1.18\nuse .\n", "1.19")).go == "1.19"

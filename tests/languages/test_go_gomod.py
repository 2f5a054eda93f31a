"""go.mod, go.work, modules.txt and the order of versions."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import SourceError
from hostbuild.languages.go.gomod import (
    GoMod,
    Replace,
    Require,
    compare_go_versions,
    compare_semver,
    parse_gomod,
    parse_gowork,
    parse_modules_txt,
)

GOMOD = """\ufeff// Deprecated: not really
module "example.com/my mod" // the name

go 1.21.3
toolchain go1.22.1 // pinned
godebug default=go1.21
godebug (
	panicnil=1
)
require example.com/a v1.2.3
require (
	example.com/b/v2 v2.0.0 // indirect
	`example.com/c` v0.0.0-20200101000000-abcdefabcdef // indirect; and more

	// a comment
	example.com/d v1.0.0+incompatible // not indirect
)
exclude example.com/a v1.0.0
exclude (
	example.com/a v1.0.1
)
retract [v1.0.0, v1.1.0] // bad
retract (
	v0.1.0
	[v0.2.0, v0.3.0]
)
tool example.com/a/cmd/t
tool (
	example.com/b/v2/t
)
ignore ./node_modules
ignore (
	static
)
replace example.com/a => ../a
replace example.com/b/v2 v2.0.0 => example.com/fork/b/v2 v2.0.1
replace (
	example.com/c v0.0.0 => "./my dir" // why
	example.com/d=>/abs/d
)
"""


def test_gomod() -> None:
    assert parse_gomod(GOMOD.replace("d=>/", "d => /"), "go.mod") == GoMod(
        "example.com/my mod",
        "1.21.3",
        "go1.22.1",
        (
            Require("example.com/a", "v1.2.3"),
            Require("example.com/b/v2", "v2.0.0", indirect=True),
            Require("example.com/c", "v0.0.0-20200101000000-abcdefabcdef", indirect=True),
            Require("example.com/d", "v1.0.0+incompatible"),
        ),
        (
            Replace("example.com/a", "", "../a", ""),
            Replace("example.com/b/v2", "v2.0.0", "example.com/fork/b/v2", "v2.0.1"),
            Replace("example.com/c", "v0.0.0", "./my dir", ""),
            Replace("example.com/d", "", "/abs/d", ""),
        ),
    )


def test_the_go_command_reads_the_same(tmp_path: Path) -> None:
    text = GOMOD.removeprefix("\ufeff").replace("my mod", "mod").replace("d=>/", "d => /")
    text = text.replace("`", '"')  # the reference allows raw strings, the go command does not
    text = text.replace("c v0.0.0 =>", "c v0.0.0-20200101000000-abcdefabcdef =>")
    (tmp_path / "go.mod").write_text(text.replace("\n", "\r\n"))
    done = subprocess.run(
        ["go", "mod", "edit", "-json"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    theirs = json.loads(done.stdout)
    ours = parse_gomod((tmp_path / "go.mod").read_bytes().decode(), "go.mod")
    assert (ours.module, ours.go, ours.toolchain) == (
        theirs["Module"]["Path"],
        theirs["Go"],
        theirs["Toolchain"],
    )
    assert [tuple(r) for r in ours.requires] == [
        (r["Path"], r["Version"], r.get("Indirect", False)) for r in theirs["Require"]
    ]
    assert [(r.old, r.old_version, r.new, r.new_version) for r in ours.replaces] == [
        (r["Old"]["Path"], r["Old"].get("Version", ""), r["New"]["Path"], r["New"].get("Version", ""))
        for r in theirs["Replace"]
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("go 1.21\n", "m: no module line"),
        ("module a b\n", "m:1: module takes exactly one argument"),
        ("module a\nrequire x\n", "m:2: usage"),
        ("module a\nreplace x ../y\n", "m:2: usage"),
        ("module a\nreplace x => y\n", "m:2: 'y' has no version"),
        ("module a\nreplace x =>\n", "m:2: a replacement is"),
        ('module "a\n', "m:1: cannot read"),
        ('module "\\q"\n', "m:1: "),
        ("module a\nrequire (\n\tx v1.0.0\n", "m:4: the block require ( is not closed"),
    ],
)
def test_bad_gomod(text: str, what: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_gomod(text, "m")
    assert caught.value.what.startswith(what)


def test_gowork() -> None:
    work = parse_gowork(
        'go 1.22\ntoolchain go1.22.3\nuse ./a\nuse (\n\t"../b c"\n\t. // here\n)\nreplace x => ./x\n'
    )
    assert work.go == "1.22"
    assert work.toolchain == "go1.22.3"
    assert work.uses == ("./a", "../b c", ".")
    assert work.replaces == (Replace("x", "", "./x", ""),)


def test_modules_txt() -> None:
    vendored = parse_modules_txt(
        "## workspace\n# example.com/a v1.0.0\n## explicit; go 1.17\nexample.com/a\nexample.com/a/b\n"
        "# example.com/r v1.0.0 => ../r\n## explicit\nexample.com/r\n"
        "# example.com/w => example.com/x v1.1.0\n# bad\n"
    )
    assert vendored.workspace
    assert vendored.packages == {"example.com/a", "example.com/a/b", "example.com/r"}
    a, r, w, _ = vendored.modules
    assert (a.path, a.version, a.explicit, a.replacement) == ("example.com/a", "v1.0.0", True, "")
    assert (r.version, r.replacement) == ("v1.0.0", "../r")
    assert (w.version, w.replacement, w.explicit) == ("", "example.com/x v1.1.0", False)
    assert not parse_modules_txt("").workspace


def test_go_versions_in_order() -> None:
    groups = [
        ["", "x", "1.", "1.2.3rc1", "01.2", "go1.21", "1.21.0.0"],
        ["1", "1.0", "1.0.0"],
        ["1.9", "1.9.0"],
        ["1.20rc1"],
        ["1.20", "1.20.0"],
        ["1.20.1"],
        ["1.21"],
        ["1.21beta1"],
        ["1.21rc1"],
        ["1.21rc2"],
        ["1.21.0"],
        ["1.21.9"],
        ["1.21.10"],
        ["1.22.1"],
        ["1.100"],
    ]
    flat = [(index, version) for index, group in enumerate(groups) for version in group]
    for (i, x), (j, y) in itertools.product(flat, flat):
        assert compare_go_versions(x, y) == (i > j) - (i < j), (x, y)


def test_semver_in_order() -> None:
    groups = [
        ["", "1.0.0", "v01.0.0", "v1.0.0-01", "v1-pre", "vx", "v1.0.0-"],
        ["v0.0.0-20190101000000-abcdefabcdef"],
        ["v0.0.0-20200101000000-000000000000"],
        ["v0.9.0"],
        ["v1.0.0-1"],
        ["v1.0.0-2"],
        ["v1.0.0-10"],
        ["v1.0.0-alpha"],
        ["v1.0.0-alpha.1"],
        ["v1.0.0-alpha.beta"],
        ["v1.0.0-beta"],
        ["v1", "v1.0", "v1.0.0", "v1.0.0+meta"],
        ["v1.0.1-0.20200101000000-abcdefabcdef"],
        ["v1.0.1"],
        ["v1.2.0"],
        ["v1.10.0"],
        ["v2.0.0+incompatible"],
    ]
    flat = [(index, version) for index, group in enumerate(groups) for version in group]
    for (i, x), (j, y) in itertools.product(flat, flat):
        assert compare_semver(x, y) == (i > j) - (i < j), (x, y)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    error: SourceError | None = None
    try:
        parse_gomod(f"module a\n{text}", "m")
    except SourceError as raised:
        error = raised
    assert error is None or error.what.startswith("m:")

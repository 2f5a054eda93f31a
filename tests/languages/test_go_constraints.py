"""Build constraints: names, expressions and tags, with the go command as the judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostbuild.errors import SourceError
from hostbuild.languages.go.constraints import (
    file_matches,
    find_constraint,
    goarm,
    holds,
    name_tags,
    parse_constraint,
    tags_for,
)
from tests.languages import judge


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("linux.go", ()),
        ("a_linux.go", ("linux",)),
        ("a_linux_test.go", ("linux",)),
        ("a_arm64.s", ("arm64",)),
        ("a_linux_arm.go", ("linux", "arm")),
        ("a_arm_linux.go", ("linux",)),
        ("_linux.go", ("linux",)),
        ("a_linux.b.go", ("linux",)),
        ("a.b_linux.go", ()),
        ("a_linux_foo.go", ()),
        ("a_unix.go", ()),
        ("a_zos_sparc64.h", ("zos", "sparc64")),
        ("linux_arm.go", ("arm",)),
        ("a_Linux.go", ()),
    ],
)
def test_names(name: str, tags: tuple[str, ...]) -> None:
    assert name_tags(name) == tags


EXPRESSIONS = [
    ("linux", True),
    ("!linux", False),
    ("linux && arm", True),
    ("linux&&!arm||windows", False),
    ("windows || linux && arm", True),
    ("(windows || linux) && amd64", False),
    ("!(windows || amd64)", True),
    ("arm.7 && arm.5 && !arm.8", True),
    ("unix && gc && !cgo", True),
    ("go1.18 && !go1.99", True),
    ("mine", True),
    ("ignore", False),
    ("goexperiment.anything", True),
    ("!goexperiment.anything", True),
    ("linux\t&&\tarm", True),
]


@pytest.mark.parametrize(("text", "value"), EXPRESSIONS)
def test_expressions(text: str, value: bool) -> None:
    tags = tags_for(judge.platform("linux/arm/v7"), 26, ("mine",))
    assert holds(text, tags) is value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "linux arm",
        "linux &",
        "&& a",
        "!!a",
        "! !a",
        "(a",
        "a)",
        "a,b",
        "a-b",
        "()",
        "(" * 200 + "a" + ")" * 200,
    ],
)
def test_bad_expressions_are_quoted(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_constraint(text)
    assert repr(text) in caught.value.what


def test_long_chains_are_no_trouble() -> None:
    assert holds(" || ".join(["a"] * 900 + ["linux"]), frozenset({"linux"}))


@pytest.mark.parametrize(
    ("source", "expression"),
    [
        ("//go:build linux\n\npackage a", "linux"),
        ("//go:build linux\npackage a", "linux"),
        ("\ufeff//go:build linux\r\n\r\npackage a", "linux"),
        ("// Copyright\n\n//go:build  a && b \n// +build c\n\npackage a", "a && b"),
        ("/* x */\n//go:build linux\n\npackage a", "linux"),
        ("/*\n//go:build linux\n*/\npackage a", ""),
        ("package a\n//go:build linux\n", ""),
        ("// go:build linux\n\npackage a", ""),
        ("//go:buildx linux\n\npackage a", ""),
        (
            "// +build linux darwin\n// +build amd64,!cgo\n\npackage a",
            "(linux || darwin) && ((amd64 && !cgo))",
        ),
        ("// +build linux\npackage a", ""),
        ("//+build linux\n\n// doc\npackage a", "(linux)"),
        ("/* c */\n// +build linux\n\npackage a", ""),
        ("// +build\n\npackage a", "(ignore)"),
        ("// +build !!a !, b-c\n\npackage a", "(ignore || (ignore && ignore) || ignore)"),
        ("//go:build\n\npackage a", " "),
    ],
)
def test_find_constraint(source: str, expression: str) -> None:
    assert find_constraint(source.encode()) == expression


def test_two_constraints_are_refused() -> None:
    with pytest.raises(SourceError, match="more than one"):
        find_constraint(b"//go:build a\n//go:build b\n\npackage a")


def test_goarm() -> None:
    assert goarm(judge.platform("linux/arm/v6")) == "6"
    assert goarm(judge.platform("linux/arm")) == "7"
    assert goarm(judge.platform("linux/arm64")) == ""


HEADS = {
    "plain": "",
    "tag": "//go:build mine\n\n",
    "nottag": "//go:build !mine\n\n",
    "old": "// +build linux,arm darwin\n// +build !cgo\n\n",
    "oldnoblank": "// +build windows\n",
    "doc": "// Doc.\n\n// +build windows\n\n// more\n",
    "unix": "//go:build unix && !darwin\n\n",
    "cgo": "//go:build cgo\n\n",
    "gc": "//go:build gc && !gccgo\n\n",
    "future": "//go:build go1.999\n\n",
    "present": "//go:build go1.21\n\n",
    "armseven": "//go:build arm.7\n\n",
    "armsix": "//go:build arm.6\n\n",
    "amdtwo": "//go:build amd64.v2\n\n",
    "amdone": "//go:build amd64.v1 || arm64.v8.0\n\n",
    "block": "/*\n//go:build windows\n*/\n\n",
    "blockthen": "/* x */\n//go:build windows\n\n",
    "crlf": "//go:build windows\r\n\r\n",
    "ignore": "//go:build ignore\n\n",
    "android": "//go:build android\n\n",
    "a_linux": "",
    "a_darwin": "",
    "a_android": "",
    "a_arm64": "",
    "a_illumos": "",
    "a_linux_arm": "",
    "a_windows_arm64": "",
    "a_arm_x": "",
    "b_linux_amd64": "//go:build !mine\n\n",
}


@pytest.mark.parametrize(
    ("target", "tags"),
    [
        ("linux/amd64", ()),
        ("linux/amd64/v3", ("mine",)),
        ("linux/arm64", ()),
        ("linux/arm/v7", ("mine",)),
        ("linux/arm/v5", ()),
        ("darwin/arm64", ()),
        ("windows/amd64", ()),
        ("android/arm64", ()),
        ("illumos/amd64", ()),
        ("js/wasm", ()),
    ],
)
def test_the_go_command_agrees(tmp_path: Path, target: str, tags: tuple[str, ...]) -> None:
    files = {f"{stem}.go": f"{head}package a\n" for stem, head in HEADS.items()}
    judge.write_tree(tmp_path, {"go.mod": "module a\n\ngo 1.21\n", **files})
    wanted = judge.platform(target)
    (package,) = judge.go_list(tmp_path, wanted, "-tags", ",".join(tags))
    ours = tags_for(wanted, judge.go_minor(), tags)
    matching = {
        name for name, text in files.items() if file_matches(name, find_constraint(text.encode()), ours)
    }
    assert matching == set(package["GoFiles"])

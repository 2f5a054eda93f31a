"""The closure of a package, with `go list` as the judge."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hostbuild.errors import DetectionError, SourceError
from hostbuild.languages.go.packages import Closure, load
from tests.languages import judge
from tests.languages.memory import three_times

TARGETS = ("linux/amd64", "linux/arm64", "linux/arm/v7", "windows/amd64")
#: Read by the go command, but not listed as a package's file.
NAMES = ("go.mod", "go.sum", "go.work", "go.work.sum", "modules.txt", "default.pgo", "other.work")


def closure(
    directory: Path, *targets: str, tags: tuple[str, ...] = (), gowork: str = "", mod: str = ""
) -> Closure:
    platforms = [judge.platform(text) for text in targets or TARGETS]
    return three_times(
        directory,
        lambda memory: load(
            str(directory),
            platforms=platforms,
            user_tags=tags,
            go_minor=judge.go_minor(),
            gowork=gowork,
            mod_flag=mod,
            memory=memory,
        ),
    )


def relative(found: Closure, root: Path) -> list[str]:
    return [os.path.relpath(path, root) for path in found.files]


def agree(
    directory: Path,
    root: Path,
    tags: tuple[str, ...] = (),
    gowork: str = "",
    mod: str = "",
    targets: tuple[str, ...] = TARGETS[2:3],
    **env: str,
) -> None:
    """For each platform alone, and for all, our files are those of `go list`."""
    flags = ["-tags", ",".join(tags)] + ([f"-mod={mod}"] if mod else [])
    union: set[str] = set()
    for target in targets:
        packages = judge.go_list(
            directory, judge.platform(target), *flags, GOWORK=gowork, GOPROXY="off", **env
        )
        theirs = judge.local_files(packages, root)
        ours = closure(directory, target, tags=tags, gowork=gowork, mod=mod)
        assert {path for path in ours.files if os.path.basename(path) not in NAMES} == theirs, target
        assert set(ours.packages) == {
            p["ImportPath"] for p in packages if Path(p["Dir"]).is_relative_to(root)
        }
        union |= theirs
    everything = closure(directory, *targets, tags=tags, gowork=gowork, mod=mod)
    assert {path for path in everything.files if os.path.basename(path) not in NAMES} == union


NAMES_TO_EMBED = (
    "site/index.html site/sub/a.css site/sub/.hidden site/sub/_draft site/.git/config site/nested/x.txt "
    "site/bad:name/x site/sub/deep/x.txt one.txt two.txt .dot.txt [x].txt x.txt all/_a all/.b "
    "all/c/_d/e other/f.txt empty/_x n/1.txt n/2.txt n/12.txt n/a.txt d1/v.txt d2/v.txt d2/w/v.txt"
)
EMBEDS = dict.fromkeys(NAMES_TO_EMBED.split(), "")
EMBEDS |= {"site/nested/go.mod": "module nested\n", "other/go.mod": "module other\n", "with space.txt": ""}

MODULE = {
    "go.mod": "module example.com/app\n\ngo 1.21\n",
    "main.go": 'package main\n\nimport (\n\t"fmt"\n\t_ "example.com/app/lib"\n)\n',
    "main_test.go": 'package main\n\nimport _ "example.com/app/onlytest"\n',
    "_x.go": "package broken {",
    ".y.go": "package broken {",
    "gen.go": "//go:build ignore\n\npackage gen {{\n",
    "linux.go": 'package main\n\nimport _ "example.com/app/onlinux"\n',
    "w_windows.go": 'package main\n\nimport _ "example.com/app/onwindows"\n',
    "t.go": '//go:build mine\n\npackage main\n\nimport _ "example.com/app/tagged"\n',
    "c.go": 'package main\n\nimport "C"\nimport _ "example.com/app/oncgo"\n',
    "readme.md": "",
    "code.c": "int x;",
    "doc.go": 'package documentation\n\nimport _ "example.com/app/indoc"\n',
    "data/x.txt": "",
    "lib/a.go": "package lib\n\nfunc F() int\n",
    "lib/f_arm.s": "",
    "lib/f_amd64.s": '#include "d.h"\n',
    "lib/f.s": "//go:build arm64\n\nTEXT",
    "lib/d.h": "",
    "lib/e_windows.hpp": "",
    "lib/g.S": "",
    "lib/o_linux.syso": "",
    "lib/z.sx": "",
    "onlinux/a_linux.go": 'package onlinux\n\nimport _ "example.com/app/deep/er"\n',
    "deep/er/a.go": 'package er\n\nimport _ "example.com/app/internal/x"\n',
    "deep/a.go": "package deep\n",
    "internal/x/x_arm.go": "package x\n",
    "internal/x/x.go": "package x\n",
    "onwindows/a.go": "package onwindows\n",
    "tagged/a.go": "package tagged\n",
    "onlytest/a.go": "package onlytest\n",
    "oncgo/a.go": "package oncgo\n",
    "indoc/a.go": "package indoc\n",
    "nested/go.mod": "module example.com/app/nested\n",
    "nested/a.go": "package nested\n",
}


@pytest.mark.parametrize("tags", [(), ("mine",)])
def test_one_module(tmp_path: Path, tags: tuple[str, ...]) -> None:
    judge.write_tree(tmp_path, MODULE)
    agree(tmp_path, tmp_path, tags, targets=TARGETS if tags else TARGETS[:1])
    found = closure(tmp_path, "linux/arm/v7", tags=tags)
    assert (found.import_path, found.package_name, found.relative) == ("example.com/app", "main", ".")
    assert (found.module_root, found.gomod.module, found.workspace, found.vendor) == (
        str(tmp_path),
        "example.com/app",
        "",
        False,
    )
    assert (found.missing, found.problems) == ((), ())
    assert found.cgo_packages == ("example.com/app",)
    below = closure(tmp_path / "deep/er", "linux/arm64")
    assert (below.import_path, below.relative, below.package_name) == (
        "example.com/app/deep/er",
        "deep/er",
        "er",
    )
    assert relative(below, tmp_path) == ["deep/er/a.go", "go.mod", "internal/x/x.go"]


TAKEN = (
    "site", "all:site", "*.txt", "one.txt two.txt", '"with space.txt"', "all:all", "*/v.txt",
    "d[12]/*.txt", "d?", "d2", "d1/v.txt d1",
    "n/[0-9].txt", "n/[^0-9].txt", "n/1*.txt", r"\[x\].txt", "[[]x].txt", "x.txt x.txt", "[a-z][^p-z]?.txt",
    "`x.txt`", "n",
)  # fmt: skip
REFUSED = (
    "none*", "other", "other/f.txt", "../x", "./x.txt", "empty", "site/.git", "*", "[", "a[", ".",
    "/x", "lnk/x.txt", "x.txt/", "all", "ded.txt", "[]a].txt", "x[-a].txt", "lnk",
)  # fmt: skip


def test_embeds(tmp_path: Path) -> None:
    judge.write_tree(tmp_path, {"go.mod": "module a\n\ngo 1.21\n"})
    for number, pattern in enumerate((*TAKEN, *REFUSED)):
        source = f'package p\n\nimport "embed"\n\n//go:embed {pattern}\nvar files embed.FS\n'
        directory = judge.write_tree(tmp_path / f"p{number}", {"p.go": source, **EMBEDS})
        (directory / ".git").mkdir()
        (directory / "lnk").symlink_to("n")
        (directory / "site/sub/link.txt").symlink_to("deep/x.txt")
    packages = judge.go_list(tmp_path, judge.platform("linux/amd64"), patterns="./...")
    embedded = {Path(package["Dir"]).name: package.get("EmbedFiles") or [] for package in packages}
    for number, pattern in enumerate((*TAKEN, *REFUSED)):
        directory = tmp_path / f"p{number}"
        ours = set(relative(closure(directory, "linux/amd64"), directory)) - {"../go.mod", "p.go"}
        assert ours == set(embedded[directory.name]), pattern
        assert bool(ours) == (pattern in TAKEN), pattern


def test_a_link_that_is_embedded_by_name_is_an_input(tmp_path: Path) -> None:
    """The go command takes it only with GODEBUG=embedfollowsymlinks=1, else it refuses."""
    source = 'package main\n\nimport "embed"\n\n//go:embed link.txt\nvar files embed.FS\n'
    judge.write_tree(tmp_path, {"go.mod": "module a\n\ngo 1.21\n", "main.go": source, "real/x.txt": ""})
    (tmp_path / "link.txt").symlink_to("real/x.txt")
    agree(tmp_path, tmp_path, GODEBUG="embedfollowsymlinks=1")
    assert relative(closure(tmp_path), tmp_path) == ["go.mod", "link.txt", "main.go"]


def test_linked_go_files_count_and_dead_ones_are_a_problem(tmp_path: Path) -> None:
    judge.write_tree(
        tmp_path,
        {
            "go.mod": "module a\n\ngo 1.21\n",
            "main.go": "package main\nfunc main() {}\n",
            "o/x": "package main\n",
        },
    )
    (tmp_path / "x.go").symlink_to("o/x")
    (tmp_path / "dir.go").symlink_to("o")
    agree(tmp_path, tmp_path)
    (tmp_path / "dead.go").symlink_to("nothing")
    found = closure(tmp_path)
    assert relative(found, tmp_path) == ["go.mod", "main.go", "x.go"]
    assert "dead.go" in found.problems[0]


def test_added_and_removed_files_change_the_set(tmp_path: Path) -> None:
    judge.write_tree(tmp_path, MODULE)
    before = closure(tmp_path).files
    (tmp_path / "lib/new.go").write_text("package lib\n")
    assert set(closure(tmp_path).files) - set(before) == {str(tmp_path / "lib/new.go")}
    (tmp_path / "lib/new.go").unlink()
    assert closure(tmp_path).files == before
    (tmp_path / "go.sum").write_text("")
    (tmp_path / "default.pgo").write_text("")
    assert set(closure(tmp_path).files) - set(before) == {
        str(tmp_path / "go.sum"),
        str(tmp_path / "default.pgo"),
    }
    assert str(tmp_path / "default.pgo") not in closure(tmp_path / "lib").files


REPLACED = {
    "app/go.mod": "module example.com/app\n\ngo 1.21\n\nrequire (\n\texample.com/lib v1.0.0\n"
    "\texample.com/lib/sub v1.0.0\n\texample.com/third v1.5.0 // indirect\n)\n\n"
    "replace example.com/lib => ../lib\n\nreplace example.com/lib/sub => ../sub\n\n"
    "replace example.com/third v1.5.0 => ../third\n\nreplace example.com/unused => ../unused\n\n"
    "replace example.com/third v1.4.0 => ../old\n",
    "app/main.go": 'package main\n\nimport (\n\t_ "example.com/lib/a"\n\t_ "example.com/lib/sub/b"\n)\n',
    "lib/go.mod": "module example.com/lib\n\ngo 1.21\n\nrequire example.com/third v1.5.0\n",
    "lib/a/a.go": 'package a\n\nimport _ "example.com/third"\n',
    "lib/sub/b/wrong.go": "package wrong\n",
    "lib/sub/go.mod": "module example.com/lib/sub\n",
    "sub/go.mod": "module example.com/lib/sub\n\ngo 1.21\n",
    "sub/b/b.go": "package b\n",
    "third/go.mod": "module example.com/third\n\ngo 1.21\n",
    "third/t.go": "package third\n",
    "old/go.mod": "module example.com/third\n",
    "old/t.go": "package third\n",
    "unused/go.mod": "module example.com/unused\n\ngo 1.21\n",
    "unused/u.go": "package unused\n",
}


def test_replaced_modules(tmp_path: Path) -> None:
    judge.write_tree(tmp_path, REPLACED)
    agree(tmp_path / "app", tmp_path)
    assert relative(closure(tmp_path / "app"), tmp_path) == [
        "app/go.mod",
        "app/main.go",
        "lib/a/a.go",
        "lib/go.mod",
        "sub/b/b.go",
        "sub/go.mod",
        "third/go.mod",
        "third/t.go",
        "unused/go.mod",
    ]


def test_vendored(tmp_path: Path) -> None:
    judge.write_tree(tmp_path, REPLACED)
    app = tmp_path / "app"
    subprocess.run(
        ["go", "mod", "vendor"],
        cwd=app,
        env=judge.environment(judge.platform("linux/amd64"), GOPROXY="off"),
        check=True,
    )
    agree(app, tmp_path)
    assert relative(closure(app), app) == [
        "go.mod",
        "main.go",
        "vendor/example.com/lib/a/a.go",
        "vendor/example.com/lib/sub/b/b.go",
        "vendor/example.com/third/t.go",
        "vendor/modules.txt",
    ]
    assert closure(app).vendor
    agree(app, tmp_path, mod="readonly")
    assert "../lib/a/a.go" in relative(closure(app, mod="mod"), app)
    old = (app / "go.mod").read_text().replace("go 1.21", "go 1.13")
    (app / "go.mod").write_text(old)
    assert not closure(app).vendor
    assert closure(app, mod="vendor").vendor


WORKSPACE = {
    "go.work": "go 1.22\n\nuse (\n\t./app\n\t./lib\n)\n\nreplace example.com/third => ./third\n",
    "app/go.mod": "module example.com/app\n\ngo 1.22\n\nrequire example.com/third v1.0.0\n\n"
    "replace example.com/third => ../wrong\n",
    "app/cmd/x/main.go": 'package main\n\nimport (\n\t_ "example.com/lib"\n\t_ "example.com/third"\n)\n',
    "app/go.sum": "",
    "lib/go.mod": "module example.com/lib\n\ngo 1.22\n",
    "lib/go.sum": "",
    "lib/l.go": "package lib\n",
    "third/go.mod": "module example.com/third\n\ngo 1.22\n",
    "third/t.go": "package third\n",
    "wrong/go.mod": "module example.com/third\n\ngo 1.22\n",
    "wrong/t.go": "package third\n",
    "out/go.mod": "module example.com/out\n\ngo 1.22\n",
    "out/main.go": "package main\n\nfunc main() {}\n",
}


def test_workspace(tmp_path: Path) -> None:
    judge.write_tree(tmp_path, WORKSPACE)
    command = tmp_path / "app/cmd/x"
    agree(command, tmp_path)
    found = closure(command)
    assert found.workspace == str(tmp_path / "go.work")
    assert found.gowork is not None
    assert found.gowork.go == "1.22"
    assert relative(found, tmp_path) == [
        "app/cmd/x/main.go",
        "app/go.mod",
        "app/go.sum",
        "go.work",
        "lib/go.mod",
        "lib/go.sum",
        "lib/l.go",
        "third/go.mod",
        "third/t.go",
    ]
    (tmp_path / "go.work.sum").write_text("")
    assert "go.work.sum" in relative(closure(command), tmp_path)
    alone = closure(command, gowork="off")
    assert (alone.workspace, alone.gowork) == ("", None)
    assert relative(alone, tmp_path) == [
        "app/cmd/x/main.go",
        "app/go.mod",
        "app/go.sum",
        "wrong/go.mod",
        "wrong/t.go",
    ]
    assert closure(command, mod="mod").problems == ("-mod=mod cannot be used in a workspace; set GOWORK=off",)


def test_vendored_workspace(tmp_path: Path) -> None:
    judge.write_tree(tmp_path, WORKSPACE)
    subprocess.run(
        ["go", "work", "vendor"],
        cwd=tmp_path,
        env=judge.environment(judge.platform("linux/amd64"), GOPROXY="off"),
        check=True,
    )
    agree(tmp_path / "app/cmd/x", tmp_path)
    names = relative(closure(tmp_path / "app/cmd/x"), tmp_path)
    assert "vendor/example.com/third/t.go" in names
    assert "vendor/modules.txt" in names
    assert "third/go.mod" not in names


def test_a_named_workspace_and_one_that_does_not_fit(tmp_path: Path) -> None:
    judge.write_tree(tmp_path, WORKSPACE)
    shutil.move(tmp_path / "go.work", tmp_path / "lib/other.work")
    work = tmp_path / "lib/other.work"
    work.write_text(work.read_text().replace("./", "../"))
    agree(tmp_path / "app/cmd/x", tmp_path, gowork=str(work))
    found = closure(tmp_path / "out", gowork=str(work))
    assert "does not use the module" in found.problems[0]
    assert "not an absolute path" in closure(tmp_path / "out", gowork="other.work").problems[0]
    assert "does not exist" in closure(tmp_path / "out", gowork="/none.work").problems[0]


def test_what_is_missing_is_named_and_no_error(tmp_path: Path) -> None:
    judge.write_tree(
        tmp_path,
        {
            "go.mod": "module a.b/app\n\ngo 1.21\n",
            "main.go": 'package main\n\nimport (\n\t_ "a.b/app/none"\n\t_ "a.b/app/empty"\n\t_ "x.y/z"\n)\n'
            'import _ "fmt"\nimport _ "a.b/app/bad"\n',
            "empty/x.txt": "",
            "bad/a.go": "package bad\nimport {\n",
            "bad/excluded.go": "//go:build ignore\n\npackage bad\nimport {\n",
            "bad/b.go": "//go:build (\n\npackage bad\n",
        },
    )
    found = closure(tmp_path)
    assert found.missing == ("a.b/app/empty", "a.b/app/none")
    assert relative(found, tmp_path) == ["bad/a.go", "bad/b.go", "go.mod", "main.go"]
    assert len(found.problems) == 2
    assert "bad/a.go:2:8: expected an import path" in found.problems[0]
    assert "bad/b.go: cannot read the build constraint '('" in found.problems[1]


def test_scaffold_imports_are_followed(tmp_path: Path) -> None:
    judge.write_tree(tmp_path, REPLACED)
    (tmp_path / "app/main.go").write_text("package app\n")
    found = load(
        str(tmp_path / "app"),
        platforms=[judge.platform("linux/amd64")],
        go_minor=26,
        also_imports=["example.com/unused", "fmt"],
    )
    assert str(tmp_path / "unused/u.go") in found.files


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"a.go": 'package a\nimport "C"\n'}, True),
        ({"a.go": 'package a\nimport "C"\n', "b.go": "package a\n"}, True),
        ({"a.go": '//go:build cgo\n\npackage a\nimport "C"\n'}, True),
        (
            {"a.go": '//go:build cgo\n\npackage a\nimport "C"\n', "b.go": "//go:build !cgo\n\npackage a\n"},
            False,
        ),
        ({"a_windows.go": 'package a\nimport "C"\n', "b.go": "package a\n"}, False),
        ({"a_test.go": 'package a\nimport "C"\n', "b.go": "package a\n"}, False),
    ],
)
def test_packages_that_need_cgo(tmp_path: Path, files: dict[str, str], named: bool) -> None:
    judge.write_tree(tmp_path, {"go.mod": "module a\n", **files})
    assert closure(tmp_path, "linux/amd64").cgo_packages == (("a",) if named else ())


def test_no_module(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("package main\n")
    with pytest.raises(DetectionError, match=r"no go\.mod") as caught:
        closure(tmp_path)
    assert "go mod init" in caught.value.fix


def test_a_linked_directory_is_resolved(tmp_path: Path) -> None:
    judge.write_tree(tmp_path / "real", MODULE)
    (tmp_path / "link").symlink_to("real")
    found = closure(tmp_path / "link/deep/er")
    assert found.files == closure(tmp_path / "real/deep/er").files
    assert found.directory == str(tmp_path / "real/deep/er")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    judge.write_tree(tmp_path, {"go.mod": "module a\n\ngo 1.21\n"})
    with pytest.raises(SourceError, match=r"cannot read .*nowhere"):
        closure(tmp_path / "nowhere")
    (tmp_path / "go.mod").write_text("modul a\n")
    with pytest.raises(SourceError, match="no module line"):
        closure(tmp_path)

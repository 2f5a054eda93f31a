"""What makes a build stale, and what does not; whether the go command was started is the judge."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.rig.architecture import HEAVY
from tests.rig.builder import Hostbuild, make_source
from tests.rig.go_wrapper import GoWrapper
from tests.rig.layout import read_layout
from tests.rig.sources import HELLO, func_yaml

ONE = ("--platform", "linux/amd64", "-t", "registry.example/app:v1")
SHIP = (*ONE, "--ship-source")

EMBEDDING = {
    "go.mod": "module example.com/app\n\ngo 1.21\n\nrequire example.com/lib v0.0.0\n\n"
    "replace example.com/lib => ../lib\n",
    "main.go": """package main

import (
	_ "embed"

	"example.com/lib"
)

//go:embed text.txt
var text string

func main() { println(text, lib.Word) }
""",
    "text.txt": "one",
    ".funcignore": "text.txt\n",
}
LIBRARY = {
    "go.mod": "module example.com/lib\n\ngo 1.21\n",
    "lib.go": 'package lib\n\nconst Word = "one"\n',
}


@pytest.fixture
def embedding(tmp_path: Path) -> Path:
    make_source(tmp_path / "lib", LIBRARY)
    return make_source(tmp_path / "src", EMBEDDING)


def edit(root: Path, name: str, text: str) -> None:
    """Other content, the same size where the text has it, and the very same times."""
    path = root / name
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


class Builds:
    """Builds of one source, counting what the go command was asked."""

    def __init__(self, hostbuild: Hostbuild, go: GoWrapper, root: Path, arguments: tuple[str, ...]) -> None:
        self.hostbuild, self.go, self.root, self.arguments = hostbuild, go, root, arguments

    def __call__(self, *more: str, env: Mapping[str, str] | None = None) -> tuple[str, list[str], str]:
        """Digest, calls of the go command, standard error."""
        self.go.forget()
        result = self.hostbuild(
            "build", self.root, *self.arguments, *more, env={**self.go.env, **(env or {})}
        )
        return result.digest, self.go.calls(), result.stderr


def test_nothing_changed_starts_nothing(hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path) -> None:
    build = Builds(hostbuild, go_wrapper, make_source(tmp_path / "src", HELLO), SHIP)
    first, calls, _ = build()
    assert len([call for call in calls if " build " in call]) == 1
    second, calls, said = build()
    assert (second, calls) == (first, [])
    assert "up to date" in said


def test_nothing_changed_loads_nothing_heavy(hostbuild: Hostbuild, tmp_path: Path) -> None:
    root = make_source(tmp_path / "src", {**HELLO, "func.yaml": func_yaml("hello")})
    env = {"SOURCE_DATE_EPOCH": "0"}  # otherwise git is asked for the last commit, and needs subprocess
    first = hostbuild("build", root, *SHIP, env=env)
    second = hostbuild("build", root, *SHIP, env={**env, "PYTHONPROFILEIMPORTTIME": "1"})
    assert second.digest == first.digest
    loaded = set(re.findall(r"^import time:.*\|\s+([\w.]+)$", second.stderr, re.MULTILINE))
    assert "hostbuild.build" in loaded
    assert loaded & {*HEAVY, "shutil", "tempfile", "hostbuild.cli.parsing"} == set()


def touch_times(root: Path) -> None:
    for path in root.iterdir():
        if path.name != ".func":
            os.utime(path, (1, 1))


def change_modes(root: Path) -> None:
    for path in root.glob("*.go"):
        path.chmod(0o600)


TOUCHES: dict[str, Callable[[Path], object]] = {
    "times": touch_times,
    "modes": change_modes,
    "git": lambda root: make_source(root, {".git/HEAD": "ref: refs/heads/main\n", ".git/config": ""}),
    "ignored": lambda root: make_source(root, {"skipped.txt": "new"}),
    "neighbours": lambda root: make_source(root.parent, {"other/file": "new"}),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_what_does_not_matter(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path, touch: Callable[[Path], object]
) -> None:
    root = make_source(tmp_path / "src", {**HELLO, ".funcignore": "skipped.txt\n"})
    build = Builds(hostbuild, go_wrapper, root, SHIP)
    first, _, _ = build()
    touch(root)
    second, calls, said = build(env={"UNRELATED": "x", "LANG": "C.UTF-8"})
    assert second == first
    assert [call for call in calls if " build " in call] == []
    assert "up to date" in said


def retarget(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("go.mod")


def replace_by_directory(root: Path) -> None:
    (root / "note.txt").unlink()
    make_source(root, {"note.txt/x": "one"})


def remove(root: Path) -> None:
    (root / "spare.txt").unlink()


def make_executable(root: Path) -> None:
    (root / "note.txt").chmod(0o755)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content, same size and times": lambda root: edit(root, "note.txt", "two"),
    "a file more": lambda root: make_source(root, {"more": ""}),
    "a file less": remove,
    "a file renamed": lambda root: (root / "spare.txt").rename(root / "renamed.txt"),
    "an executable bit": make_executable,
    "a link's target": retarget,
    "a file that became a directory": replace_by_directory,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_ships_matters(hostbuild: Hostbuild, tmp_path: Path, change: Callable[[Path], object]) -> None:
    root = make_source(tmp_path / "src", {**HELLO, "note.txt": "one", "spare.txt": "", "link": "-> note.txt"})
    first = hostbuild("build", root, *SHIP)
    change(root)
    assert hostbuild("build", root, *SHIP).digest != first.digest


def test_a_replaced_module_and_an_embedded_ignored_file_matter(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, embedding: Path
) -> None:
    build = Builds(hostbuild, go_wrapper, embedding, ONE)
    digests = [build()[0]]
    assert build()[1] == []
    edit(embedding.parent / "lib", "lib.go", LIBRARY["lib.go"].replace("one", "two"))
    digests.append(build()[0])
    edit(embedding, "text.txt", "two")
    digests.append(build()[0])
    assert build()[1] == []
    make_source(embedding.parent, {"lib/other.go": 'package lib\n\nfunc init() { println("other") }\n'})
    digests.append(build()[0])
    assert len(set(digests)) == 4


def test_settings_of_the_compiler_matter(hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path) -> None:
    files = {
        **HELLO,
        "main.go": 'package main\n\nvar word = "plain"\n\nfunc main() { println(word) }\n',
        "tagged.go": '//go:build special\n\npackage main\n\nfunc init() { println("special") }\n',
    }
    build = Builds(hostbuild, go_wrapper, make_source(tmp_path / "src", files), ONE)
    digests = [
        build()[0],
        build("--ldflags", "-X main.word=other")[0],
        build("--tags", "special")[0],
        build(env={"GOFLAGS": "-gcflags=-N"})[0],
        build("-e", "NAME=value")[0],
        build("--label", "a=b")[0],
        build("--annotation", "a=b")[0],
        build("--user", "2000")[0],
        build(env={"SOURCE_DATE_EPOCH": "1"})[0],
    ]
    assert len(set(digests)) == len(digests)
    assert build()[1] == []  # the first is still there


def test_names_and_outputs_do_not_make_another_build(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path
) -> None:
    build = Builds(hostbuild, go_wrapper, make_source(tmp_path / "src", HELLO), ("--platform", "linux/amd64"))
    first, _, _ = build("-t", "registry.example/one:v1")
    second, calls, _ = build(
        "-t", "registry.example/two", "-o", f"type=oci,tar=false,dest={tmp_path / 'out'}"
    )
    assert (second, calls) == (first, [])
    assert read_layout(tmp_path / "out").reference == "registry.example/two:latest"


def test_no_cache_makes_it_again(hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path) -> None:
    build = Builds(hostbuild, go_wrapper, make_source(tmp_path / "src", HELLO), ONE)
    first, _, _ = build()
    second, calls, _ = build("--no-cache")
    assert second == first
    assert len([call for call in calls if " build " in call]) == 1


def test_an_edit_of_data_does_not_compile(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path
) -> None:
    build = Builds(hostbuild, go_wrapper, make_source(tmp_path / "src", {**HELLO, "page.html": "one"}), SHIP)
    first, _, _ = build()
    edit(build.root, "page.html", "two")
    second, calls, _ = build()
    assert second != first
    assert [call for call in calls if " build " in call] == []


def test_a_build_that_lost_a_blob_is_not_up_to_date(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path
) -> None:
    build = Builds(hostbuild, go_wrapper, make_source(tmp_path / "src", HELLO), ONE)
    first, _, _ = build()
    blob = max(
        (build.root / ".func/builds/last/oci/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size
    )
    blob.unlink()
    shutil.rmtree(hostbuild.cache)
    assert build()[0] == first
    hostbuild.build(build.root, *ONE, env=go_wrapper.env)  # reads and verifies every blob


def test_a_source_edited_while_it_is_built_fails(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path
) -> None:
    root = make_source(tmp_path / "src", {**HELLO, "note.txt": "one"})
    go_wrapper.pause()
    with hostbuild.start("build", root, *SHIP, env=go_wrapper.env) as process:
        go_wrapper.wait_until_paused()
        edit(root, "main.go", HELLO["main.go"].replace("hello", "other"))
        go_wrapper.release()
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "main.go" in stderr
    assert not (root / ".func/builds/last").exists()
    assert "Traceback" not in stderr


def test_what_was_compiled_of_an_edited_source_is_not_kept(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, tmp_path: Path
) -> None:
    """An edit in the middle of a build, then undone: what was made of it is not taken for the source's."""
    root = make_source(tmp_path / "src", HELLO)
    go_wrapper.pause()
    process = hostbuild.start("build", root, *ONE, env=go_wrapper.env)
    go_wrapper.wait_until_paused()
    edit(root, "main.go", HELLO["main.go"].replace("hello", "other"))
    go_wrapper.release()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "main.go was edited while it was being built" in errors
    edit(root, "main.go", HELLO["main.go"])
    fresh = tmp_path / "fresh"
    expected = hostbuild("build", root, *ONE, "--cache-dir", fresh / "cache", "--build-dir", fresh / "builds")
    assert hostbuild("build", root, *ONE, env=go_wrapper.env).digest == expected.digest
    assert len(go_wrapper.builds()) == 2

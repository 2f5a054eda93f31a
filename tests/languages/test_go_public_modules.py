"""The closures of well-known programs, with `go list` as the judge."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.languages import judge
from tests.languages.test_go_packages import TARGETS, agree, closure

MODULES = {
    "hey": ("github.com/rakyll/hey@v0.1.4", "."),
    "crane": ("github.com/google/go-containerregistry@v0.20.6", "cmd/crane"),
    "ko": ("github.com/google/ko@v0.18.0", "."),
}


def download(*arguments: str, cwd: Path) -> str:
    """What `go mod download` prints. It is tried again: the network is not what is tested here."""
    for _ in range(3):
        done = subprocess.run(
            ["go", "mod", "download", *arguments], cwd=cwd, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return done.stdout
    raise AssertionError(f"go mod download: {done.stdout}{done.stderr}")


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A writable copy of a public module, by short name."""
    copies: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in copies:
            told = download("-json", MODULES[name][0], cwd=tmp_path_factory.mktemp("download"))
            copies[name] = tmp_path_factory.mktemp(name) / "module"
            shutil.copytree(json.loads(told)["Dir"], copies[name], copy_function=shutil.copyfile)
            for directory, _, _ in os.walk(copies[name]):
                os.chmod(directory, 0o755)
            download(cwd=copies[name])
        return copies[name]

    return get


@pytest.mark.parametrize("name", MODULES)
def test_closure(public: Callable[[str], Path], name: str) -> None:
    root = public(name)
    directory = root / MODULES[name][1]
    agree(directory, root, targets=TARGETS[1:3])
    found = closure(directory)
    assert found.package_name == "main"
    assert (found.missing, found.problems, found.cgo_packages) == ((), (), ())
    assert {str(root / "go.mod"), str(root / "go.sum")} < set(found.files)


def test_all_of_the_packages_of_a_module(public: Callable[[str], Path]) -> None:
    """Every package of go-containerregistry, one after the other, test data included."""
    root = public("crane")
    done = subprocess.run(
        ["go", "list", "-e", "-json=Dir,GoFiles,SFiles,HFiles,SysoFiles,EmbedFiles", "./..."],
        cwd=root,
        env=judge.environment(judge.platform("linux/arm64"), GOPROXY="off", GOWORK="off"),
        capture_output=True,
        text=True,
        check=True,
    )
    decoder = json.JSONDecoder()
    text = done.stdout.lstrip()
    count = 0
    while text:
        package, end = decoder.raw_decode(text)
        text = text[end:].lstrip()
        theirs = judge.local_files([package], root)
        directory = Path(package["Dir"])
        ours = closure(directory, "linux/arm64", gowork="off").files
        assert {
            path for path in ours if Path(path).parent == directory and path.endswith((".go", ".s"))
        } == theirs
        count += 1
    assert count > 40

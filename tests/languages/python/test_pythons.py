"""Which Python of this machine compiles for a base's."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hostbuild.errors import ToolError, ToolMissingError, UsageError
from hostbuild.languages.base import Project
from hostbuild.languages.python.pythons import Compiler, find_compiler, tool_environment
from hostbuild.oci.platform import Platform
from hostbuild.wheels.base_python import BasePython

HERE = sys.version.split()[0]
#: A minor version that this Python is not.
OTHER = "3.10"

PLATFORMS = tuple(Platform.parse(each) for each in ("linux/amd64", "linux/arm64"))


def base(python: str, *, threaded: bool = False) -> BasePython:
    return BasePython(python, "glibc", "2.36", "/usr/bin/python3", "/s", "/bin/sh", (), (), threaded)


class Machine:
    """Programs in directories, and what they say when they are asked."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path: list[str] = []
        self.said: dict[str, str] = {}
        self.asked: list[Sequence[str]] = []
        self.memo: dict[str, str] = {}
        self.managed = ""

    def add(
        self,
        folder: str,
        version: str,
        kind: str = "cpython",
        flags: str = "",
        *,
        tag: str = "",
        real: str = "",
    ) -> str:
        """A program python3.X in a folder of PATH; `real` is the program that it starts."""
        minor = ".".join(version.split(".")[:2])
        place = self.home / folder
        place.mkdir(parents=True, exist_ok=True)
        self.path += [] if str(place) in self.path else [str(place)]
        program = place / f"python{OTHER}"
        program.write_text(version)
        program.chmod(0o755)
        tag = tag or f"{kind}-{minor.replace('.', '')}"
        self.said[str(program)] = json.dumps([kind, tag, flags, version, real or str(program)])
        return str(program)

    def find(self, *versions: str, environment: Mapping[str, str] | None = None) -> Compiler:
        uv = self.home / "uv"
        uv.write_text("")
        uv.chmod(0o755)
        project = Project(
            root=str(self.home),
            platforms=PLATFORMS[: len(versions)],
            environment={"PATH": os.pathsep.join(self.path), "HOSTBUILD_UV": str(uv), **(environment or {})},
            digest_file=lambda path: path,
            memo=self.memo,
            probe=self.probe,
        )
        found = find_compiler(project, [base(each) for each in versions])
        self.memo |= found.memo
        return found

    def probe(self, argv: Sequence[str], cwd: str, environment: Mapping[str, str]) -> str:
        self.asked.append(argv)
        assert cwd == str(self.home)
        assert environment["PYTHONHASHSEED"] == "0"
        if os.path.basename(argv[0]) == "uv":
            assert {"--no-python-downloads", "--offline", OTHER} < set(argv)
            if not self.managed:
                raise ToolError("uv failed")
            return f"{self.managed}\n"
        if not self.said[argv[0]]:
            raise ToolError("pyenv: command not found")
        return f"{self.said[argv[0]]}\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_this_very_python_is_not_even_asked(machine: Machine) -> None:
    minor = ".".join(HERE.split(".")[:2])
    assert machine.find(f"{minor}.99", f"{minor}.0") == (sys.executable, HERE, {})
    assert machine.asked == []


def test_the_first_in_path_that_fits(machine: Machine) -> None:
    machine.add("pypy", f"{OTHER}.4", "pypy")
    machine.add("threads", f"{OTHER}.4", flags="t")
    machine.add("odd", f"{OTHER}.4", tag="cpython-310-own")
    machine.add("wrong", "3.9.4")
    machine.add("early", f"{OTHER}.0rc2")
    machine.said[machine.add("broken", f"{OTHER}.4")] = ""
    machine.said[machine.add("silent", f"{OTHER}.4")] = "Python?"
    good = machine.add("good", f"{OTHER}.7")
    machine.add("later", f"{OTHER}.8")
    assert machine.find(f"{OTHER}.2")[:2] == (good, f"{OTHER}.7")


def test_shims_are_asked_last_and_what_they_start_is_remembered(machine: Machine) -> None:
    real = machine.add("versions", f"{OTHER}.4")
    machine.path.clear()
    machine.add("shims", f"{OTHER}.4", real=real)
    plain = machine.add("bin", f"{OTHER}.5")
    assert machine.find(f"{OTHER}.2").path == plain
    os.remove(plain)
    for _ in range(2):
        assert machine.find(f"{OTHER}.2").path == real
    assert [argv[0] for argv in machine.asked] == [plain, str(machine.home / f"shims/python{OTHER}")]
    os.remove(real)
    machine.add("shims", f"{OTHER}.6", real="/usr/bin/other")
    assert machine.find(f"{OTHER}.2")[:2] == ("/usr/bin/other", f"{OTHER}.6")


def test_what_uv_has_installed(machine: Machine) -> None:
    managed = machine.add("managed", f"{OTHER}.9")
    machine.path.clear()
    machine.managed = managed
    assert machine.find(f"{OTHER}.2")[:2] == (managed, f"{OTHER}.9")


def test_nothing_is_asked_twice_until_it_is_another_program(machine: Machine) -> None:
    machine.managed = machine.add("managed", f"{OTHER}.9")
    machine.path.clear()
    first = machine.find(f"{OTHER}.2")
    assert len(machine.asked) == 2
    assert machine.find(f"{OTHER}.2")[:2] == first[:2]
    assert len(machine.asked) == 2
    Path(machine.managed).unlink()
    machine.managed = machine.add("managed/next", f"{OTHER}.10")
    machine.path.clear()
    assert machine.find(f"{OTHER}.2").version == f"{OTHER}.10"


@pytest.mark.parametrize(
    ("here", "wanted", "fits"),
    [
        ("3.10.0rc2", ["3.10.0rc2"], True),
        ("3.10.0rc1", ["3.10.0rc2"], False),
        ("3.10.0", ["3.10.0rc2"], False),
        ("3.10.0rc2", ["3.10.0"], False),
        ("3.10.0+", ["3.10.0"], False),
        ("3.10.0", ["3.10.1", "3.10.0rc2"], False),
        ("3.10.4", ["3.10.1", "3.10.11"], True),
    ],
)
def test_what_is_not_released_is_its_own_version(
    machine: Machine, here: str, wanted: list[str], fits: bool
) -> None:
    program = machine.add("bin", here)
    if fits:
        assert machine.find(*wanted).path == program
    else:
        with pytest.raises(ToolMissingError):
            machine.find(*wanted)


def test_without_one_it_is_said_what_to_do(machine: Machine) -> None:
    with pytest.raises(ToolMissingError) as caught:
        machine.find(f"{OTHER}.2")
    assert caught.value.exit_code == 1
    assert caught.value.what == f"no Python {OTHER} was found to compile with"
    assert HERE in caught.value.why
    assert f"uv python install {OTHER}`" in caught.value.fix
    with pytest.raises(ToolMissingError, match=f"no Python {OTHER}.0rc2 was found") as caught:
        machine.find(f"{OTHER}.0rc2")
    assert f"uv python install {OTHER}.0rc2`" in caught.value.fix


def test_without_uv_too(machine: Machine) -> None:
    with pytest.raises(ToolMissingError, match=f"no Python {OTHER} was found"):
        machine.find(f"{OTHER}.2", environment={"HOSTBUILD_UV": "/nowhere/uv"})


def test_bases_of_two_minor_versions_are_refused(machine: Machine) -> None:
    with pytest.raises(UsageError, match="--compile needs the same minor version") as caught:
        machine.find("3.11.2", "3.13.5")
    assert "linux/amd64 has 3.11.2, linux/arm64 has 3.13.5" in caught.value.why


def test_a_free_threaded_base_is_refused(machine: Machine) -> None:
    project = Project(str(machine.home), PLATFORMS[:1], {}, str)
    with pytest.raises(UsageError, match="free-threaded"):
        find_compiler(project, [base("3.14.0", threaded=True)])


def test_the_recipe_has_the_version_and_no_path(machine: Machine) -> None:
    machine.add("bin", f"{OTHER}.7")
    recipe = machine.find(f"{OTHER}.2").recipe
    assert recipe["python"] == f"{OTHER}.7"
    assert str(machine.home) not in json.dumps(recipe)


def test_variables_of_python_do_not_reach_it() -> None:
    given = {"PYTHONPATH": "/x", "PYTHONHASHSEED": "7", "PYTHONOPTIMIZE": "2", "PATH": "/bin", "LANG": "C"}
    assert tool_environment(given) == {"PATH": "/bin", "LANG": "C", "PYTHONHASHSEED": "0"}


def test_a_real_one_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This Python, as if it were another one than runs hostbuild."""
    minor = ".".join(HERE.split(".")[:2])
    (tmp_path / f"python{minor}").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / f"python{minor}").chmod(0o755)
    project = Project(str(tmp_path), PLATFORMS[:1], {"PATH": str(tmp_path), "PYTHONPATH": "/x"}, str)
    monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-30")
    found = find_compiler(project, [base(HERE)])
    assert os.path.samefile(found.path, sys.executable)
    assert found.version == HERE

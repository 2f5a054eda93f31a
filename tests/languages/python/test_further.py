"""What is needed beside a project, with every kind of file that may say what the project needs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.inputs import Inputs, find_inputs
from hostbuild.languages.python.lockfile import Lock
from hostbuild.languages.python.locking import lock, lock_key
from hostbuild.languages.python.selection import select
from hostbuild.languages.python.uv import find_uv
from hostbuild.records import replace
from tests.languages.python.made import THREE, sha256, wheel, write

SERVE = ("serve==1.0",)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What there is to choose from: `serve` is what is needed beside a project."""
    folder = tmp_path_factory.mktemp("wheels")
    wheel(folder, "serve", "1.0", requires=["leaf>=1", "onarm; platform_machine == 'armv7l'", "hyper"])
    wheel(folder, "serve", "2.0")
    for version in ("0.9", "1.0", "2.0"):
        wheel(folder, "leaf", version)
    wheel(folder, "onarm", "1.0")
    wheel(folder, "onarm", "2.0")
    wheel(folder, "hyper", "1.0", requires=["leaf"])
    return folder


def asked(root: Path, tools: dict[str, str], *, files: tuple[str, ...] = (), **choices: Any) -> Inputs:
    return replace(find_inputs(str(root), environment=tools, files=files), **choices)


def run(
    root: Path, wheels: Path, tools: dict[str, str], work: Path, **choices: Any
) -> tuple[Lock, list[list[str]]]:
    """The lock, and what each target gets."""
    environment = {**tools, "UV_FIND_LINKS": str(wheels)}
    inputs = asked(root, environment, **choices)
    made = lock(inputs, THREE, environment=environment, work=str(work))
    assert list(work.iterdir()) == []
    selection = select(made, THREE, root=inputs.root)
    assert selection.missing == ()
    return made, [
        [f"{each.name} {each.version}" for each in one.wheels] + [f"./{each.name}" for each in one.local]
        for one in selection.targets
    ]


def project(*dependencies: str, more: str = "") -> str:
    listed = ", ".join(f'"{each}"' for each in dependencies)
    about = '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\n'
    return f"{about}dependencies = [{listed}]\n{more}"


LEAF_2 = ["hyper 1.0", "leaf 2.0", "serve 1.0"]
LEAF_1 = ["hyper 1.0", "leaf 1.0", "serve 1.0"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, LEAF_2),
        ({"requirements.txt": "# nothing\n"}, LEAF_2),
        ({"requirements.txt": "leaf<2\n"}, LEAF_1),
        ({"requirements.txt": "hyper\n", "constraints.txt": ""}, LEAF_2),
        ({"pyproject.toml": project()}, LEAF_2),
        ({"pyproject.toml": project("leaf<2")}, LEAF_1),
        ({"pyproject.toml": project("serve")}, LEAF_2),
    ],
)
def test_what_is_resolved_anyway_is_resolved_together_with_it(
    tmp_path: Path,
    wheels: Path,
    tools: dict[str, str],
    work: Path,
    files: dict[str, str],
    expected: list[str],
) -> None:
    _, found = run(write(tmp_path, files), wheels, tools, work, further=SERVE)
    assert found[0] == expected
    assert found[2] == sorted([*expected, "onarm 2.0"])
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(files)


def test_a_project_that_cannot_go_with_it(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"pyproject.toml": project("leaf<1")})
    with pytest.raises(DependenciesError) as caught:
        run(tmp_path, wheels, tools, work, further=SERVE)
    assert "serve<=1.0 depends on leaf>=1 and app depends on leaf<1" in caught.value.why


def uv_lock(root: Path, wheels: Path, tools: dict[str, str]) -> bytes:
    environment = {**tools, "UV_FIND_LINKS": str(wheels)}
    command = [find_uv(environment), "lock", "--quiet", "--no-index", "--no-python-downloads"]
    subprocess.run(command, cwd=root, env=environment, check=True)
    return (root / "uv.lock").read_bytes()


def test_a_uv_lock_keeps_its_versions(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"pyproject.toml": project("leaf<2", "onarm<2 ; platform_machine == 'x86_64'")})
    before = uv_lock(tmp_path, wheels, tools)
    write(tmp_path, {"pyproject.toml": project("leaf<2", "onarm<2 ; platform_machine == 'x86_64'")})
    made, found = run(tmp_path, wheels, tools, work, further=SERVE)
    assert made.label == "uv.lock"
    assert found == [sorted([*LEAF_1, "onarm 1.0"]), LEAF_1, sorted([*LEAF_1, "onarm 1.0"])]
    assert (tmp_path / "uv.lock").read_bytes() == before
    _, without = run(tmp_path, wheels, tools, work)
    assert without == [["leaf 1.0", "onarm 1.0"], ["leaf 1.0"], ["leaf 1.0"]]


def test_a_uv_lock_that_has_it_is_used_as_it_stands(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"pyproject.toml": project("serve>=2")})
    uv_lock(tmp_path, wheels, tools)
    _, found = run(tmp_path, tmp_path / "nothing", tools, work, further=SERVE)
    assert found == [["serve 2.0"]] * 3


def test_a_uv_lock_that_has_it_in_a_group_that_is_not_chosen(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    group = '[dependency-groups]\ndev = ["serve>=2"]\n'
    write(tmp_path, {"pyproject.toml": project("leaf", more=group)})
    uv_lock(tmp_path, wheels, tools)
    _, found = run(tmp_path, wheels, tools, work, further=SERVE)
    assert found[0] == LEAF_2


def test_a_uv_lock_that_cannot_go_with_it(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"pyproject.toml": project("leaf<1")})
    uv_lock(tmp_path, wheels, tools)
    with pytest.raises(DependenciesError) as caught:
        run(tmp_path, wheels, tools, work, further=SERVE)
    assert caught.value.what == "serve==1.0 cannot be had with the versions that uv.lock holds"
    assert "leaf" in caught.value.why
    assert "lock it again" in caught.value.fix


def pylock(folder: Path, wheels: Path, *packages: tuple[str, str, str]) -> Path:
    text = 'lock-version = "1.0"\ncreated-by = "test"\n'
    for name, version, marker in packages:
        path = wheels / f"{name}-{version}-py3-none-any.whl"
        text += f'[[packages]]\nname = "{name}"\nversion = "{version}"\n'
        text += f'marker = "{marker}"\n' if marker else ""
        text += f'wheels = [{{path = "{path}", hashes = {{sha256 = "{sha256(path)}"}}}}]\n'
    return write(folder, {"pylock.toml": text})


def test_a_pylock_is_added_to_for_the_targets_that_lack_it(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    amd64, other = "platform_machine == 'x86_64'", "platform_machine != 'x86_64'"
    pylock(
        tmp_path,
        wheels,
        ("leaf", "1.0", amd64),
        ("leaf", "2.0", other),
        ("onarm", "1.0", "'x' in dependency_groups"),
    )
    _, found = run(tmp_path, wheels, tools, work, further=SERVE)
    assert found == [LEAF_1, LEAF_2, sorted([*LEAF_2, "onarm 1.0"])]


def test_a_pylock_that_has_it_needs_no_tool(tmp_path: Path, wheels: Path, work: Path) -> None:
    pylock(tmp_path, wheels, ("serve", "2.0", ""))
    inputs = asked(tmp_path, {}, further=SERVE)
    made = lock(inputs, THREE, environment={"PATH": "", "HOSTBUILD_UV": "no-such-uv"}, work=str(work))
    assert [each["version"] for each in made.document["packages"]] == ["2.0"]


def test_requirements_with_hashes(tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path) -> None:
    good = sha256(wheels / "leaf-1.0-py3-none-any.whl")
    write(tmp_path, {"requirements.txt": f"leaf==1.0 --hash=sha256:{good}\n"})
    made, found = run(tmp_path, wheels, tools, work, further=SERVE)
    assert found[0] == LEAF_1
    assert made.hashes["leaf"] == (good,)
    assert made.hashes["serve"] == (sha256(wheels / "serve-1.0-py3-none-any.whl"),)
    write(tmp_path, {"requirements.txt": f"leaf==1.0 --hash=sha256:{'0' * 64}\n"})
    with pytest.raises(DependenciesError, match="not those of the files that are needed"):
        run(tmp_path, wheels, tools, work, further=SERVE)


# A project's dependencies without the project.

BUILT = '[build-system]\nrequires = []\nbuild-backend = "tiny"\nbackend-path = ["."]\n'


def test_dependencies_alone(tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path) -> None:
    sources = '[tool.uv.sources]\nlib = {path = "lib"}\n'
    lib = project("hyper").replace('"app"', '"lib"') + BUILT
    write(tmp_path, {"pyproject.toml": project("lib", more=BUILT + sources), "lib/pyproject.toml": lib})
    both = ["hyper 1.0", "leaf 2.0", "./lib"]
    assert run(tmp_path, wheels, tools, work, alone=True)[1][0] == both
    uv_lock(tmp_path, wheels, tools)
    assert run(tmp_path, wheels, tools, work)[1][0] == [*both[:2], "./app", "./lib"]
    assert run(tmp_path, wheels, tools, work, alone=True)[1][0] == both


def test_a_requirements_file_that_names_the_project(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"r.txt": "-e .\n", "pyproject.toml": project("leaf<2", more=BUILT)})
    assert run(tmp_path, wheels, tools, work, files=("r.txt",))[1][0] == ["leaf 1.0", "./app"]
    _, found = run(tmp_path, wheels, tools, work, files=("r.txt",), alone=True, further=SERVE)
    assert found[0] == LEAF_1


def test_a_project_that_is_not_taken_is_not_built(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": project(more=BUILT)})
    assert asked(tmp_path, {}).builds_project
    assert not asked(tmp_path, {}, alone=True).builds_project


def test_the_key_covers_both(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": project(more=BUILT)})
    ways: list[dict[str, Any]] = [{}, {"further": SERVE}, {"alone": True}, {"further": SERVE, "alone": True}]
    keys = {json.dumps(lock_key(asked(tmp_path, {}, **way), THREE, {}), sort_keys=True) for way in ways}
    assert len(keys) == len(ways)


def test_the_same_lock_twice(tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path) -> None:
    made = []
    for name in ("one", "two"):
        pylock(tmp_path / name, wheels, ("leaf", "1.0", ""))
        found, _ = run(tmp_path / name, wheels, tools, work, further=SERVE)
        made.append(json.dumps(found.to_json()))
    assert made[0] == made[1]

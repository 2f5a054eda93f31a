"""One lock for all targets, by the real uv, out of a directory of small wheels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import DependenciesError, OfflineError
from hostbuild.languages.python.inputs import find_inputs
from hostbuild.languages.python.lockfile import Lock
from hostbuild.languages.python.locking import check_python, lock, lock_key
from hostbuild.languages.python.selection import select
from hostbuild.languages.python.session import Resolving, target_environment
from hostbuild.languages.python.uv import find_uv
from hostbuild.languages.python.values import Selection
from hostbuild.wheels.target import Target
from tests.languages.python.made import THREE, sdist, sha256, target, wheel, write


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What there is to choose from."""
    folder = tmp_path_factory.mktemp("wheels")
    wheel(
        folder,
        "app",
        "1.0",
        requires=["leaf>=1", "onarm; platform_machine == 'armv7l'", "old; python_version < '3.12'"],
    )
    wheel(folder, "leaf", "1.0")
    wheel(folder, "leaf", "2.0")
    wheel(folder, "onarm", "1.0")
    wheel(folder, "old", "1.0")
    wheel(folder, "extra", "1.0")
    for machine in ("x86_64", "aarch64"):
        wheel(folder, "native", "2.0", f"cp313-cp313-manylinux_2_17_{machine}")
    wheel(folder, "native", "1.0")
    wheel(folder, "native", "2.0", "cp312-cp312-win_amd64")
    sdist(folder, "source", "1.0")
    for name in ("bad", "worse"):
        sdist(folder, name, "1.0", setup="raise SystemExit('no pg_config')", metadata=False)
    return folder


def run(
    root: Path,
    wheels: Path,
    tools: dict[str, str],
    work: Path,
    targets: tuple[Target, ...] = THREE,
    how: Resolving | None = None,
    **choices: Any,
) -> tuple[Lock, Selection]:
    environment = {**tools, "UV_FIND_LINKS": str(wheels)}
    inputs = find_inputs(str(root), environment=environment, **choices)
    made = lock(inputs, targets, environment=environment, work=str(work), how=how)
    assert list(work.iterdir()) == []
    return made, select(made, targets, root=inputs.root)


def titles(selection: Selection) -> list[list[str]]:
    return [[f"{each.name} {each.version}" for each in one.wheels] for one in selection.targets]


def test_requirements_for_three_targets(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"requirements.txt": "app\n-c limits.txt\n", "limits.txt": "leaf<2\n"})
    made, found = run(tmp_path, wheels, tools, work)
    two = ["app 1.0", "leaf 1.0"]
    assert titles(found) == [two, two, [*two, "onarm 1.0"]]
    assert found.targets[0].wheels[0].sha256 == sha256(wheels / "app-1.0-py3-none-any.whl")
    assert found.targets[0].wheels[0].path == str(wheels / "app-1.0-py3-none-any.whl")
    assert made.environments == tuple(target_environment(each) for each in THREE)
    # Nothing is in the lock that no target needs.
    assert [each["name"] for each in made.document["packages"]] == ["app", "leaf", "onarm"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["limits.txt", "requirements.txt"]


def test_targets_with_different_pythons(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"requirements.txt": "app"})
    two = (target(python="3.11.9"), target("linux/arm/v7", python="3.13.1"))
    _, found = run(tmp_path, wheels, tools, work, two)
    assert titles(found) == [["app 1.0", "leaf 2.0", "old 1.0"], ["app 1.0", "leaf 2.0", "onarm 1.0"]]


def test_a_pre_release_of_python(tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path) -> None:
    write(tmp_path, {"requirements.txt": "app"})
    _, found = run(tmp_path, wheels, tools, work, (target(python="3.15.0rc1"),))
    assert titles(found) == [["app 1.0", "leaf 2.0"]]


def test_the_newest_version_is_taken_and_what_it_lacks_is_missing(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"requirements.txt": "native\nsource\n"})
    _, found = run(tmp_path, wheels, tools, work)
    assert titles(found) == [["native 2.0"], ["native 2.0"], []]
    native, source = found.missing
    assert (native.name, [each.platform for each in native.gaps]) == ("native", ["linux/arm/v7"])
    assert (source.name, len(source.gaps), source.wheels) == ("source", 3, ())
    assert source.sdist is not None
    assert source.sdist.path == str(wheels / "source-1.0.tar.gz")


def test_what_cannot_be_built_is_named_with_all_the_rest(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"requirements.txt": "bad\nworse\nnative\nleaf\n"})
    made, found = run(tmp_path, wheels, tools, work)
    assert [each.name for each in found.missing] == ["bad", "native", "worse"]
    assert sorted(made.unbuildable) == ["bad", "worse"]
    assert found.missing[0].note == made.unbuildable["bad"] != ""


def test_without_builds_what_has_no_wheel_is_an_error(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"requirements.txt": "source"})
    with pytest.raises(DependenciesError, match="cannot be resolved"):
        run(tmp_path, wheels, tools, work, how=Resolving(allow_builds=False))


def test_versions_that_differ_by_machine(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    lines = ["native==1.0 ; platform_machine == 'armv7l'", "native==2.0 ; platform_machine != 'armv7l'"]
    write(tmp_path, {"requirements.txt": "\n".join(lines)})
    _, found = run(tmp_path, wheels, tools, work)
    assert titles(found) == [["native 2.0"], ["native 2.0"], ["native 1.0"]]
    # A package of wheels only, where the versions differ anyway: uv gives up, and is asked once more.
    wheel(tmp_path / "more", "only", "1.0", "cp313-cp313-manylinux_2_17_x86_64")
    with (tmp_path / "requirements.txt").open("a") as stream:
        stream.write("\nonly\n--find-links more\n")
    _, found = run(tmp_path, wheels, tools, work)
    assert titles(found) == [["native 2.0", "only 1.0"], ["native 2.0"], ["native 1.0"]]
    (missing,) = found.missing
    assert (missing.name, [gap.platform for gap in missing.gaps]) == ("only", ["linux/arm64", "linux/arm/v7"])


def test_hashes_of_a_requirements_file_hold(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    good = sha256(wheels / "leaf-1.0-py3-none-any.whl")
    write(tmp_path, {"requirements.txt": f"leaf==1.0 --hash=sha256:{good}\n"})
    _, found = run(tmp_path, wheels, tools, work)
    assert titles(found)[0] == ["leaf 1.0"]
    write(tmp_path, {"requirements.txt": f"leaf==1.0 --hash=sha256:{'0' * 64}\n"})
    with pytest.raises(DependenciesError, match="not those of the files that are needed"):
        run(tmp_path, wheels, tools, work)
    app = sha256(wheels / "app-1.0-py3-none-any.whl")
    write(tmp_path, {"requirements.txt": f"app==1.0 --hash=sha256:{app}\n"})
    with pytest.raises(DependenciesError, match="not those of the files") as caught:
        run(tmp_path, wheels, tools, work)
    assert "leaf 2.0" in caught.value.detail


PYPROJECT = """
[project]
name = "web"
version = "1"
requires-python = ">=3.11"
dependencies = ["leaf", "lib"]
[project.optional-dependencies]
x = ["extra"]
[dependency-groups]
prod = ["onarm", {include-group = "base"}]
base = ["old"]
dev = ["no-such-package"]
[tool.uv]
constraint-dependencies = ["leaf<2"]
[tool.uv.sources]
lib = {path = "lib", editable = true}
"""
LIB = """
[project]
name = "lib"
version = "1"
dependencies = ["app"]
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""


def test_a_project_with_local_sources_and_settings_of_uv(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"pyproject.toml": PYPROJECT, "lib/pyproject.toml": LIB})
    _, found = run(tmp_path, wheels, tools, work)
    assert titles(found)[0] == ["app 1.0", "leaf 1.0"]
    assert [(each.name, each.path) for each in found.targets[0].local] == [("lib", str(tmp_path / "lib"))]
    _, more = run(tmp_path, wheels, tools, work, extras=["x"], groups=["prod"])
    assert titles(more)[0] == ["app 1.0", "extra 1.0", "leaf 1.0", "old 1.0", "onarm 1.0"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lib", "pyproject.toml"]


def test_local_projects_of_a_requirements_file_bring_what_they_need(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(tmp_path, {"requirements.txt": "-e ./lib\n", "lib/pyproject.toml": LIB})
    made, found = run(tmp_path, wheels, tools, work)
    assert titles(found)[0] == ["app 1.0", "leaf 2.0"]
    assert [each.path for each in found.targets[0].local] == [str(tmp_path / "lib")]
    assert "an image holds the built wheel" in made.warnings[0]
    assert str(tmp_path) not in json.dumps(made.to_json()["document"]["packages"][2])


def uv_lock(root: Path, wheels: Path, tools: dict[str, str]) -> None:
    environment = {**tools, "UV_FIND_LINKS": str(wheels)}
    command = [find_uv(environment), "lock", "--quiet", "--no-index", "--no-python-downloads"]
    subprocess.run(command, cwd=root, env=environment, check=True)


def test_a_uv_lock_is_used_as_it_stands(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    write(
        tmp_path,
        {"pyproject.toml": PYPROJECT.replace('dev = ["no-such-package"]', ""), "lib/pyproject.toml": LIB},
    )
    import subprocess

    environment = {**tools, "UV_FIND_LINKS": str(wheels)}
    subprocess.run(
        ["uv", "lock", "--quiet", "--no-index", "--no-python-downloads"],
        cwd=tmp_path,
        env=environment,
        check=True,
    )
    before = (tmp_path / "uv.lock").read_bytes()
    wheel(tmp_path / "newer", "leaf", "1.5")
    made, found = run(tmp_path, tmp_path / "newer", tools, work)
    assert made.label == "uv.lock"
    assert titles(found) == [
        ["app 1.0", "leaf 1.0"],
        ["app 1.0", "leaf 1.0"],
        ["app 1.0", "leaf 1.0", "onarm 1.0"],
    ]
    assert [(each.name, each.path) for each in found.targets[0].local] == [("lib", str(tmp_path / "lib"))]
    _, more = run(tmp_path, wheels, tools, work, extras=["x"], groups=["prod"])
    assert titles(more)[0] == ["app 1.0", "extra 1.0", "leaf 1.0", "old 1.0", "onarm 1.0"]
    assert (tmp_path / "uv.lock").read_bytes() == before


def test_a_uv_lock_for_fewer_platforms_is_an_error(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    text = "[project]\nname='a'\nversion='1'\nrequires-python='>=3.11'\ndependencies=['leaf']\n"
    write(tmp_path, {"pyproject.toml": text + "[tool.uv]\nenvironments=[\"platform_machine == 'x86_64'\"]\n"})
    uv_lock(tmp_path, wheels, tools)
    with pytest.raises(DependenciesError, match="does not cover every target") as caught:
        run(tmp_path, wheels, tools, work)
    assert "linux/arm64" in caught.value.why
    assert "[tool.uv] environments" in caught.value.fix
    (tmp_path / "uv.lock").write_text("version = 99\n")
    with pytest.raises(DependenciesError, match="cannot be used"):
        run(tmp_path, wheels, tools, work)


def test_a_pylock_needs_no_tool(tmp_path: Path, work: Path) -> None:
    data = Path(__file__).parent / "data" / "pylock.flask.toml"
    shutil.copy(data, tmp_path / "pylock.toml")
    inputs = find_inputs(str(tmp_path), environment={})
    made = lock(inputs, THREE, environment={"PATH": ""}, work=str(work))
    assert (made.label, made.environments) == ("pylock.toml", ())
    assert len(select(made, THREE, root=inputs.root).targets[2].wheels) == 7


@pytest.mark.parametrize("files", [{}, {"requirements.txt": "# nothing\n"}])
def test_nothing_asked_for_needs_no_tool(tmp_path: Path, work: Path, files: dict[str, str]) -> None:
    inputs = find_inputs(str(write(tmp_path, files)), environment={})
    made = lock(inputs, THREE, environment={"PATH": ""}, work=str(work))
    assert [each.wheels for each in select(made, THREE, root=inputs.root).targets] == [(), (), ()]


def test_what_there_is_not(tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path) -> None:
    write(tmp_path, {"requirements.txt": "no-such-package\n"})
    with pytest.raises(DependenciesError) as caught:
        run(tmp_path, wheels, tools, work)
    assert "no-such-package" in caught.value.why
    write(tmp_path, {"requirements.txt": "leaf>=3\n"})
    with pytest.raises(DependenciesError) as caught:
        run(tmp_path, wheels, tools, work)
    assert "leaf>=3" in caught.value.why


def test_offline_without_a_cache(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    write(tmp_path, {"requirements.txt": "leaf\n"})
    environment = {**tools, "UV_CACHE_DIR": str(tmp_path / "cache")}
    del environment["PIP_NO_INDEX"]
    inputs = find_inputs(str(tmp_path), environment=environment)
    with pytest.raises(OfflineError) as caught:
        lock(inputs, THREE, environment=environment, work=str(work), how=Resolving(offline=True))
    assert "build once without --offline" in caught.value.fix
    assert list(work.iterdir()) == []


def test_another_python_than_the_project_asks_for(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": "[project]\nname='a'\nrequires-python='>=3.14'\n"})
    inputs = find_inputs(str(tmp_path), environment={})
    with pytest.raises(DependenciesError, match=r"for Python >=3\.14, and the base image has 3\.13\.5"):
        check_python(inputs, THREE)
    check_python(inputs, [target(python="3.14.0"), target(python="3.15.0rc1")])
    write(tmp_path, {"pyproject.toml": "[project]\nname='a'\nrequires-python='3.14 or so'\n"})
    with pytest.raises(DependenciesError, match="is not a version specifier"):
        check_python(find_inputs(str(tmp_path), environment={}), THREE)


# The key.


def key(
    root: Path, targets: tuple[Target, ...] = THREE, how: Resolving | None = None, **variables: str
) -> str:
    inputs = find_inputs(str(root), environment=variables)
    return json.dumps(lock_key(inputs, targets, variables, how), sort_keys=True)


def test_the_key_is_that_of_the_inputs_and_nothing_else(tmp_path: Path) -> None:
    files = {"requirements.txt": "a==${V}\n-r b.txt\n", "b.txt": "b\n", "pyproject.toml": ""}
    one, two = write(tmp_path / "one", files), write(tmp_path / "two", files)
    first = key(one, V="1")
    assert key(two, V="1") == first
    assert str(tmp_path) not in first
    assert key(one, THREE[::-1], V="1") == first
    assert key(one, V="1", PATH="/elsewhere", UV_CACHE_DIR="/c") == first
    different = {
        "a variable": key(one, V="2"),
        "a target": key(one, THREE[:2], V="1"),
        "a Python": key(one, (target(python="3.13.6"),), V="1"),
        "a date": key(one, how=Resolving(exclude_newer="2026-01-01"), V="1"),
        "an index": key(one, V="1", UV_INDEX="https://i.example/"),
        "pip's index": key(one, V="1", PIP_INDEX_URL="https://i.example/"),
    }
    write(one, {"b.txt": "b>1\n"})
    different["a file"] = key(one, V="1")
    write(one, {"uv.toml": ""})
    different["uv's settings"] = key(one, V="1")
    assert len({first, *different.values()}) == len(different) + 1, different


def test_offline_is_no_part_of_the_key_and_a_password_neither(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"requirements.txt": "-i https://me:${PW}@i.example/simple\na @ https://me:${PW}@h.example/a.whl\n"},
    )
    first = key(tmp_path, PW="secret1")
    assert key(tmp_path, PW="secret2") == first
    assert "secret1" not in first
    assert key(tmp_path, how=Resolving(offline=True), PW="secret1") == first


def test_locking_twice_gives_the_same(
    tmp_path: Path, wheels: Path, tools: dict[str, str], work: Path
) -> None:
    files = {"requirements.txt": "app\nnative\n./lib\n", "lib/pyproject.toml": LIB}
    made = []
    for name in ("one", "two"):
        root = write(tmp_path / name, files)
        found, _ = run(root, wheels, tools, work)
        made.append(json.dumps(found.to_json()).replace(os.fspath(wheels), ""))
    assert made[0] == made[1]


def test_what_has_wheels_for_other_pythons_only_is_missing_with_all_others(
    tmp_path: Path, tools: dict[str, str], work: Path
) -> None:
    wheels = tmp_path / "wheels"
    wheel(wheels, "here", "1.0")
    wheel(wheels, "newer", "1.0", "cp314-cp314-manylinux_2_17_x86_64")
    wheel(wheels, "older", "1.0", "cp39-cp39-manylinux_2_17_x86_64")
    wheel(wheels, "foreign", "1.0", "cp313-cp313-macosx_11_0_arm64")
    root = write(tmp_path / "app", {"requirements.txt": "here\nnewer\nolder\nforeign\n"})
    _, selection = run(root, wheels, tools, work)
    assert [each.name for each in selection.missing] == ["foreign", "newer", "older"]
    assert titles(selection) == [["here 1.0"]] * 3


WINDOWS_ONLY = "here\nnowhere-to-be-had ; sys_platform == 'win32'\n"


@pytest.mark.parametrize("place", ["nothing", "uv.toml", "UV_CONFIG_FILE", "UV_NO_CONFIG"])
def test_what_is_for_no_target_is_not_asked_for_however_uv_is_configured(
    tmp_path: Path, tools: dict[str, str], work: Path, place: str
) -> None:
    wheel(tmp_path / "wheels", "here", "1.0")
    root = write(tmp_path / "app", {"requirements.txt": WINDOWS_ONLY})
    if place == "uv.toml":
        write(root, {"uv.toml": 'resolution = "highest"\n'})
    elif place == "UV_CONFIG_FILE":
        tools = {**tools, place: str(write(tmp_path, {"x.toml": 'resolution = "highest"\n'}) / "x.toml")}
    elif place == "UV_NO_CONFIG":
        tools = {**tools, place: "1"}
    _, selection = run(root, tmp_path / "wheels", tools, work)
    assert titles(selection) == [["here 1.0"]] * 3


@pytest.mark.parametrize("place", ["uv.toml", "UV_CONFIG_FILE"])
def test_what_a_uv_toml_says_counts(tmp_path: Path, tools: dict[str, str], work: Path, place: str) -> None:
    wheels = tmp_path / "wheels"
    wheel(wheels, "leaf", "1.0")
    wheel(wheels, "leaf", "2.0")
    root = write(tmp_path / "app", {"requirements.txt": "leaf\n"})
    text = 'resolution = "lowest"\nfind-links = ["../wheels"]\n'
    if place == "uv.toml":
        write(root, {"uv.toml": text})
    else:
        tools = {**tools, place: str(write(tmp_path / "elsewhere", {"x.toml": text}) / "x.toml")}
    inputs = find_inputs(str(root), environment=tools)
    made = lock(inputs, THREE, environment=tools, work=str(work))
    assert titles(select(made, THREE, root=inputs.root)) == [["leaf 1.0"]] * 3


def test_a_uv_toml_that_cannot_be_read_is_an_error(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    root = write(tmp_path / "app", {"requirements.txt": "leaf\n", "uv.toml": "x = ["})
    with pytest.raises(DependenciesError, match=r"uv\.toml"):
        run(root, tmp_path, tools, work)

"""Which file decides what a project needs, and every file that was read for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from hostbuild.errors import DependenciesError, HostbuildError, UsageError
from hostbuild.languages.python.inputs import Inputs, find_inputs, is_pylock_name
from tests.languages.python.made import write

PROJECT = "[project]\nname='app'\n"
WITH = PROJECT + "dependencies=['flask']\n"
EXTRAS = WITH + "[project.optional-dependencies]\nx=['six']\n[dependency-groups]\nprod=['h11']\n"
LOCK = "lock-version='1.0'\ncreated-by='x'\npackages=[]\n"


def find(
    root: Path,
    files: Iterable[str] = (),
    extras: Iterable[str] = (),
    groups: Iterable[str] = (),
    package: str = "",
) -> Inputs:
    return find_inputs(
        str(root), environment={}, files=tuple(files), extras=extras, groups=groups, package=package
    )


def names(inputs: Inputs) -> set[str]:
    return {inputs.label(each.path) for each in inputs.files}


ALL = {"pylock.toml": LOCK, "uv.lock": "", "pyproject.toml": WITH, "requirements.txt": "six"}


@pytest.mark.parametrize(
    ("files", "kind", "path"),
    [
        (ALL, "pylock", "pylock.toml"),
        ({name: ALL[name] for name in ("uv.lock", "pyproject.toml", "requirements.txt")}, "uv", "uv.lock"),
        ({"uv.lock": "", "requirements.txt": "six"}, "requirements", "requirements.txt"),
        ({"pyproject.toml": WITH, "requirements.txt": "six"}, "pyproject", "pyproject.toml"),
        ({"pyproject.toml": PROJECT, "requirements.txt": "six"}, "requirements", "requirements.txt"),
        ({"pyproject.toml": PROJECT}, "pyproject", "pyproject.toml"),
        ({"pyproject.toml": "[tool.x]", "requirements.txt": "six"}, "requirements", "requirements.txt"),
        ({"pyproject.toml": "[tool.poetry.dependencies]\npython='*'"}, "pyproject", "pyproject.toml"),
        ({"requirements.txt": "six"}, "requirements", "requirements.txt"),
        ({"pyproject.toml": "[tool.x]"}, "nothing", ""),
        ({}, "nothing", ""),
    ],
)
def test_the_first_of_the_order_decides(
    tmp_path: Path, files: Mapping[str, str], kind: str, path: str
) -> None:
    found = find(write(tmp_path, files))
    assert (found.kind, found.path) == (kind, str(tmp_path / path) if path else "")
    assert "pyproject.toml" not in files or "pyproject.toml" in names(found)
    assert not path or path in names(found)


def test_what_the_user_names_comes_first(tmp_path: Path) -> None:
    write(tmp_path, {**ALL, "a.txt": "one", "b.txt": "two\none", "pylock.prod.toml": LOCK})
    found = find(tmp_path, ["a.txt", "b.txt"])
    assert found.kind == "requirements"
    assert found.asked is not None
    assert [each.name for each in found.asked.requirements] == ["one", "two", "one"]
    assert names(found) == {"a.txt", "b.txt", "pyproject.toml"}
    assert find(tmp_path, ["pylock.prod.toml"]).kind == "pylock"
    with pytest.raises(UsageError, match="one of several files"):
        find(tmp_path, ["a.txt", "pylock.prod.toml"])
    with pytest.raises(DependenciesError, match=r"cannot read no\.txt"):
        find(tmp_path, ["no.txt"])


@pytest.mark.parametrize(
    ("name", "is_lock"),
    [
        ("pylock.toml", True),
        ("pylock.a-b.toml", True),
        ("pylock.a.b.toml", False),
        ("pylock..toml", False),
        ("xpylock.toml", False),
        ("pylock.txt", False),
    ],
)
def test_names_of_locks(name: str, is_lock: bool) -> None:
    assert is_pylock_name(name) is is_lock


def test_hashes_in_one_file_and_not_in_the_other_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": f"a==1 --hash=sha256:{'a' * 64}", "b.txt": "b"})
    with pytest.raises(DependenciesError, match="another one has none"):
        find(tmp_path, ["a.txt", "b.txt"])


def test_extras_and_groups_are_normalised_and_must_be_there(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": EXTRAS})
    found = find(tmp_path, extras=["X"], groups=["Prod"])
    assert (found.extras, found.groups) == (("x",), ("prod",))
    with pytest.raises(UsageError, match="no extra 'y'") as caught:
        find(tmp_path, extras=["y"])
    assert caught.value.fix == "it has x"
    with pytest.raises(UsageError, match="no dependency group 'dev'"):
        find(tmp_path, groups=["dev"])
    with pytest.raises(UsageError, match="the package 'p' cannot be chosen"):
        find(tmp_path, package="p")
    write(tmp_path, {"other/requirements.txt": "six"})
    with pytest.raises(UsageError, match="no extra 'x'"):
        find(tmp_path / "other", extras=["x"])


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (PROJECT + "dependencies=['six', 'a b']", "project.dependencies, entry 2"),
        (EXTRAS.replace("'six'", "'git+https://h.example/r'"), "project.optional-dependencies.x, entry 1"),
        (EXTRAS.replace("'h11'", "'h11 @ git+https://h.example/r'"), "dependency-groups.prod, entry 1"),
    ],
)
def test_a_wrong_requirement_is_found_before_any_tool_runs(tmp_path: Path, text: str, where: str) -> None:
    write(tmp_path, {"pyproject.toml": text})
    with pytest.raises(DependenciesError) as caught:
        find(tmp_path, extras=["x"] if "x=" in text else (), groups=["prod"] if "prod" in text else ())
    assert caught.value.what.startswith(f"pyproject.toml: {where}: ")


def test_dynamic_dependencies_in_files_are_read(tmp_path: Path) -> None:
    text = PROJECT + "dynamic=['dependencies']\n[build-system]\nrequires=[]\n"
    text += "[tool.setuptools.dynamic]\ndependencies={file=['reqs.in']}\n"
    write(tmp_path, {"pyproject.toml": text, "reqs.in": "flask\n"})
    found = find(tmp_path)
    assert (found.kind, found.builds_project) == ("requirements", True)
    assert found.asked is not None
    assert [each.name for each in found.asked.requirements] == ["flask"]
    assert names(found) == {"pyproject.toml", "reqs.in"}


def test_every_local_project_that_decides_is_among_the_files(tmp_path: Path) -> None:
    sources = "[tool.uv.sources]\none={path='libs/one'}\ntwo=[{path='two', extra='x'}, {index='i'}]\n"
    write(
        tmp_path,
        {
            "app/pyproject.toml": WITH + sources,
            "app/setup.cfg": "",
            "app/libs/one/pyproject.toml": PROJECT + "[tool.uv.sources]\nthree={path='../../../three'}\n",
            "app/two/pyproject.toml": PROJECT,
            "three/pyproject.toml": PROJECT + "[tool.uv.sources]\none={path='../app/libs/one'}\n",
            "unrelated/pyproject.toml": PROJECT,
        },
    )
    expected = {"pyproject.toml", "setup.cfg", "libs/one/pyproject.toml", "two/pyproject.toml"}
    assert names(find(tmp_path / "app")) == expected | {"../three/pyproject.toml"}


def test_local_projects_of_a_requirements_file(tmp_path: Path) -> None:
    write(tmp_path, {"requirements.txt": "./lib\n-e .\n", "lib/setup.py": "", "pyproject.toml": PROJECT})
    found = find(tmp_path)
    assert [each.path for each in found.local] == [str(tmp_path / "lib"), str(tmp_path)]
    assert names(found) == {"requirements.txt", "lib/setup.py", "pyproject.toml"}
    assert len(found.warnings) == 2


WORKSPACE = {
    "pyproject.toml": PROJECT + "[tool.uv.workspace]\nmembers=['packages/*']\nexclude=['packages/no']\n",
    "uv.lock": "",
    "packages/one/pyproject.toml": "[project]\nname='One'\n[project.optional-dependencies]\nx=[]\n",
    "packages/no/pyproject.toml": PROJECT,
    "outside/pyproject.toml": PROJECT,
}


def test_a_member_of_a_workspace_uses_its_lock(tmp_path: Path) -> None:
    write(tmp_path, WORKSPACE)
    found = find(tmp_path / "packages" / "one", extras=["x"])
    assert (found.kind, found.path) == ("uv", str(tmp_path / "uv.lock"))
    for other in ("packages/no", "outside"):
        assert find(tmp_path / other).kind == "pyproject"
    chosen = find(tmp_path, package="one", extras=["x"])
    assert (chosen.package, chosen.project and chosen.project.name) == ("one", "One")
    assert names(chosen) == {"uv.lock", "pyproject.toml", "packages/one/pyproject.toml"}
    with pytest.raises(UsageError, match="no package 'two'") as caught:
        find(tmp_path, package="two")
    assert caught.value.fix == "it has app, one"


def test_a_repository_s_root_bounds_the_search(tmp_path: Path) -> None:
    write(tmp_path, WORKSPACE)
    (tmp_path / "packages" / "one" / ".git").mkdir()
    assert find(tmp_path / "packages" / "one").kind == "pyproject"


def test_whether_the_project_itself_is_built(tmp_path: Path) -> None:
    write(tmp_path, {"a/pyproject.toml": WITH, "b/pyproject.toml": WITH + "[build-system]\nrequires=[]\n"})
    assert [find(tmp_path / each).builds_project for each in "ab"] == [False, True]


def test_nothing_is_asked_for_and_an_extra_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(HostbuildError, match="no extra 'x'"):
        find(tmp_path, extras=["x"])

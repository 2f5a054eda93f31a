"""pyproject.toml."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.pyproject import PyProject, parse_pyproject, read_pyproject
from hostbuild.languages.python.tomltext import dump_toml


def parse(text: str) -> PyProject:
    return parse_pyproject(text.encode(), "/p/pyproject.toml")


WHOLE = """
[project]
name = "Web_App"
version = "1.2"
requires-python = ">=3.11"
dependencies = ["flask>=2", "six; os_name == 'nt'"]
dynamic = ["readme"]
[project.optional-dependencies]
Extra_One = ["h11"]
[project.scripts]
web = "app:main"
[project.gui-scripts]
win = "app:win"
[dependency-groups]
Dev = ["pytest", {include-group = "more.tests"}]
more-tests = ["tox"]
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.uv]
package = true
"""


def test_all_that_is_read() -> None:
    found = parse(WHOLE)
    assert (found.name, found.version, found.requires_python) == ("Web_App", "1.2", ">=3.11")
    assert found.dependencies == ("flask>=2", "six; os_name == 'nt'")
    assert found.optional == {"extra-one": ("h11",)}
    assert found.groups == {"dev": ("pytest", "tox"), "more-tests": ("tox",)}
    assert (found.scripts, found.gui_scripts) == ({"web": "app:main"}, {"win": "app:win"})
    assert (found.dynamic, found.backend) == (("readme",), "hatchling.build")
    assert found.uv == {"package": True}
    assert found.has_project
    assert found.root == "/p"
    assert found.declares_dependencies


@pytest.mark.parametrize(
    ("text", "is_package"),
    [
        ("[project]\nname='a'", False),
        ("[project]\nname='a'\n[build-system]\nrequires=[]", True),
        ("[project]\nname='a'\n[build-system]\nrequires=[]\n[tool.uv]\npackage=false", False),
        ("[project]\nname='a'\n[tool.uv]\npackage=true", True),
    ],
)
def test_whether_the_project_itself_is_built(text: str, is_package: bool) -> None:
    assert parse(text).is_package is is_package


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[project]\nversion='1'", "[project] has no name"),
        ("[project", "cannot be read"),
        ("project = 1", "project must be a table"),
        ("[project]\nname='a'\ndependencies='b'", "project.dependencies must be an array of strings"),
        ("[project]\nname='a'\ndependencies=[1]", "project.dependencies must be an array of strings"),
        ("[project]\nname='a'\n[project.scripts]\nx=1", "project.scripts.x must be a string"),
        (
            "[project]\nname='a'\ndependencies=[]\ndynamic=['dependencies']",
            "project.dependencies is written down and dynamic",
        ),
        ("[dependency-groups]\na='x'", "dependency-groups.a must be an array"),
        ("[dependency-groups]\na=[1]", "dependency-groups.a must be of strings"),
        ("[dependency-groups]\na=[{include-group='b', x=1}]", "dependency-groups.a must be of strings"),
        ("[dependency-groups]\na=[{include-group='b'}]", "the dependency group 'a' includes 'b'"),
        ("[dependency-groups]\na=[{include-group='A'}]", "the dependency group 'a' includes itself"),
        ("[dependency-groups]\na=[]\nA=[]", "two dependency groups are called 'a'"),
    ],
)
def test_refusals(text: str, what: str) -> None:
    with pytest.raises(DependenciesError) as caught:
        parse(text)
    assert what in caught.value.what


@pytest.mark.parametrize("data", [b"\xff", b"a = " + b"[" * 20000])
def test_bytes_that_are_no_toml(data: bytes) -> None:
    with pytest.raises(DependenciesError):
        parse_pyproject(data, "/p/pyproject.toml")


DYNAMIC = "[project]\nname='a'\ndynamic=['dependencies']\n"
SETUPTOOLS = "[build-system]\nrequires=[]\nbuild-backend='setuptools.build_meta'\n"


@pytest.mark.parametrize(
    ("text", "files"),
    [
        (DYNAMIC + SETUPTOOLS + "[tool.setuptools.dynamic]\ndependencies={file=['r.txt']}", ("r.txt",)),
        (DYNAMIC + SETUPTOOLS + "[tool.setuptools.dynamic]\ndependencies={file='r.txt'}", ("r.txt",)),
        (DYNAMIC + "[build-system]\nrequires=[]\n[tool.setuptools.dynamic]\ndependencies={file='r'}", ("r",)),
        (DYNAMIC + SETUPTOOLS + "[tool.setuptools.dynamic]\ndependencies={attr='x.y'}", None),
        (DYNAMIC + SETUPTOOLS, None),
        (DYNAMIC + "[tool.setuptools.dynamic]\ndependencies={file='r.txt'}", None),
        ("[project]\nname='a'\n" + SETUPTOOLS + "[tool.setuptools.dynamic]\ndependencies={file='r'}", None),
    ],
)
def test_dynamic_dependencies_that_stand_in_files(text: str, files: tuple[str, ...] | None) -> None:
    assert parse(text).dynamic_files() == files


def test_none_is_no_error(tmp_path: Path) -> None:
    assert read_pyproject(str(tmp_path)) is None
    assert read_pyproject(str(tmp_path / "no-such-directory")) is None
    (tmp_path / "pyproject.toml").mkdir()
    with pytest.raises(DependenciesError, match="cannot read"):
        read_pyproject(str(tmp_path))


KEYS = st.text(min_size=1, max_size=8)
VALUES = st.recursive(
    st.text(max_size=8) | st.booleans() | st.integers(-(2**62), 2**62),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_is_written_for_uv_reads_back(table: dict[str, object]) -> None:
    import tomllib

    # A file holds no lone surrogates.
    document = {"tool": table}
    try:
        str(document).encode()
    except UnicodeEncodeError:
        return
    assert tomllib.loads(dump_toml(document)) == document


def test_toml_has_no_null() -> None:
    with pytest.raises(TypeError):
        dump_toml({"a": {"b": None}})

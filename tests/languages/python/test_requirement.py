"""One line of a requirements file, or of pyproject.toml."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement as Standard

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.requirement import (
    LocalProject,
    Requirement,
    normalise,
    parse_line,
    parse_requirement,
)

SHA = "sha256:" + "a" * 64


def parse(line: str, folder: Path | str = "/nowhere") -> Requirement | LocalProject:
    return parse_line(line, folder=str(folder), where="requirements.txt:3")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Flask", Requirement("flask")),
        ("zope.interface", Requirement("zope-interface")),
        ("a_B--c", Requirement("a-b-c")),
        ("flask>=2,<4", Requirement("flask", specifier="<4,>=2")),
        ("uvicorn[Standard,x_y]==0.1", Requirement("uvicorn", ("standard", "x-y"), "==0.1")),
        ("a;python_version<'3.9'", Requirement("a", marker='python_version < "3.9"')),
        ("a (>=1)", Requirement("a", specifier=">=1")),
        (f"a==1 --hash={SHA}", Requirement("a", specifier="==1", hashes=(SHA,))),
        (
            f"a==1 --hash {SHA.upper().replace('SHA', 'sha')}",
            Requirement("a", specifier="==1", hashes=(SHA,)),
        ),
        (
            f"a==1; os_name=='posix' --hash=sha512:{'b' * 128} --hash={SHA}",
            Requirement("a", specifier="==1", marker='os_name == "posix"', hashes=(SHA,)),
        ),
        (
            "six @ https://host.example/p/six-1.0-py3-none-any.whl",
            Requirement("six", url="https://host.example/p/six-1.0-py3-none-any.whl"),
        ),
        (
            "six@https://u:p@host.example/six.zip ; os_name == 'posix'",
            Requirement("six", url="https://u:p@host.example/six.zip", marker='os_name == "posix"'),
        ),
        (
            "https://host.example/six-1.0-py3-none-any.whl",
            Requirement("six", url="https://host.example/six-1.0-py3-none-any.whl"),
        ),
        (
            "https://host.example/x.zip?a=1;b=2#egg=Foo_Bar",
            Requirement("foo-bar", url="https://host.example/x.zip?a=1;b=2#egg=Foo_Bar"),
        ),
        (
            "https://host.example/x.tar.gz[extra]",
            Requirement("", ("extra",), url="https://host.example/x.tar.gz"),
        ),
    ],
)
def test_a_line_is_read(line: str, expected: Requirement) -> None:
    found = parse(line)
    assert isinstance(found, Requirement)
    assert found._replace(origin="") == expected
    assert found.origin == "requirements.txt:3"


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("a==", "is not a requirement"),
        ("a b", "is not a requirement"),
        ("a_", "'a_' is not a name"),
        ("a[b-]", "is not a requirement"),
        ("[x]", "is not a requirement"),
        ("a; no_such_marker == 'x'", "is not a requirement"),
        ("./x ; nonsense", "is not a marker"),
        ("./there-is-none", "no file or directory"),
        ("git+https://host.example/r.git", "comes from version control"),
        ("GIT+ssh://git@host.example/r.git@v1#egg=r", "comes from version control"),
        ("r @ git+https://host.example/r.git", "comes from version control"),
        ("r@hg+https://host.example/r", "comes from version control"),
        ("a==1 --hash=md5:00", "is not a hash"),
        (f"a==1 --hash=sha512:{'b' * 128}", "no SHA-256"),
        ("a==1 --global-option=x", "--global-option"),
        ("a==1 --config-settings k=v", "--config-settings"),
        ("a @ file://otherhost/x.whl", "names no absolute path"),
    ],
)
def test_what_cannot_be_is_refused_with_the_place(line: str, part: str) -> None:
    with pytest.raises(DependenciesError) as caught:
        parse(line)
    assert part in caught.value.what
    assert caught.value.what.startswith("requirements.txt:3: ")


def test_the_advice_for_version_control_is_there_and_no_password_is() -> None:
    with pytest.raises(DependenciesError) as caught:
        parse("r @ git+https://someone:secret@host.example/r.git")
    assert "secret" not in f"{caught.value} {caught.value.fix}"
    assert "URL of a wheel" in caught.value.fix


def test_no_password_is_in_the_repr() -> None:
    assert "secret" not in repr(parse("a @ https://u:secret@host.example/a.zip"))


def test_local_projects_and_files(tmp_path: Path) -> None:
    project = tmp_path / "libs" / "one"
    project.mkdir(parents=True)
    with pytest.raises(DependenciesError, match="is no Python project"):
        parse("./libs/one", tmp_path)
    (project / "pyproject.toml").touch()
    archive = tmp_path / "a b-1.tar.gz"
    archive.touch()
    made = tmp_path / "one-1-py3-none-any.whl"
    made.touch()
    where = "requirements.txt:3"
    for line in (
        "./libs/one",
        "libs/one",
        "libs/one/",
        str(project),
        f"file://{project}",
        f"one @ file://{project}",
    ):
        assert parse(line, tmp_path) == LocalProject(str(project), origin=where)
    marked = parse("libs/one[x, Y]; os_name == 'posix'", tmp_path)
    assert marked == LocalProject(str(project), ("x", "y"), 'os_name == "posix"', origin=where)
    assert parse("./a b-1.tar.gz", tmp_path) == Requirement(
        "", url=f"file://{tmp_path}/a%20b-1.tar.gz", origin=where
    )
    assert parse("one-1-py3-none-any.whl", tmp_path) == Requirement("one", url=f"file://{made}", origin=where)
    (tmp_path / "other.txt").touch()
    with pytest.raises(DependenciesError, match="neither a wheel nor a source archive"):
        parse("./other.txt", tmp_path)


def test_a_text_of_pyproject_is_pep_508_only(tmp_path: Path) -> None:
    assert parse_requirement("a[x]>=1", folder=str(tmp_path), where="x") == Requirement(
        "a", ("x",), ">=1", origin="x"
    )
    (tmp_path / "a").mkdir()
    with pytest.raises(DependenciesError, match="is not a requirement"):
        parse_requirement("./a", folder=str(tmp_path), where="x")
    with pytest.raises(DependenciesError, match="version control"):
        parse_requirement("a @ git+https://host.example/a", folder=str(tmp_path), where="x")


@pytest.mark.parametrize(
    ("specifier", "pinned"), [("==1", True), ("===1", True), ("==1.*", False), ("==1,>0", False), ("", False)]
)
def test_what_names_one_version_is_pinned(specifier: str, pinned: bool) -> None:
    assert Requirement("a", specifier=specifier).is_pinned is pinned


NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}", fullmatch=True)
SPECIFIERS = st.lists(st.tuples(st.sampled_from(["==", ">=", "<", "!=", "~="]), VERSIONS), max_size=3).map(
    lambda pairs: ",".join(f"{op}{v if op != '~=' else v + '.0'}" for op, v in pairs)
)
MARKERS = st.sampled_from(["", "python_version < '3.9'", "os_name == 'nt' or platform_machine == 'armv7l'"])


@settings(deadline=None)
@given(NAMES, st.lists(NAMES, max_size=2), SPECIFIERS, MARKERS)
def test_a_line_means_what_the_standard_says(
    name: str, extras: list[str], specifier: str, marker: str
) -> None:
    line = name + (f"[{','.join(extras)}]" if extras else "") + specifier + (f" ; {marker}" if marker else "")
    found = parse(line)
    assert isinstance(found, Requirement)
    standard = Standard(line)
    assert found.name == normalise(standard.name)
    assert set(found.extras) == {normalise(each) for each in standard.extras}
    assert found.specifier == str(standard.specifier)
    assert found.marker == str(standard.marker or "")
    assert parse(found.text) == found


@settings(deadline=None)
@given(st.text(string.printable, max_size=40))
def test_any_line_is_read_or_refused(line: str) -> None:
    """Nothing but our own error, and what was read gives a line that reads the same."""
    try:
        found = parse(line.replace("\n", " "))
    except DependenciesError:
        return
    if isinstance(found, Requirement) and not found.url:
        assert parse(found.text)[:5] == found[:5]


@pytest.mark.parametrize("text", ["a ; {}", "{}"])
def test_what_is_nested_too_deeply_is_an_error(text: str) -> None:
    deep = "(" * 3000 + "python_version > '3'" + ")" * 3000
    with pytest.raises(DependenciesError):
        parse(text.format(deep))

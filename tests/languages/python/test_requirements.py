"""Requirements files: lines, options, what they include, hashes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.requirement import LocalProject
from hostbuild.languages.python.requirements import RequirementsFile, logical_lines, read_requirements
from tests.languages.python.made import sha256, write

SHA = "sha256:" + "a" * 64


def read(folder: Path, text: str, **environment: str) -> RequirementsFile:
    (folder / "requirements.txt").write_text(text)
    return read_requirements(str(folder / "requirements.txt"), root=str(folder), environment=environment)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a\n\n  b  \r\nc", [(1, "a"), (3, "b"), (4, "c")]),
        ("a # why\n#b\n c#d", [(1, "a"), (3, "c#d")]),
        ("a==1 \\\n  --hash=x \\\n  --hash=y\nb", [(1, "a==1   --hash=x   --hash=y"), (4, "b")]),
        ("a \\\n# a comment\nb", [(1, "a"), (3, "b")]),
        ("a \\\n# a comment ends it \\\nb", [(1, "a"), (3, "b")]),
        ("# only \\\nb", [(2, "b")]),
        ("a \\", [(1, "a")]),
        ("\\\n\\\n", []),
    ],
)
def test_lines_are_joined_and_comments_dropped(text: str, lines: list[tuple[int, str]]) -> None:
    assert list(logical_lines(text)) == lines


@settings(deadline=None)
@given(st.lists(st.from_regex(r"[a-z]{1,5}( [a-z=]{1,5})?", fullmatch=True), max_size=8), st.data())
def test_a_line_may_be_broken_anywhere_between_words(lines: list[str], data: st.DataObject) -> None:
    text = "".join(
        line.replace(" ", " \\\n" if data.draw(st.booleans()) else " ")
        + data.draw(st.sampled_from(["\n", " # x\n"]))
        for line in lines
    )
    assert [line for _, line in logical_lines(text)] == lines


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_breaks_the_reader_of_lines(text: str) -> None:
    for number, line in logical_lines(text):
        assert 1 <= number <= len(text.splitlines())
        assert line == line.strip() != ""


def test_all_that_a_file_says(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "sub/more.txt": "b\n-r deeper.txt\n--no-binary b,c\n",
            "sub/deeper.txt": "c ; os_name == 'posix'\n./lib[x]\n",
            "sub/lib/pyproject.toml": "",
            "limits.txt": "a<2\nd==1 # why\n",
        },
    )
    found = read(
        tmp_path,
        "-i https://u:${TOKEN}@index.example/simple\n"
        "--extra-index-url=https://extra.example/simple --trusted-host extra.example\n"
        "-f wheels\n--find-links https://links.example/\n"
        "-rsub/more.txt\n-c limits.txt\n--pre\n--only-binary=:all:\n--prefer-binary\n"
        "a>=1\n",
        TOKEN="t0ken",
    )
    assert [each.text for each in found.requirements] == ["b", 'c ; os_name == "posix"', "a>=1"]
    assert [each.text for each in found.constraints] == ["a<2", "d==1"]
    assert found.local == [LocalProject(str(tmp_path / "sub/lib"), ("x",), origin="sub/deeper.txt:2")]
    assert found.sources.index == "https://u:t0ken@index.example/simple"
    assert found.sources.extra_indexes == ["https://extra.example/simple"]
    assert found.sources.find_links == [str(tmp_path / "wheels"), "https://links.example/"]
    assert found.sources.trusted_hosts == ["extra.example"]
    assert (found.sources.no_binary, found.sources.only_binary) == (["b", "c"], [":all:"])
    assert found.sources.pre is True
    assert found.sources.no_index is False
    names = ["requirements.txt", "sub/more.txt", "sub/deeper.txt", "limits.txt"]
    assert [(each.path, each.digest) for each in found.files] == [
        (str(tmp_path / name), sha256(tmp_path / name)) for name in names
    ]
    assert "t0ken" not in repr(found)


def test_encodings(tmp_path: Path) -> None:
    for data in ("﻿flask # é\n".encode(), "flask # é\n".encode("utf-16")):
        (tmp_path / "requirements.txt").write_bytes(data)
        found = read_requirements(str(tmp_path / "requirements.txt"), root=str(tmp_path), environment={})
        assert [each.name for each in found.requirements] == ["flask"]
    (tmp_path / "requirements.txt").write_bytes(b"flask # \xe9\n")
    with pytest.raises(DependenciesError, match="cannot read requirements"):
        read_requirements(str(tmp_path / "requirements.txt"), root=str(tmp_path), environment={})


def test_a_local_project_may_be_editable_and_is_built_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, {"lib/setup.py": "", "pyproject.toml": ""})
    found = read(tmp_path, "-e .\n--editable=lib[x]\n")
    assert [(each.path, each.extras, each.editable) for each in found.local] == [
        (str(tmp_path), (), True),
        (str(tmp_path / "lib"), ("x",), True),
    ]
    assert len(found.warnings) == 2
    assert "requirements.txt:1" in found.warnings[0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a\n-r missing.txt", "cannot read missing.txt (included by requirements.txt)"),
        ("-r requirements.txt", "requirements.txt includes itself"),
        (
            "-r https://host.example/r.txt",
            "requirements.txt:1: 'https://host.example/r.txt' is not",
        ),
        ("\na==${NAME}", "requirements.txt:2: the environment variable NAME is not set"),
        ("--nope", "requirements.txt:1: '--nope' is not an option of a requirements file"),
        ("--pre=1", "requirements.txt:1: '--pre' is not an option of a requirements file"),
        ("-r", "requirements.txt:1: -r needs a value"),
        ("-i 'x", 'requirements.txt:1: "-i \'x" cannot be read'),
        (
            "-e git+https://host.example/r.git",
            "requirements.txt:1: 'git+https://host.example/r.git'",
        ),
        ("-e flask", "requirements.txt:1: -e 'flask' is not a directory of a project"),
    ],
)
def test_refusals_name_file_and_line(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(DependenciesError) as caught:
        read(tmp_path, text)
    assert caught.value.what.startswith(what)


@pytest.mark.parametrize("line", ["./lib", "a[x]"])
def test_a_constraint_is_a_name_with_versions(tmp_path: Path, line: str) -> None:
    write(tmp_path, {"limits.txt": line, "lib/setup.py": ""})
    with pytest.raises(DependenciesError, match=r"limits.txt:1: "):
        read(tmp_path, "-c limits.txt")


def test_with_a_hash_everything_must_be_pinned_and_have_one(tmp_path: Path) -> None:
    good = read(tmp_path, f"a==1 \\\n --hash={SHA}\nb==2 --hash={SHA}\n")
    assert good.require_hashes
    with pytest.raises(DependenciesError) as caught:
        read(tmp_path, f"a==1 --hash={SHA}\nb==2\nc>1 --hash={SHA}\n")
    assert caught.value.detail == (
        "requirements.txt:2: b==2 has no hash\nrequirements.txt:3: c>1 has no single version"
    )
    with pytest.raises(DependenciesError, match="not all of them"):
        read(tmp_path, "--require-hashes\na==1\n")
    write(tmp_path, {"limits.txt": f"a==1 --hash={SHA}"})
    assert read(tmp_path, "a\n-c limits.txt\n").require_hashes


def test_a_cycle_over_two_files_is_told_as_one(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "-r b.txt", "b.txt": "-r requirements.txt"})
    with pytest.raises(DependenciesError) as caught:
        read(tmp_path, "-r a.txt")
    assert caught.value.why == "requirements.txt -> a.txt -> b.txt -> requirements.txt"

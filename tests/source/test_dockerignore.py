from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import IgnoreFileError
from hostbuild.source import FileDigests, load_ignore, scan
from hostbuild.source.dockerignore import DockerPatterns


def decision(text: str, path: str) -> bool | None:
    """What a walk from the root down to the path decides."""
    patterns = DockerPatterns(text.encode())
    known, parts, decided = patterns.top(), path.split("/"), None
    for index, part in enumerate(parts):
        here = "/".join(parts[: index + 1]).encode()
        decided, known = patterns.decide(here, part.encode(), is_dir=False, parent=known)
    return decided


# One pattern, a path, whether it is left out: the cases of moby's documentation and of Go's filepath.Match.
ONE = [
    ("*/temp*", "somedir/temporary.txt", True),
    ("*/temp*", "somedir/temp", True),
    ("*/temp*", "temp", False),
    ("*/*/temp*", "somedir/subdir/temporary.txt", True),
    ("temp?", "tempa", True),
    ("temp?", "temp", False),
    ("/foo/bar", "foo/bar", True),
    ("foo/bar", "foo/bar", True),
    ("foo/bar", "x/foo/bar", False),
    ("abc", "x/abc", False),
    ("**/*.go", "main.go", True),
    ("**/*.go", "a/b/c/main.go", True),
    ("*.go", "a/main.go", False),
    ("**", "a/b", True),
    ("**/", "a/b", True),
    ("**/**", "a/b", True),
    ("dir/**", "dir/dir2/file", True),
    ("dir/**", "dir", False),
    ("dir", "dir/any/thing", True),
    ("dir/", "dir", True),
    ("**/dir", "dir", True),
    ("**/dir", "a/dir/file", True),
    ("**/dir2/*", "dir/dir2/file", True),
    ("**file", "dir/myfile", True),
    ("**/file", "dir/myfile", False),
    ("**/file*.txt", "dir/dir/file1.txt", True),
    ("a**/*.txt", "a/dir/dir/file.txt", True),
    ("a/*.txt**", "a/file.txt", True),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("a**b", "a/x/b", True),
    ("a[b-d]e", "ace", True),
    ("a[b-d]e", "aae", False),
    ("a[^b-d]e", "aze", True),
    ("a[!z]e", "a!e", True),
    ("a[!z]e", "abe", False),
    ("[\\]a]", "]", True),
    ("[x\\-]", "-", True),
    ("[à-ö]*", "é", True),
    ("a?b", "a☺b", True),
    ("a?b", "a/b", False),
    ("abc.def", "abcZdef", False),
    ("a(b)c/def", "a(b)c/def", True),
    ("a.|)$(}+{bc", "a.|)$(}+{bc", True),
    ("*|x", "b|x", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "axb", False),
    ("a\\d", "ad", True),
    ("a\\d", "a5", False),
    ("  docs  ", "docs", True),
    ("docs/../x", "x", True),
    ("./x", "x", True),
    ("../x", "x", False),
    (".", "x", False),
    ("/", "x", False),
    ("# comment", "# comment", False),
    (" # name", "# name", True),
    ("\ufeffx", "x", True),
    ("x\r\ny\r\n", "x", True),
    ("x\n", "x\n", False),
    ("", "x", False),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), ONE)
def test_one_pattern(pattern: str, path: str, expected: bool) -> None:
    assert (decision(pattern, path) is True) is expected


MANY = [
    ("*.md\n!README.md", "README.md", False),
    ("*.md\n!README.md", "x.md", True),
    ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
    ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", False),
    ("!x.go\n*.go", "x.go", True),
    ("docs\n!docs/README.md", "docs/README.md", False),
    ("docs\n!docs/README.md", "docs/other.md", True),
    ("docs/*\n! /docs/README.md", "docs/README.md", False),
    ("**\n!util/docker/web", "util/docker/web/foo", False),
    ("**\n!util/docker/web\nutil/docker/web/foo", "util/docker/web/foo", True),
    ("**\n!dist/*.whl", "dist/a+b.whl", False),
    ("*\n!dist", "dist/a/b", False),
    ("*\n!dist", "other/a", True),
]


@pytest.mark.parametrize(("text", "path", "expected"), MANY)
def test_many_patterns(text: str, path: str, expected: bool) -> None:
    assert (decision(text, path) is True) is expected


def test_what_no_pattern_matches_is_left_open_and_an_exception_is_not() -> None:
    assert decision("*.md\n!a.md", "x") is None
    assert decision("*.md\n!a.md", "a.md") is False


@pytest.mark.parametrize(
    "bad", ["!", "! ", "!/", "[", "a[", "[^", "[^bc", "[]a]", "[-]", "[x-]", "[a-b-c]", "\\", "[c-a]"]
)
def test_a_pattern_that_docker_refuses_is_named_with_its_line(bad: str) -> None:
    with pytest.raises(IgnoreFileError) as caught:
        DockerPatterns(f"# first\nfine\n{bad}\n".encode())
    assert "line 3 of .dockerignore" in caught.value.what
    assert caught.value.why


NAMES = ("a", "b", "ab", "c.d", ".x")
TOKENS = (*NAMES, "/", "/", "*", "?", "**", "**/", "/**", "[ab]", "[^a]", "\\*", " ")
texts = st.lists(
    st.builds(
        lambda sign, tokens: sign + "".join(tokens),
        st.sampled_from(("", "", "!", "/", "!/")),
        st.lists(st.sampled_from(TOKENS), min_size=1, max_size=5).filter(
            lambda tokens: set(tokens) - {"/", " "}
        ),
    ),
    max_size=5,
).map("\n".join)
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)


@settings(max_examples=150, deadline=None)
@given(text=texts, path=paths)
def test_what_is_not_walked_holds_nothing_that_ships(text: str, path: str) -> None:
    patterns = DockerPatterns(text.encode())
    known, parts, pruned = patterns.top(), path.split("/"), False
    decided: bool | None = None
    for index, part in enumerate(parts):
        here = "/".join(parts[: index + 1]).encode()
        decided, known = patterns.decide(here, part.encode(), is_dir=True, parent=known)
        assert not pruned or decided
        pruned = pruned or (decided is True and not patterns.may_except_below(here))


@settings(max_examples=100, deadline=None)
@given(text=texts, path=paths, name=st.sampled_from(NAMES))
def test_without_exceptions_all_below_what_is_left_out_is_left_out(text: str, path: str, name: str) -> None:
    plain = re.sub(r"(?m)^!", "", text)
    if decision(plain, path):
        assert decision(plain, f"{path}/{name}")


@settings(max_examples=100, deadline=None)
@given(text=texts, path=paths)
def test_the_last_line_decides(text: str, path: str) -> None:
    assert decision(f"{text}\n{path}", path) is True
    assert decision(f"{text}\n!{path}", path) is not True
    assert decision(f"**\n!{path}\n", path) is False


def test_a_brought_back_file_ships_with_its_directories_and_nothing_else(tmp_path: Path) -> None:
    for name in ("docs/deep/keep.md", "docs/deep/other.md", "docs/more/x", "docs.md", "main.go"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("docs\n!docs/**/keep.md\n")
    tree = scan(str(tmp_path), load_ignore(str(tmp_path)), digests=FileDigests())
    assert [entry.path for entry in tree.entries] == [
        "docs",
        "docs.md",
        "docs/deep",
        "docs/deep/keep.md",
        "main.go",
    ]

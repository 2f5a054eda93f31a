from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostbuild.source import FileDigests, load_ignore, scan
from hostbuild.source.gitignore import GitPatterns

NAMES = (
    b"a",
    b"b",
    b"ab",
    b"a b",
    b"a ",
    b".x",
    b"b.c",
    b"[",
    b"a]",
    b"\\",
    b"\xc3\xa9",
    b"\xff",
    b"!a",
    b"#a",
)
FILES = (
    *NAMES,
    *(b"d/" + name for name in NAMES),
    *(b"d/foo/" + name for name in (b"a", b"ab", b"c", b"b.c")),
    *(b"ab.d/" + name for name in (b"a", b"d", b"foo")),
    *(b"e/d/c/" + name for name in (b"a", b"-", b"A", b"1", b"a\n")),
    *(b"e/" + name for name in (b"a", b"b", b"foobar", b"foo/bar", b"foo/x/bar", b"f*o/bar")),
)
EMPTY = (b"e/empty", b"d/b.d", b"z")


class Repository:
    """A tree that stays the same, in a repository, so that git can be asked about it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        top = os.fsencode(root)
        for path in FILES:
            full = os.path.join(top, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "wb"):
                pass
        for path in EMPTY:
            os.makedirs(os.path.join(top, path))
        os.symlink("d", root / "e" / "to-directory")
        self.names = sorted(self._walk(top))
        self.digests = FileDigests()
        self.environment = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(root), "LC_ALL": "C"}
        self._git("init", "--quiet", ".")
        (root / ".git" / "info" / "exclude").unlink(missing_ok=True)

    def _walk(self, top: bytes) -> Iterator[bytes]:
        for directory, directories, files in os.walk(top):
            for name in (*directories, *files):
                yield os.path.relpath(os.path.join(directory, name), top)

    def _git(self, *arguments: str, data: bytes = b"") -> bytes:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, input=data, capture_output=True, env=self.environment
        )
        assert done.returncode in {0, 1}, done.stderr  # 1: nothing is ignored
        return done.stdout

    def ignored_by_git(self, files: dict[str, bytes]) -> set[bytes]:
        """Names of the tree that git ignores, with these .gitignore files in it."""
        for name, data in files.items():
            (self.root / name).write_bytes(data)
        try:
            # "./", because check-ignore takes a leading ":" for a pathspec's magic.
            asked = b"".join(b"./" + name + b"\0" for name in self.names)
            answer = self._git("check-ignore", "--no-index", "--stdin", "-z", data=asked)
        finally:
            for name in files:
                (self.root / name).unlink()
        return {name.removeprefix(b"./") for name in answer.split(b"\0") if name}

    def ignored_by_us(self, files: dict[str, bytes], *, gitignore: bool) -> set[bytes]:
        for name, data in files.items():
            (self.root / name).write_bytes(data)
        try:
            tree = scan(
                str(self.root), load_ignore(str(self.root), use_gitignore=gitignore), digests=self.digests
            )
        finally:
            for name in files:
                (self.root / name).unlink()
        shipped = {entry.path.encode("utf-8", "surrogateescape") for entry in tree.entries}
        return set(self.names) - shipped


@pytest.fixture(scope="module")
def repository() -> Iterator[Repository]:
    with tempfile.TemporaryDirectory() as directory:
        yield Repository(Path(directory))


TOKENS = (
    *("a", "b", "c", "d", "e", "ab", ".", ".d", ".c", "foo", "bar", "x", "1", "-", " ", "é", "empty"),
    *("/", "/", "/", "*", "*", "?", "**", "**/", "/**", "/**/", "***", "*/"),
    *("[", "]", "[ab]", "[!a]", "[^a]", "[a-c]", "[]a]", "[!]]", "[a/]", "[-a]", "[c-a]", "[\\]]", "[\\\\]"),
    *("[[:alpha:]]", "[[:upper:]]", "[[:digit:]", "[[:no:]]", "[[:", "[[a]", "[a-[:digit:]]", "[[:punct:]x]"),
    *("\\", "\\a", "\\*", "\\/", "\\ ", "\\!", "\\#", "!", "#", "\t", "\r", "\x0b"),
)
patterns = st.builds(
    lambda sign, tokens, end: sign + "".join(tokens) + end,
    st.sampled_from(("", "", "", "!", "/", "!/", "\\")),
    st.lists(st.sampled_from(TOKENS), min_size=1, max_size=5),
    st.sampled_from(("", "", "", "/", " ", "  ", "\\ ", "\r", "*")),
)


def is_disputed(pattern: str) -> bool:
    """git before 2.52 took the stars of "foo**/bar" for a component of their own, against its manual.

    Only where the literal beginning of the pattern ends just before the stars.
    """
    literal = pattern.removeprefix("!").removeprefix("/")
    start = min((literal.find(char) for char in "*?[\\" if char in literal), default=-1)
    return start > 0 and literal.startswith("**", start) and literal[start - 1] != "/"


lines = st.lists(patterns.filter(lambda pattern: not is_disputed(pattern)), min_size=1, max_size=6)
relaxed = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@relaxed
@given(rules=lines, ending=st.sampled_from(("", "\n", "\r\n")), bom=st.booleans())
def test_funcignore_is_what_git_takes_a_gitignore_for(
    repository: Repository, rules: list[str], ending: str, bom: bool
) -> None:
    data = (b"\xef\xbb\xbf" if bom else b"") + "\n".join(rules).encode() + ending.encode()
    expected = repository.ignored_by_git({".gitignore": data})
    assert repository.ignored_by_us({".funcignore": data}, gitignore=False) == expected


@settings(relaxed, max_examples=100)
@given(rules=lines, nested=lines, deeper=lines)
def test_nested_gitignores_are_what_git_takes_them_for(
    repository: Repository, rules: list[str], nested: list[str], deeper: list[str]
) -> None:
    files = {
        ".gitignore": "\n".join(rules).encode(),
        "e/.gitignore": "\n".join(nested).encode(),
        "e/d/.gitignore": "\n".join(deeper).encode(),
    }
    expected = repository.ignored_by_git(files)
    # An ignore file of its own that says nothing: the built-in list does not apply.
    ours = repository.ignored_by_us({".funcignore": b"", **files}, gitignore=True)
    assert ours == expected


CASES = [
    ("notes.txt", "notes.txt", True),
    ("notes.txt", "x/notes.txt", True),
    ("*.tmp", "x/y/z.tmp", True),
    ("/docs", "docs", True),
    ("/docs", "x/docs", False),
    ("a/b", "a/b", True),
    ("a/b", "x/a/b", False),
    ("# notes", "# notes", False),
    ("\\#x", "#x", True),
    ("\\!x", "!x", True),
    ("x\\ ", "x ", True),
    ("x  ", "x", True),
    ("x\t", "x", False),
    ("**/x", "a/b/x", True),
    ("**/x", "x", True),
    ("a/**/x", "a/x", True),
    ("a/**/x", "a/b/c/x", True),
    ("a/**", "a", False),
    ("a/**", "a/b/c", True),
    ("foo**/bar", "foobar", False),
    ("foo**/bar", "foox/bar", True),
    ("foo**/bar", "foo/x/bar", False),
    ("?", "é", False),
    ("??", "é", True),
    ("[", "[", False),
    ("x[", "x[", False),
    ("x\\", "x\\", False),
    ("a[/]b", "a/b", False),
    ("a\nx", "a\nx", False),
    ("x", "x\n", False),
    ("*.x", "a.x\n", False),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), CASES)
def test_known_cases(pattern: str, path: str, expected: bool) -> None:
    encoded = path.encode()
    verdict = GitPatterns(pattern.encode()).verdict(encoded, encoded.rpartition(b"/")[2], is_dir=False)
    assert (verdict is True) is expected


@pytest.mark.parametrize("pattern", [b"dist/", b"/dist/", b"**/dist/", b"di*/", b"!dist/"])
def test_a_slash_at_the_end_means_directories_only(pattern: bytes) -> None:
    patterns = GitPatterns(pattern)
    assert patterns.verdict(b"dist", b"dist", is_dir=False) is None
    assert patterns.verdict(b"dist", b"dist", is_dir=True) is not pattern.startswith(b"!")


def test_the_last_pattern_that_matches_decides() -> None:
    patterns = GitPatterns(b"*.txt\n!keep*\nkeep-not.txt\n")
    verdicts = [
        patterns.verdict(name, name, is_dir=False) for name in (b"a.txt", b"keep.txt", b"keep-not.txt", b"x")
    ]
    assert verdicts == [True, False, True, None]


def test_a_pattern_of_many_stars_ends() -> None:
    name = b"a" * 200
    assert GitPatterns(b"*a*a*a*a*a*a*a*a*a*a*b").verdict(name, name, is_dir=False) is None

"""The tokenizer and the file parser: traps one by one, then random nesting around known declarations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import SourceError
from hostbuild.languages.go import literals
from hostbuild.languages.go.gofile import parse_embed, parse_file, parse_header
from hostbuild.languages.go.literals import unquote


def functions(source: str) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    file = parse_file(source.encode(), "f.go")
    return [(f.receiver, f.name, f.params, f.results) for f in file.functions]


HEADERS = [
    ('package a\nimport "fmt"\n', [("fmt", "")]),
    ('package a; import "fmt"; import m "math"; var x = 1', [("fmt", ""), ("math", "m")]),
    (
        'package a\r\nimport (\r\n\t"fmt"\r\n\t. "os"\r\n\t_ "embed"\r\n)\r\n',
        [("fmt", ""), ("os", "."), ("embed", "_")],
    ),
    ("\ufeffpackage a\nimport `raw/path`\n", [("raw/path", "")]),
    (
        '/* package b */ package/* c */a // y\nimport /* ( */ ( /* ) */ "x" /* "z" */ ; "y" )',
        [("x", ""), ("y", "")],
    ),
    ('package a\nimport ()\nimport ("a")\nvar s = `\nimport "no"\n`\n', [("a", "")]),
    ('package a\n\nimport(f"fmt"\n\n)', [("fmt", "f")]),
    ('package a\nimport "a\\u002fb\\x2fc"', [("a/b/c", "")]),
    ("package a\nvar importer = 1", []),
    ("package a\nimporter()", []),
    ('package ä\nimport ü "x"', [("x", "ü")]),
    ("package a", []),
    ('package a // import "example.com/a"\n', []),
]


@pytest.mark.parametrize(("source", "imports"), HEADERS)
def test_header(source: str, imports: list[tuple[str, str]]) -> None:
    file = parse_header(source.encode(), "f.go")
    assert [tuple(item) for item in file.imports] == imports
    assert file.package in ("a", "ä")


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("", "f.go:1:1"),
        ("// package a\n\n  func x() {}", "f.go:3:3"),
        ("packages a", "f.go:1:1"),
        ('package a\nimport fmt\nimport "x"', "f.go:2:8"),
        ('package a\nimport (\n\t"fmt"\n', "f.go:4:1"),
        ('package a\nimport (\n\t"fmt', "f.go:3:2"),
        ('package a\nimport "\\q"', "f.go:2:8"),
        ("package a\nimport )", "f.go:2:8"),
        ("/* never closed\npackage a", "f.go:1:1"),
    ],
)
def test_header_errors_name_the_place(source: str, where: str) -> None:
    with pytest.raises(SourceError, match=rf"^{where}: "):
        parse_header(source.encode(), "f.go")


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("package a\nfunc f() { { }\n", "f.go:2:10"),
        ('package a\nfunc f() { "x }\n', "f.go:2:12"),
        ("package a\nfunc f() { /* }\n", "f.go:2:12"),
        ("package a\n\nx := 1\n", "f.go:3:1"),
        ('package a\nvar x = 1\nimport "b"\n', "f.go:3:1"),
        ("package a\nfunc 1() {}\n", "f.go:2:6"),
        ("package a\nfunc f {}\n", "f.go:2:8"),
        ("package a\nfunc f(a int {}\n", "f.go:3:1"),
        ("package a\ntype struct {}\n", "f.go:2:6"),
        ("package a\ntype ( A int\n", "f.go:3:1"),
        ("package a\n#\n", "f.go:2:1"),
    ],
)
def test_top_level_errors_name_the_place(source: str, where: str) -> None:
    with pytest.raises(SourceError, match=r"^f\.go:\d+:\d+: "):
        parse_file(source.encode(), "f.go")


PARAMS = [
    ("()", ()),
    ("(w http.ResponseWriter, r *http.Request)", ("http.ResponseWriter", "*http.Request")),
    ("(http.ResponseWriter, *http.Request)", ("http.ResponseWriter", "*http.Request")),
    ("(a, b int, c string)", ("int", "int", "string")),
    ("(a, b)", ("a", "b")),
    ("(\n\ta int, // first\n\tb, /* , */ c string,\n)", ("int", "string", "string")),
    ("(a []int)", ("[]int",)),
    ("(a[int])", ("a[int]",)),
    ("(a [4]int)", ("[4]int",)),
    ("(m[int, string])", ("m[int, string]",)),
    ("(p.M[int])", ("p.M[int]",)),
    ("(x p.M[int])", ("p.M[int]",)),
    ("(a ...int)", ("...int",)),
    ("(...int)", ("...int",)),
    ("(f func(a, b int) (c error), g chan<- int)", ("func(a, b int) (c error)", "chan<- int")),
    ("(map[string]struct{}, interface{ M() })", ("map[string]struct{}", "interface{M()}")),
    ("(c <-chan int, d chan int)", ("<-chan int", "chan int")),
    ('(struct {\n\ta int\n\tb string `x:"y"`\n})', ('struct{a int; b string `x:"y"`}',)),
    ("(_ int, _ string)", ("int", "string")),
]


@pytest.mark.parametrize(("params", "types"), PARAMS)
def test_parameter_types(params: str, types: tuple[str, ...]) -> None:
    found = functions(f"package a\nfunc F{params} {{}}\nfunc G{params}\nfunc H() {params} {{ return }}\n")
    assert found == [("", "F", types, ()), ("", "G", types, ()), ("", "H", (), types)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("func (s *Server[K, V]) New() int { return 1 }", ("Server", "New", (), ("int",))),
        ("func (Server) New()", ("Server", "New", (), ())),
        ("func (_ Server) New() {}", ("Server", "New", (), ())),
        ("func Map[K comparable, V any](m map[K]V) []K { return nil }", ("", "Map", ("map[K]V",), ("[]K",))),
        ("func F() interface{ M() } { return nil }", ("", "F", (), ("interface{M()}",))),
        ("func F() struct{ x int } { return nil }", ("", "F", (), ("struct{x int}",))),
        ("func F() func(int) (int, error) { return nil }", ("", "F", (), ("func(int) (int, error)",))),
        ("func F() map[string]struct{} { return nil }", ("", "F", (), ("map[string]struct{}",))),
        ("func F() (n int, err error) { return }", ("", "F", (), ("int", "error"))),
        ("func F() *p.T { return nil }", ("", "F", (), ("*p.T",))),
    ],
)
def test_signatures(source: str, expected: tuple[str, str, tuple[str, ...], tuple[str, ...]]) -> None:
    assert functions(f"package a\n{source}\nvar after = 1\n") == [expected]


def test_positions_are_those_of_the_keyword() -> None:
    file = parse_file(b"package a\n\n/* x\n*/ func F() {}\n", "f.go")
    assert (file.functions[0].line, file.functions[0].column) == (4, 4)


def test_what_is_no_declaration() -> None:
    source = """package a
import "fmt"
// func Handle() {}
/* func Handle() {} */
var text = `
func Handle() {}
`
const quoted = "\\"\\nfunc Handle() {}"
var r = []rune{'"', '\\'', '{', '`', '/'}
var f = func() { func Handle() {} }
type T struct{ Handle func() }
var ( a = 1 / 2 // func Handle() {}
b = map[string]int{ "}": 1 } )
func real() { if x := `}`; x == "}" { go func() { }() } }
func Last() {}"""
    assert [name for _, name, _, _ in functions(source)] == ["real", "Last"]
    assert [name for _, name, _, _ in functions(source.replace("\n", "\r\n"))] == ["real", "Last"]


def test_types() -> None:
    source = """package a
type A struct { B; c int }
type B struct { x, y int; z [3]int `tag` }
type C struct { *p.D `tag` }
type D interface { Handle() }
type E = p.E
type F[T any] struct { T }
type G func() ; type H [2]struct{ a int }
type (
	I struct{}
	J int
)
type K struct { L[int] }
"""
    file = parse_file(source.encode(), "f.go")
    assert [(t.name, t.kind, t.embeds) for t in file.types] == [
        ("A", "struct", True),
        ("B", "struct", False),
        ("C", "struct", True),
        ("D", "interface", False),
        ("E", "alias", False),
        ("F", "other", False),
        ("G", "other", False),
        ("H", "other", False),
        ("I", "struct", False),
        ("J", "other", False),
        ("K", "struct", True),
    ]


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        (" a b/*.txt", ("a", "b/*.txt")),
        ('\t"with space" `raw "x"` all:dir', ("with space", 'raw "x"', "all:dir")),
        (' "a\\tb"', ("a\tb",)),
        ("ded x", ()),
        (' "open', ()),
        (' "a"b', ()),
        ("", ()),
    ],
)
def test_embed_patterns(text: str, patterns: tuple[str, ...]) -> None:
    assert parse_embed(text) == patterns


def test_embeds_count_only_in_comments_of_files_that_import_embed() -> None:
    source = (
        'package a\nimport _ "embed"\n\n//go:embed a.txt\r\nvar a string\nvar b = `\n//go:embed no.txt\n`\n'
        '/*\n//go:embed no\n*/\nvar c = "//go:embed no"\n'
        "\t//go:embed b.txt c.txt\nvar d string\n // go:embed no\n"
    )
    assert parse_header(source.encode(), "f.go").embeds == ("a.txt", "b.txt", "c.txt")
    assert parse_header(source.replace('"embed"', '"fmt"').encode(), "f.go").embeds == ()


def test_cgo() -> None:
    assert parse_header(b'package a\nimport "C"\n', "f.go").cgo
    assert not parse_header(b'package a\n// import "C"\nimport "c"\n', "f.go").cgo


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (r'"a\n\t\\\""', 'a\n\t\\"'),
        (r'"\x41\101A\U0001F600"', "AAA\U0001f600"),
        ('`a\\n"\r\n`', 'a\\n"\n'),
        (r'"\xff"', "\udcff"),
    ],
)
def test_unquote(literal: str, value: str) -> None:
    assert unquote(literal.encode()) == value


@pytest.mark.parametrize("literal", [r'"\q"', r'"\400"', r'"\ud800"', r'"\U00110000"', r'"\x4"', r'"\'"'])
def test_unquote_refuses(literal: str) -> None:
    with pytest.raises(ValueError, match=r"escape|range|surrogates"):
        unquote(literal.encode())


_QUOTED = st.text(st.sampled_from("ab{}()[]'`/*;,func \\\""), max_size=8).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
_RAW = st.text(st.sampled_from("ab{}()[]'\"/*;\\\nfunc "), max_size=8).map(lambda text: f"`{text}`")
_RUNE = st.sampled_from(["'{'", "'\"'", "'\\''", "'`'", "'\\\\'", "'/'"])
_COMMENT = st.one_of(
    st.text(st.sampled_from("ab{}\"'`/*\r func"), max_size=8).map(lambda text: f"//{text}\n"),
    st.text(st.sampled_from("ab{}\"'`/\n func"), max_size=8).map(lambda text: f"/*{text}*/"),
)
_ATOM = st.one_of(
    _QUOTED, _RAW, _RUNE, _COMMENT, st.sampled_from(["x", "1.5e+3", " / ", "\n", "<-", "...", "func"])
)


def _bracketed(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda parts, pair: pair[0] + " ".join(parts) + pair[1],
        st.lists(inner, max_size=4),
        st.sampled_from(["{}", "()", "[]"]),
    )


_BODY = st.lists(st.recursive(_ATOM, _bracketed, max_leaves=12), max_size=5).map(" ".join)


@settings(max_examples=120, deadline=None)
@given(before=_BODY, within=_BODY, blanks=st.lists(_COMMENT, max_size=3).map("".join))
def test_random_nesting_hides_nothing(before: str, within: str, blanks: str) -> None:
    source = (
        f'{blanks} package {blanks} a\n{blanks} import {blanks} (\n{blanks} m {blanks} "math"\n)\n'
        f"func first() {{ {before}\n}}\n{blanks}\n"
        f"func (t *T) Handle(a, b int) error {{ {within}\n}}\n{blanks}\nfunc Last() {{}}"
    )
    file = parse_file(source.encode(), "f.go")
    assert file.imports == (("math", "m"),)
    assert [(f.receiver, f.name, f.params, f.results) for f in file.functions] == [
        ("", "first", (), ()),
        ("T", "Handle", ("int", "int"), ("error",)),
        ("", "Last", (), ()),
    ]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_file_or_a_source_error(data: bytes) -> None:
    for source in (data, b"package a\n" + data, b"package a\nfunc f(" + data, b'package a\nimport "' + data):
        error: SourceError | None = None
        try:
            parse_file(source, "f.go")
        except SourceError as raised:
            error = raised
        assert error is None or error.what.startswith("f.go:")


def test_no_group_is_repeated_possessively() -> None:
    """Python before 3.11.5 leaves the position wrong when such a group fails in its middle."""
    for path in Path(literals.__file__).parent.glob("*.py"):
        assert re.search(r"\)[*+?]\+", path.read_text()) is None, path

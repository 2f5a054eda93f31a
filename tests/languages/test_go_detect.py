"""What a Go directory is: a program or a function, and the traps on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostbuild.errors import DetectionError, SettingsError, SourceError
from hostbuild.languages.go.detect import Detected, detect
from tests.languages import judge
from tests.languages.memory import three_times

HTTP = 'import "net/http"\n'
BOTH = 'import (\n\t"context"\n\t"net/http"\n)\n'
EVENT = 'import (\n\t"context"\n\t"github.com/cloudevents/sdk-go/v2/event"\n)\n'
HANDLE = "func Handle(w http.ResponseWriter, r *http.Request) {}\n"
METHOD = "func (f *F) Handle(w http.ResponseWriter, r *http.Request) {}\n"
STATIC = f"package function\n{HTTP}{HANDLE}"
NEW = "type F struct{}\nfunc New() *F { return nil }\n"
INSTANCED = f"package function\n{HTTP}{NEW}{METHOD}"
GENERIC = (
    f"package f\n{HTTP}type F[T any] struct{{}}\nfunc New() *F[int] {{ return nil }}\n"
    "func (f *F[T]) Handle(http.ResponseWriter, *http.Request) {}\n"
)
CONTEXT = f"{BOTH}func Handle(c context.Context, w http.ResponseWriter, r *http.Request) {{}}\n"
WITH_CONTEXT = (
    f"package f\n{BOTH}{NEW}func (f *F) Handle(context.Context, http.ResponseWriter, *http.Request) {{}}\n"
)
ALIASES = (
    'package f\nimport h "net/http"\nimport c "context"\n'
    "func Handle(x c.Context, w h.ResponseWriter, r *h.Request) {}"
)


def look(
    root: Path, files: dict[str, str], invoke: str = "", *platforms: str, tags: tuple[str, ...] = ()
) -> Detected:
    judge.write_tree(root, files)
    targets = [judge.platform(text) for text in platforms or ("linux/amd64", "linux/arm/v7")]
    return three_times(root, lambda memory: detect(str(root), targets, tags, 26, invoke, memory=memory))


def name(found: Detected) -> str:
    return found.signature.name if found.signature is not None else found.kind


TRAPS: dict[str, tuple[dict[str, str], str]] = {
    "program": ({"main.go": "package main\nfunc main() {}\n"}, "program"),
    "broken program": ({"main.go": "package main\n}"}, "program"),
    "program with Handle": ({"main.go": f"package main\n{HTTP}{HANDLE}"}, "program"),
    "static": ({"h.go": STATIC}, "static-http"),
    "instanced": ({"h.go": INSTANCED}, "instanced-http"),
    "any package name": ({"h.go": STATIC.replace("function", "f")}, "static-http"),
    "commented New": (
        {"h.go": STATIC + "// func New() *F { return nil }\n/*\nfunc New() *F {}\n*/\n"},
        "static-http",
    ),
    "commented Handle": ({"h.go": INSTANCED + "// func Handle() {}\n"}, "instanced-http"),
    "raw string": ({"h.go": STATIC + "var s = `\nfunc New() *F { return nil }\n`\n"}, "static-http"),
    "method New": ({"h.go": STATIC + "type S struct{}\nfunc (s S) New() *S { return nil }\n"}, "static-http"),
    "nested": ({"h.go": STATIC + "var x = func() { New := func() {}; New() }\n"}, "static-http"),
    "variable New": ({"h.go": STATIC + "var New = 1\n"}, "static-http"),
    "other case": ({"h.go": STATIC + "func new_() {}\nfunc NewF() {}\nfunc handle() {}\n"}, "static-http"),
    "test file": ({"h.go": STATIC, "h_test.go": "package function\nfunc New() {}\n"}, "static-http"),
    "external test": ({"h.go": STATIC, "h_test.go": "package function_test\nfunc New() {}\n"}, "static-http"),
    "ignored main": (
        {"h.go": STATIC, "gen.go": "//go:build ignore\n\npackage main\nfunc New() {}\n"},
        "static-http",
    ),
    "old ignore": (
        {"h.go": STATIC, "gen.go": "// +build ignore\n\npackage main\nfunc New() {}\n"},
        "static-http",
    ),
    "broken ignored": ({"h.go": STATIC, "gen.go": "//go:build ignore\n\npackage {{\n"}, "static-http"),
    "windows only": ({"h.go": STATIC, "n_windows.go": "package function\nfunc New() {}\n"}, "static-http"),
    "hidden": (
        {"h.go": STATIC, "_n.go": "package x\nfunc New() {}\n", ".n.go": "package y\n"},
        "static-http",
    ),
    "documentation": ({"h.go": STATIC, "doc.go": "package documentation\nfunc New() {}\n"}, "static-http"),
    "cgo file": ({"h.go": STATIC, "c.go": 'package function\nimport "C"\nfunc New() {}\n'}, "static-http"),
    "subdirectory": ({"h.go": STATIC, "sub/n.go": "package sub\nfunc New() {}\n"}, "static-http"),
    "not Go": ({"h.go": STATIC, "n.txt": "package function\nfunc New() {}\n", "d.go/x": ""}, "static-http"),
    "other file": ({"n.go": f"package f\n{NEW}", "h.go": f"package f\n{HTTP}{METHOD}"}, "instanced-http"),
    "value": ({"h.go": INSTANCED.replace("*F", "F")}, "instanced-http"),
    "value and pointer": ({"h.go": INSTANCED.replace("(f *F)", "(F)")}, "instanced-http"),
    "interface": (
        {"h.go": "package f\ntype H interface{ Handle() }\nfunc New() H { return nil }\n"},
        "instanced-http",
    ),
    "any": ({"h.go": "package f\nfunc New() any { return nil }\n"}, "instanced-http"),
    "foreign": ({"h.go": 'package f\nimport "x.y/z"\nfunc New() *z.F { return nil }\n'}, "instanced-http"),
    "promoted": (
        {"h.go": "package f\ntype F struct { *B }\nfunc New() *F { return nil }\n"},
        "instanced-http",
    ),
    "defined": (
        {"h.go": 'package f\nimport "x.y/z"\ntype F z.F\ntype G = z.F\nfunc New() G { return nil }\n'},
        "instanced-http",
    ),
    "generic": ({"h.go": GENERIC}, "instanced-http"),
    "options": ({"h.go": INSTANCED.replace("New()", "New(o ...int)")}, "instanced-http"),
    "named result": ({"h.go": INSTANCED.replace("New() *F", "New() (f *F)")}, "instanced-http"),
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_traps(tmp_path: Path, trap: str, ending: str) -> None:
    files, expected = TRAPS[trap]
    found = look(tmp_path, {path: text.replace("\n", ending) for path, text in files.items()})
    assert name(found) == expected


@pytest.mark.parametrize(
    ("source", "context"),
    [
        (f"package f\n{HTTP}func Handle(w http.ResponseWriter, r *http.Request) {{}}", False),
        (f"package f\n{HTTP}func Handle(http.ResponseWriter, *http.Request) {{}}", False),
        (
            f"package f\n{BOTH}func Handle(_ context.Context, w http.ResponseWriter, r *http.Request) {{}}",
            True,
        ),
        (
            ALIASES,
            True,
        ),
        ('package f\nimport . "net/http"\nfunc Handle(w ResponseWriter, r *Request) {}', False),
        ("package f\nfunc Handle(c Context, w Writer, r *Request) {}", True),
    ],
)
def test_static_http(tmp_path: Path, source: str, context: bool) -> None:
    signature = look(tmp_path, {"h.go": source}).signature
    assert signature is not None
    assert (signature.instanced, signature.invoke, signature.context) == (False, "http", context)
    assert len(signature.params) == (3 if context else 2)


IN = [
    "",
    "c context.Context",
    "e event.Event",
    "c context.Context, e event.Event",
    "context.Context, event.Event",
]
OUT = ["", "error", "*event.Event", "(*event.Event, error)", "(out *event.Event, err error)"]


@pytest.mark.parametrize("params", IN)
@pytest.mark.parametrize("results", OUT)
@pytest.mark.parametrize("instanced", [False, True])
def test_cloudevents(tmp_path: Path, params: str, results: str, instanced: bool) -> None:
    head = f"package f\n{EVENT}" + (NEW + "func (f *F) " if instanced else "func ")
    found = look(tmp_path, {"h.go": f"{head}Handle({params}) {results} {{ return }}\n"}, "cloudevent")
    assert name(found) == ("instanced" if instanced else "static") + "-cloudevents"


def test_the_usual_alias_of_cloudevents(tmp_path: Path) -> None:
    source = (
        'package f\nimport cloudevents "github.com/cloudevents/sdk-go/v2"\n'
        "func Handle(e cloudevents.Event) (*cloudevents.Event, error) { return nil, nil }\n"
    )
    assert name(look(tmp_path, {"h.go": source}, "cloudevent")) == "static-cloudevents"
    with pytest.raises(DetectionError) as caught:
        look(tmp_path, {}, "http")
    assert caught.value.fix == "set invoke: cloudevent in func.yaml"


@pytest.mark.parametrize(
    ("files", "invoke", "what"),
    [
        ({}, "", "no Go files"),
        ({"h_test.go": "package f\n"}, "", "no Go files"),
        ({"h_windows.go": STATIC}, "", "no Go file in .* belongs to linux/amd64"),
        ({"a.go": "package f\nvar x = 1\n"}, "", "no function New and no function Handle"),
        ({"a.go": f"package f\n{HTTP}{METHOD}"}, "", r"method F.Handle \(.*a.go:3\)"),
        (
            {"a.go": STATIC, "b.go": f"package function\n\n{NEW}"},
            "",
            r"both New \(.*b.go:4\) and Handle \(.*a.go:3\)",
        ),
        (
            {"a.go": STATIC, "b.go": "package main\n"},
            "",
            "a.go is in package function, .*b.go in package main",
        ),
        ({"a.go": f"package f\n{NEW}"}, "", r"a.go:3: New gives \*F, which has no method Handle"),
        ({"a.go": INSTANCED.replace("New()", "New(x int)")}, "", r"a.go:4: New\(int\) \*F cannot make"),
        (
            {"a.go": INSTANCED.replace("New() *F", "New() (*F, error)")},
            "",
            r"New\(\) \(\*F, error\) cannot make",
        ),
        ({"a.go": INSTANCED.replace("New()", "New[T any]()")}, "", "cannot make"),
        ({"a.go": STATIC.replace("Handle(", "Handle[T any](")}, "", "has type parameters"),
        (
            {"a.go": STATIC.replace("r *http", "r http")},
            "",
            r"a.go:3: Handle\(.*, http.Request\) cannot be served",
        ),
        ({"a.go": STATIC.replace(") {", ") error {")}, "", r"Handle\(.*\) error cannot be served"),
        ({"a.go": INSTANCED}, "cloudevent", "cannot be served: invoke is cloudevent"),
        (
            {"a.go": f"package f\n{EVENT}func Handle(e event.Event) {{}}\n"},
            "http",
            "cannot be served: invoke is http",
        ),
        ({"a.go": f"package f\n{EVENT}func Handle(e *event.Event) {{}}\n"}, "cloudevent", "cannot be served"),
        ({"a.go": "package f\nfunc Handle(s string) {}\n"}, "cloudevent", "cannot be served"),
        ({"a.go": WITH_CONTEXT}, "", "cannot be served"),
    ],
)
def test_what_cannot_be_told_is_said(tmp_path: Path, files: dict[str, str], invoke: str, what: str) -> None:
    with pytest.raises(DetectionError, match=what) as caught:
        look(tmp_path, files, invoke)
    assert caught.value.fix


def test_unknown_hint(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="invoke 'grpc'"):
        look(tmp_path, {"h.go": STATIC}, "grpc")


def test_syntax_errors_name_the_place(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"h.go:2:10: no closing bracket"):
        look(tmp_path, {"h.go": "package f\nfunc f() {\n"})


def test_platforms_must_agree(tmp_path: Path) -> None:
    files = {
        "a_amd64.go": STATIC,
        "b_arm.go": f"package function\n{CONTEXT}",
        "c_arm64.go": INSTANCED,
    }
    assert name(look(tmp_path, files, "", "linux/amd64")) == "static-http"
    with pytest.raises(DetectionError, match="static-http for linux/amd64, instanced-http for linux/arm64"):
        look(tmp_path, files, "", "linux/amd64", "linux/arm64")
    with pytest.raises(DetectionError, match="linux/arm/v7"):
        look(tmp_path, files, "", "linux/amd64", "linux/arm/v7")


def test_tags_of_the_user_choose(tmp_path: Path) -> None:
    files = {"a.go": f"//go:build !mine\n\n{STATIC}", "b.go": f"//go:build mine\n\n{INSTANCED}"}
    assert name(look(tmp_path, files)) == "static-http"
    assert name(look(tmp_path, {}, tags=("mine",))) == "instanced-http"
